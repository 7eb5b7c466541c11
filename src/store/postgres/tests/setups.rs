//! Options, schemas, migrations.

use std::time::Duration;

use futures_util::future::join_all;

use super::{client, fresh, open};
use crate::run::{RunId, RunStatus};
use crate::store::conformance::samples::{self, id, owned, step, unowned};
use crate::store::postgres::PostgresOptions;
use crate::store::protocol::{CancelWritten, Change, Write};
use crate::store::{NodeId, StoreError};
use crate::test_postgres::fresh_database;

#[tokio::test]
async fn a_schema_may_have_any_name() {
    let database = fresh_database().await;
    for schema in ["Agents", "two words", "back\\slash", "quo\"te", "se;lect", "häuser", "a,b", "public"] {
        let options = || PostgresOptions::new(database.url()).schema(schema);
        let store = open(options()).await.unwrap_or_else(|error| panic!("{schema}: {error}"));
        let run = unowned();
        samples::submit(&*store, &run).await;
        drop(store);
        let again = open(options().migrate(false)).await.unwrap();
        assert_eq!(samples::get(&*again, id(&run)).await.output.run_id, id(&run), "{schema}");
        let query = "SELECT count(*) FROM pg_tables WHERE schemaname = $1 AND tablename IN ('runs', '__diesel_schema_migrations')";
        let tables: i64 = client(&database).await.query_one(query, &[&schema]).await.unwrap().get(0);
        assert_eq!(tables, 2, "{schema}");
    }
}

#[tokio::test]
async fn a_name_that_means_another_schema_is_refused() {
    let database = fresh_database().await;
    for schema in ["$user", "pg_temp", "", "a\0b"] {
        let refused = open(PostgresOptions::new(database.url()).schema(schema)).await.err();
        assert!(matches!(refused, Some(StoreError::Option { option: "schema", .. })), "{schema}: {refused:?}");
    }
}

#[tokio::test]
async fn eight_processes_may_start_at_once() {
    let database = fresh_database().await;

    let stores = join_all((0..8).map(|_| open(PostgresOptions::new(database.url())))).await;

    for store in stores {
        samples::submit(&*store.unwrap(), &unowned()).await;
    }
}

#[tokio::test]
async fn a_store_that_must_not_migrate_says_that_it_should_be_done() {
    let database = fresh_database().await;

    let Err(error) = open(PostgresOptions::new(database.url()).migrate(false)).await else {
        panic!("nothing is there")
    };

    assert!(matches!(error, StoreError::Migration(_)), "{error:?}");
    assert!(error.to_string().contains("`migrate`"), "{error}");
    let query = "SELECT count(*) FROM pg_namespace WHERE nspname = 'greenroom'";
    let schemas: i64 = client(&database).await.query_one(query, &[]).await.unwrap().get(0);
    assert_eq!(schemas, 0, "it has not touched the database");
}

#[tokio::test]
async fn a_role_that_may_only_use_the_tables_needs_nobody_to_migrate() {
    let (database, store) = fresh().await;
    drop(store);
    let role = format!("user_{}", id(&owned()).to_string().replace('-', ""));
    let grant = format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA greenroom TO {role}; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA greenroom TO {role}"
    );
    client(&database).await.batch_execute(&grant).await.unwrap();
    let url = database.url().replacen("postgres@", &format!("{role}@"), 1);
    assert!(url.contains(&role));

    let store = open(PostgresOptions::new(url).migrate(false)).await.unwrap();

    let run_id = samples::settled(&*store, owned(), RunStatus::Completed).await;
    assert_eq!(samples::get(&*store, run_id).await.output.status, RunStatus::Completed);
    samples::submit(&*store, &unowned()).await;
    assert_eq!(samples::claim(&*store, NodeId::new(), 10).await.len(), 1);
    assert_eq!(store.prune(Duration::ZERO, 10).await.unwrap(), 1);
    drop(store);
    let tidy = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    client(&database).await.batch_execute(&tidy).await.unwrap();
}

