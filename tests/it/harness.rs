//! The suite's own tools keep their word.

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

use crate::postgres::{Server, fresh_database};

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the server takes connections");
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn two_fresh_databases_do_not_share_tables() {
    let (one, other) = tokio::join!(fresh_database(), fresh_database());
    assert_ne!(one.url(), other.url());

    connect(one.url()).await.batch_execute("CREATE TABLE mine (id int)").await.unwrap();

    let look = "SELECT to_regclass('mine') IS NOT NULL";
    assert!(connect(one.url()).await.query_one(look, &[]).await.unwrap().get::<_, bool>(0));
    assert!(!connect(other.url()).await.query_one(look, &[]).await.unwrap().get::<_, bool>(0));
}

#[test]
fn fresh_databases_come_to_any_runtime() {
    let urls = [
        actix_web::rt::System::new().block_on(fresh_database()),
        tokio::runtime::Builder::new_current_thread()
            .start_paused(true)
            .enable_all()
            .build()
            .unwrap()
            .block_on(fresh_database()),
        tokio::runtime::Runtime::new().unwrap().block_on(fresh_database()),
    ];
    assert!(urls.iter().all(|database| database.url().starts_with("postgres")));
}

#[tokio::test]
async fn a_stopped_server_comes_back_with_its_data() {
    let Some(server) = Server::start().await else { return };
    let durable = connect(server.url()).await.query_one("SHOW fsync", &[]).await.unwrap();
    assert_eq!(durable.get::<_, &str>(0), "on");
    connect(server.url()).await.batch_execute("CREATE TABLE kept (stop text)").await.unwrap();

    for stop in ["immediately", "fast"] {
        let client = connect(server.url()).await;
        client.execute("INSERT INTO kept VALUES ($1)", &[&stop]).await.unwrap();
        if stop == "fast" {
            server.stop_fast().await;
        } else {
            server.stop_immediately().await;
        }
        assert!(client.batch_execute("SELECT 1").await.is_err(), "the connection is cut");
        assert!(tokio_postgres::connect(server.url(), NoTls).await.is_err(), "nobody listens");
        server.start_again().await;
    }

    let rows = connect(server.url()).await.query("SELECT stop FROM kept ORDER BY 1", &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<&str>>(), ["fast", "immediately"]);
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing() {
    let Some(server) = Server::start().await else { return };
    let (url, directory) = (server.url().to_owned(), server.directory().to_owned());

    drop(server);

    assert!(!directory.exists());
    assert!(tokio_postgres::connect(&url, NoTls).await.is_err());
}

/// The other process of the two tests below.
#[tokio::test]
#[ignore = "started by the tests of what a process leaves behind"]
async fn a_process_that_holds_a_server() {
    if env::var_os("GREENROOM_HOLD_A_SERVER").is_none() {
        return;
    }
    let Some(server) = Server::start().await else { return };
    println!("{} {}", server.url(), server.directory().display());
    // Like a static, which no end of a process drops.
    std::mem::forget(server);
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

struct Holder {
    process: Child,
    /// Open as long as the process may print.
    _output: BufReader<ChildStdout>,
    url: String,
    directory: PathBuf,
}

fn process_that_holds_a_server() -> Option<Holder> {
    let mut process = Command::new(env::current_exe().unwrap())
        .args(["--exact", "harness::a_process_that_holds_a_server", "--ignored", "--nocapture"])
        .env("GREENROOM_HOLD_A_SERVER", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    let place = output.by_ref().lines().map_while(Result::ok).find_map(|line| {
        let (url, directory) = line.get(line.find("postgres://")?..)?.split_once(' ')?;
        Some((url.to_owned(), PathBuf::from(directory)))
    });
    if let Some((url, directory)) = place {
        return Some(Holder { process, _output: output, url, directory });
    }
    assert!(process.wait().unwrap().success(), "the other process failed");
    None
}

async fn assert_nothing_is_left(url: &str, directory: &Path) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while directory.exists() {
        assert!(Instant::now() < deadline, "{} is still there", directory.display());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(tokio_postgres::connect(url, NoTls).await.is_err(), "a server is left behind");
}

#[tokio::test]
async fn a_killed_process_leaves_no_server_behind() {
    let Some(mut holder) = process_that_holds_a_server() else { return };
    connect(&holder.url).await.batch_execute("SELECT 1").await.unwrap();

    holder.process.kill().unwrap();
    holder.process.wait().unwrap();

    assert_nothing_is_left(&holder.url, &holder.directory).await;
}

#[tokio::test]
async fn a_process_that_ends_leaves_no_server_behind() {
    let Some(mut holder) = process_that_holds_a_server() else { return };
    connect(&holder.url).await.batch_execute("SELECT 1").await.unwrap();

    drop(holder.process.stdin.take());
    assert!(holder.process.wait().unwrap().success());

    assert_nothing_is_left(&holder.url, &holder.directory).await;
}
