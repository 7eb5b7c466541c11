//! The leases of nodes.
//!
//! Each predicate asks for the time when it is evaluated, not for when its transaction began: it may have waited for a
//! lock meanwhile.

use std::time::Duration;

use diesel::QueryResult;
use diesel::sql_types::{BigInt, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::connection::Connection;

#[cfg(test)]
mod tests;

pub(super) async fn begin(conn: &mut Connection, node: Uuid, ttl: Duration) -> QueryResult<usize> {
    let sql = "INSERT INTO nodes (node_id, label, lease_until, started_at) \
               VALUES ($1, $2, clock_timestamp() + $3 * interval '1 millisecond', clock_timestamp())";
    diesel::sql_query(sql)
        .bind::<SqlUuid, _>(node)
        .bind::<Text, _>(host_name())
        .bind::<BigInt, _>(milliseconds(ttl))
        .execute(conn)
        .await
}

/// Renews a lease that has not expired. Where a sweep holds the row, this waits, and then finds it fenced.
pub(super) async fn renew(conn: &mut Connection, node: Uuid, ttl: Duration) -> QueryResult<bool> {
    let sql = "UPDATE nodes SET lease_until = clock_timestamp() + $2 * interval '1 millisecond' \
               WHERE node_id = $1 AND lease_until > clock_timestamp()";
    let renewed =
        diesel::sql_query(sql).bind::<SqlUuid, _>(node).bind::<BigInt, _>(milliseconds(ttl)).execute(conn).await?;
    Ok(renewed > 0)
}

pub(super) async fn end(conn: &mut Connection, node: Uuid) -> QueryResult<usize> {
    diesel::sql_query("DELETE FROM nodes WHERE node_id = $1").bind::<SqlUuid, _>(node).execute(conn).await
}

fn milliseconds(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)
}

fn host_name() -> String {
    let named = ["HOSTNAME", "COMPUTERNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let name = named.or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok());
    let name = name.unwrap_or_default().replace('\0', "");
    match name.trim() {
        "" => "unknown".to_owned(),
        name => name.to_owned(),
    }
}