#[tokio::test]
async fn a_lock_that_others_hold_is_waited_for_as_long_as_the_option_says() {
    let (database, store) = fresh().await;
    let run = owned();
    samples::submit(&*store, &run).await;
    let mut other = client(&database).await;
    let held = other.transaction().await.unwrap();
    held.batch_execute("SELECT FROM greenroom.runs FOR UPDATE").await.unwrap();

    for options in [
        PostgresOptions::new(database.url()).lock_timeout(Duration::from_millis(50)),
        PostgresOptions::new(database.url()).statement_timeout(Duration::from_secs(2)),
    ] {
        let hasty = open(options).await.unwrap();
        let start = Write::Advance(Box::new(step(id(&run), 1, 0, Change::Start)));
        let late = hasty.write(0, [start].into()).await.unwrap_err();
        assert!(late.is_retryable() && late.to_string().contains("timeout"), "{late}");
        samples::submit(&*hasty, &unowned()).await;
    }

    held.rollback().await.unwrap();
    assert_eq!(samples::advance(&*store, &step(id(&run), 1, 0, Change::Start)).await, Ok(()));
}

#[tokio::test]
async fn a_connection_that_is_cut_costs_one_retryable_error_at_most() {
    let (database, store) = fresh().await;
    let run = owned();
    samples::submit(&*store, &run).await;
    samples::get(&*store, id(&run)).await;
    let cut = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity \
               WHERE application_name = 'greenroom' AND datname = current_database()";
    let cut: i64 = client(&database).await.query_one(cut, &[]).await.unwrap().get(0);
    assert!(cut >= 2, "{cut} connections were cut");

    samples::get(&*store, id(&run)).await;
    let start = || [Write::Advance(Box::new(step(id(&run), 1, 0, Change::Start)))];
    if let Err(error) = store.write(0, start().into()).await {
        assert!(error.is_retryable(), "{error}");
        store.write(0, start().into()).await.unwrap();
    }
    assert_eq!(samples::facts(&*store, id(&run)).await.starts, 1);
}

const TABLES: [&str; 7] = ["runs", "run_inputs", "run_outputs", "run_events", "run_steps", "cancel_intents", "nodes"];

/// A deploy runs two releases at once.
#[tokio::test]
async fn what_a_later_release_has_added_to_the_tables_is_in_nobodys_way() {
    let (database, earlier) = fresh().await;
    let admin = client(&database).await;
    for table in TABLES {
        let add = format!("ALTER TABLE greenroom.{table} ADD later text, ADD latest integer NOT NULL DEFAULT 7");
        admin.batch_execute(&add).await.unwrap();
    }
    let done = "INSERT INTO greenroom.__diesel_schema_migrations (version) VALUES ('99991231235959')";
    admin.batch_execute(done).await.unwrap();

    let started_later = open(PostgresOptions::new(database.url())).await.unwrap();
    for store in [earlier, started_later] {
        let waiting = unowned();
        samples::submit(&*store, &waiting).await;
        let mut attempt = samples::Attempt::claimed(&*store, id(&waiting)).await;
        attempt.write(Change::Start).await;
        attempt.write(Change::Append).await;
        attempt.write(samples::settle(RunStatus::Completed)).await;
        assert_eq!(samples::get(&*store, attempt.run_id).await.output.status, RunStatus::Completed);
        let unknown = RunId::new();
        assert_eq!(samples::cancel(&*store, unknown).await, CancelWritten::IntentStored);
    }
}

#[tokio::test]
async fn the_migration_can_be_undone() {
    let (database, store) = fresh().await;
    store.close().await;
    let admin = client(&database).await;
    let columns = async || {
        let sql = "SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable \
                   FROM information_schema.columns WHERE table_schema = 'greenroom' ORDER BY 1";
        let rows = admin.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>()
    };
    let before = columns().await;
    let down = include_str!("../../../../migrations/postgres/2026-11-22-000000_create_runs/down.sql");
    let undo = format!("SET search_path TO greenroom; {down}; DELETE FROM __diesel_schema_migrations");
    admin.batch_execute(&undo).await.unwrap();
    assert!(columns().await.iter().all(|column| column.starts_with("__diesel")), "nothing is left");

    open(PostgresOptions::new(database.url())).await.unwrap();

    assert_eq!(columns().await, before);
}
