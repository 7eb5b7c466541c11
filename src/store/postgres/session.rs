//! Reads and changes the states of sessions.

use chrono::{DateTime, Utc};
use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment};
use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::connection::Connection;
use super::error::from_diesel;
use super::row::{signed, unsigned};
use super::statement::{push, statement};
use crate::store::StoreResult;
use crate::store::session::{SessionKey, StateWritten, StoredState, UpdateId, WriteState};

type Row = (Option<String>, Option<i64>, Option<DateTime<Utc>>, Option<String>);

pub(super) async fn read(
    conn: &mut Connection,
    session: &SessionKey,
    asked: Option<UpdateId>,
) -> StoreResult<StoredState> {
    let statement = ReadState {
        session_id: session.session_id.to_string(),
        user_id: session.owner().to_owned(),
        run_id: asked.map(|asked| asked.run_id.as_uuid()),
        update: asked.map(|asked| asked.update),
    };
    let (state, version, updated_at, result): Row =
        statement.get_result(conn).await.map_err(|error| from_diesel(&error))?;
    let version = version.map(|version| unsigned(version, "version")).transpose()?;
    let state = state.zip(version).zip(updated_at).map(|((state, version), at)| (state, version, at));
    Ok(StoredState { state, result })
}

pub(super) async fn write(conn: &mut Connection, write: &WriteState) -> StoreResult<StateWritten> {
    let statement = ChangeState {
        run_id: write.id.run_id.as_uuid(),
        update: write.id.update,
        attempt: signed(write.attempt, "attempt")?,
        session_id: write.session.session_id.to_string(),
        user_id: write.session.owner().to_owned(),
        version: signed(write.version, "version")?,
        state: write.state.clone(),
        result: write.result.clone(),
    };
    let (owned, done): (bool, bool) = statement.get_result(conn).await.map_err(|error| from_diesel(&error))?;
    Ok(match (owned, done) {
        (false, _) => StateWritten::Fenced,
        (true, false) => StateWritten::Stale,
        (true, true) => StateWritten::Done,
    })
}

/// Deletes at most `limit` states that have not changed for so long and whose sessions have no runs any more.
pub(super) struct PruneStates {
    pub(super) age_ms: i64,
    pub(super) limit: i64,
}

statement!(PruneStates -> ());

impl QueryFragment<Pg> for PruneStates {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "DELETE FROM sessions s USING ( \
                SELECT session_id, user_id FROM sessions o \
                WHERE o.updated_at < now() - ", &self.age_ms => BigInt, " * interval '1 millisecond' AND NOT EXISTS ( \
                    SELECT FROM run_inputs i WHERE i.session_id = o.session_id AND COALESCE(i.user_id, '') = o.user_id) \
                ORDER BY o.updated_at LIMIT ", &self.limit => BigInt, ") AS old \
             WHERE s.session_id = old.session_id AND s.user_id = old.user_id \
               AND s.updated_at < now() - ", &self.age_ms => BigInt, " * interval '1 millisecond'"
        );
        Ok(())
    }
}

/// A state, and what a change of it has returned.
struct ReadState {
    session_id: String,
    user_id: String,
    run_id: Option<Uuid>,
    update: Option<Uuid>,
}

statement!(ReadState -> (Nullable<Text>, Nullable<BigInt>, Nullable<Timestamptz>, Nullable<Text>));

impl QueryFragment<Pg> for ReadState {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "SELECT s.state::text, s.version, s.updated_at, u.result::text FROM (SELECT 1) AS one \
             LEFT JOIN sessions s ON s.session_id = ", &self.session_id => Text,
            " AND s.user_id = ", &self.user_id => Text,
            " LEFT JOIN session_updates u ON u.run_id = ", &self.run_id => Nullable<SqlUuid>,
            " AND u.update_id = ", &self.update => Nullable<SqlUuid>
        );
        Ok(())
    }
}

/// Changes a state that has this version, when the attempt owns the run: its row is locked, so that nobody takes the run over
/// meanwhile. That the change was made is noted with it.
struct ChangeState {
    run_id: Uuid,
    update: Uuid,
    attempt: i32,
    session_id: String,
    user_id: String,
    version: i64,
    state: String,
    result: String,
}

statement!(ChangeState -> (Bool, Bool));

impl QueryFragment<Pg> for ChangeState {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push!(out,
            "WITH owner AS MATERIALIZED ( \
                SELECT 1 FROM runs \
                WHERE run_id = ", &self.run_id => SqlUuid, " AND attempt = ", &self.attempt => Integer,
            " AND status = 'RUNNING' AND node_id IS NOT NULL FOR SHARE), \
             updated AS ( \
                UPDATE sessions SET state = ", &self.state => Text, "::json, version = version + 1, updated_at = now() \
                WHERE session_id = ", &self.session_id => Text, " AND user_id = ", &self.user_id => Text,
            " AND version = ", &self.version => BigInt, " AND EXISTS (SELECT 1 FROM owner) RETURNING 1), \
             inserted AS ( \
                INSERT INTO sessions (session_id, user_id, state, version, updated_at) \
                SELECT ", &self.session_id => Text, ", ", &self.user_id => Text, ", ", &self.state => Text,
            "::json, 1, now() FROM owner WHERE ", &self.version => BigInt, " = 0 ON CONFLICT DO NOTHING RETURNING 1), \
             done AS (SELECT 1 FROM updated UNION ALL SELECT 1 FROM inserted), \
             noted AS ( \
                INSERT INTO session_updates (run_id, update_id, result) \
                SELECT ", &self.run_id => SqlUuid, ", ", &self.update => SqlUuid, ", ", &self.result => Text,
            "::json FROM done) \
             SELECT EXISTS (SELECT 1 FROM owner), EXISTS (SELECT 1 FROM done)"
        );
        Ok(())
    }
}
