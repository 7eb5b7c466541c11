use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

use super::Connection;
use crate::run::RunId;
use crate::store::conformance::samples::{id, submit, unowned};
use crate::store::postgres::connect::{Connector, Purpose};
use crate::store::postgres::read::{FactsRow, GetFacts};
use crate::store::{PostgresOptions, Store, StoreLimits};
use crate::test_postgres::{Database, fresh_database};

/// A database with one run, and a connection to it that may be another session in each transaction.
async fn bare() -> (Database, RunId, Connection) {
    let database = fresh_database().await;
    let limits = StoreLimits { intent_ttl: std::time::Duration::from_secs(60), max_intents: 1 };
    let store = Store::postgres(database.url()).open(limits).await.unwrap();
    let run = unowned();
    submit(&*store, &run).await;
    let options = PostgresOptions::new(database.url()).poll_only();
    let conn = Connector::new(&options).unwrap().connect(Purpose::Write).await.unwrap();
    (database, id(&run), conn)
}

async fn count(conn: &mut Connection, run_id: RunId) -> usize {
    let facts = GetFacts { run_ids: vec![run_id.as_uuid()] };
    facts.get_results::<FactsRow>(conn).await.unwrap().len()
}

/// Fails when the session has anything that another client of it could stumble over.
async fn assert_clean(conn: &mut Connection) {
    let check = "DO $$ BEGIN \
        ASSERT (SELECT count(*) FROM pg_prepared_statements) = 0, 'a statement is prepared'; \
        ASSERT current_setting('search_path') = '\"$user\", public', current_setting('search_path'); \
        ASSERT current_setting('statement_timeout') = '0', current_setting('statement_timeout'); \
        ASSERT current_setting('enable_seqscan') = 'on', 'the planner is restrained'; \
        ASSERT (SELECT xact_start = now() FROM pg_stat_activity WHERE pid = pg_backend_pid()), 'a transaction is open'; \
    END $$";
    conn.inner.batch_execute(check).await.unwrap();
}

#[tokio::test]
async fn nothing_outlives_a_transaction() {
    let (_database, run_id, mut conn) = bare().await;
    assert_clean(&mut conn).await;

    assert_eq!(count(&mut conn, run_id).await, 1);
    assert_clean(&mut conn).await;

    let deleted = diesel::sql_query("DELETE FROM runs").execute(&mut conn).await.unwrap();
    assert_eq!((deleted, count(&mut conn, run_id).await), (1, 0));
    conn.batch_execute("INSERT INTO nodes VALUES (gen_random_uuid(), 'here', now(), now())").await.unwrap();
    assert_clean(&mut conn).await;

    for failing in ["SELECT 1 / 0", "SELECT nonsense"] {
        diesel::sql_query(failing).execute(&mut conn).await.unwrap_err();
        assert_clean(&mut conn).await;
        conn.batch_execute(failing).await.unwrap_err();
        assert_clean(&mut conn).await;
    }
    assert!(!conn.is_broken());
}

#[tokio::test]
async fn a_transaction_is_one_until_its_end() {
    let (_database, run_id, mut conn) = bare().await;
    conn.begin().await.unwrap();
    diesel::sql_query("DELETE FROM runs").execute(&mut conn).await.unwrap();
    assert_eq!(count(&mut conn, run_id).await, 0);
    assert!(conn.is_broken(), "nobody else may have it now");
    conn.roll_back().await.unwrap();
    assert_clean(&mut conn).await;
    assert_eq!(count(&mut conn, run_id).await, 1);

    conn.batch_execute("BEGIN").await.unwrap();
    diesel::sql_query("DELETE FROM runs").execute(&mut conn).await.unwrap();
    conn.batch_execute("COMMIT").await.unwrap();
    assert_eq!(count(&mut conn, run_id).await, 0);
    assert_clean(&mut conn).await;
}
