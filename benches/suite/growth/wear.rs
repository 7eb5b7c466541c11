//! What very many lifecycles leave behind in the tables.

use std::time::Duration;

use crate::lifecycle;
use crate::support::host::{Host, connect};
use crate::support::report::Figure;
use crate::support::size::Size;

pub(super) async fn measure(host: &Host, size: Size) -> Vec<Figure> {
    let url = host.fresh().await;
    // Some hundred thousand lifecycles.
    let long = Size { round: size.round * size.pick(10, 1), ..size };
    let mut workers = lifecycle::start(&url, "code", 1000, 1, long);
    lifecycle::results(&mut workers);
    drop(workers);
    let client = connect(&url).await;
    // The processes of the server tell what they have counted when they end.
    tokio::time::sleep(size.pick(Duration::from_secs(2), size.round)).await;
    let sql = "SELECT (SELECT count(*)::float8 FROM greenroom.runs) AS runs, \
                      n_tup_hot_upd::float8 / nullif(n_tup_upd, 0), n_dead_tup::float8 / nullif(n_live_tup, 0), \
                      pg_table_size(relid)::float8, pg_indexes_size(relid)::float8, \
                      (SELECT sum(pg_total_relation_size(t.relid))::float8 FROM pg_stat_user_tables t WHERE schemaname = 'greenroom') \
               FROM pg_stat_user_tables WHERE schemaname = 'greenroom' AND relname = 'runs'";
    let row = client.query_one(sql, &[]).await.unwrap();
    let number = |at: usize| row.get::<_, Option<f64>>(at).unwrap_or(f64::NAN);
    let lives = number(0);
    let figure =
        |name: &str, unit, value: f64| Figure::new(format!("after {lives} lifecycles: {name}"), unit, vec![value]);
    vec![
        figure("updates of runs that were heap-only", "", number(1)),
        figure("dead rows for each live one", "", number(2)),
        figure("bytes of the table of runs, each", "B", number(3) / lives),
        figure("bytes of its indexes, each", "B", number(4) / lives),
        figure("bytes of all tables and indexes, each", "B", number(5) / lives),
    ]
}
