//! Hints over a real Postgres.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_postgres::{AsyncMessage, Client, NoTls};

use super::listener::channel;
use super::payload::Message;
use super::{Listener, PRESENCE, Switchboard};
use crate::run::RunId;
use crate::store::hints::{Hint, Hints, Named};
use crate::store::postgres::connect::Connector;
use crate::store::postgres::{Postgres, PostgresOptions};
use crate::store::{NodeId, RunStore, StoreError, StoreLimits};
use crate::test_postgres::{Database, fresh_database, pooled};

async fn open(options: PostgresOptions) -> Postgres {
    let limits = StoreLimits { intent_ttl: Duration::from_secs(3600), max_intents: 100 };
    Postgres::open(options, limits).await.unwrap()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it comes soon")
}

/// Waits until the store is told what fits.
async fn told(store: &Postgres, fits: impl Fn(&Hints) -> bool) {
    soon(async { while !fits(&store.hints().await) {} }).await;
}

fn names(run_id: RunId) -> impl Fn(&Hints) -> bool {
    move |hints| matches!(&hints.news, Named::These(these) if these.contains(&run_id))
}

/// Waits until two stores know of each other, and until each has heard all that the other has said so far: from then on, nothing
/// is left untold because nobody would hear it, and what is heard was said later.
async fn acquainted(one: &Postgres, other: &Postgres) {
    let ways = [(one, other), (other, one)];
    for (from, to) in ways {
        let run_id = RunId::new();
        let heard = told(to, names(run_id));
        tokio::pin!(heard);
        while tokio::time::timeout(Duration::from_millis(20), &mut heard).await.is_err() {
            from.hint(Hint::News(run_id));
        }
    }
    for (from, to) in ways {
        // It may have been said once more than it was heard.
        let last = RunId::new();
        from.hint(Hint::News(last));
        told(to, names(last)).await;
    }
}

/// All that is said on the channel of a schema.
async fn overhear(database: &Database, schema: &str) -> (Client, mpsc::UnboundedReceiver<Message>) {
    let (client, mut connection) = tokio_postgres::connect(database.url(), NoTls).await.unwrap();
    let (sender, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(notification) = message
                && sender.send(notification.payload().parse().unwrap()).is_err()
            {
                return;
            }
        }
    });
    client.batch_execute(&format!("LISTEN {}", channel(schema))).await.unwrap();
    (client, heard)
}

#[tokio::test]
async fn what_one_store_hints_another_is_told() {
    let database = fresh_database().await;
    let (one, other) = tokio::join!(
        open(PostgresOptions::new(database.url())),
        open(PostgresOptions::new(database.url()).schema("greenroom"))
    );
    acquainted(&one, &other).await;

    let (node, run_id) = (NodeId::new(), RunId::new());
    for hint in [Hint::Work, Hint::Cancel(node), Hint::News(run_id)] {
        one.hint(hint);
    }

    let mut all = Hints::default();
    let expected = Hints { work: true, cancels: Named::These([node].into()), news: Named::These([run_id].into()) };
    soon(async {
        while all != expected {
            all.merge(other.hints().await);
        }
    })
    .await;
}

#[tokio::test]
async fn whoever_begins_to_listen_is_told_to_look_at_everything() {
    let database = fresh_database().await;
    let store = open(PostgresOptions::new(database.url())).await;
    told(&store, |hints| *hints == Hints::everything()).await;
}

#[tokio::test]
async fn two_schemas_do_not_hear_each_other() {
    let database = fresh_database().await;
    let (one, other, stranger) = tokio::join!(
        open(PostgresOptions::new(database.url())),
        open(PostgresOptions::new(database.url())),
        open(
            PostgresOptions::new(database.url())
                .schema("a schema whose name is as long as a name of Postgres may be: 63")
        )
    );
    told(&stranger, |hints| *hints == Hints::everything()).await;
    acquainted(&one, &other).await;
    // The stranger would have been told before.
    assert!(tokio::time::timeout(Duration::ZERO, stranger.hints()).await.is_err());
    assert!(stranger.inner.hints.as_ref().unwrap().is_alone());
}

#[tokio::test]
async fn a_store_that_is_alone_tells_nobody_its_news() {
    let database = fresh_database().await;
    let (_client, mut heard) = overhear(&database, "greenroom").await;
    let store = open(PostgresOptions::new(database.url())).await;
    let hello = soon(heard.recv()).await.unwrap();
    assert!(hello.hello && hello.hints.news == Named::Any);

    let node = NodeId::new();
    (0..200).for_each(|_| store.hint(Hint::News(RunId::new())));
    store.hint(Hint::Work);
    store.hint(Hint::Cancel(node));

    let next = soon(heard.recv()).await.unwrap();
    assert_eq!(next.hints, Hints { cancels: Named::These([node].into()), ..Hints::default() });
}

#[tokio::test]
async fn what_is_left_to_tell_is_told_before_a_store_closes() {
    let database = fresh_database().await;
    let (one, other) =
        tokio::join!(open(PostgresOptions::new(database.url())), open(PostgresOptions::new(database.url())));
    acquainted(&one, &other).await;
    let run_id = RunId::new();
    one.hint(Hint::News(RunId::new()));
    one.hint(Hint::News(run_id));
    one.close().await;
    told(&other, names(run_id)).await;
}

#[tokio::test]
async fn a_listener_that_is_cut_off_comes_back_and_looks_at_everything() {
    let database = fresh_database().await;
    let (one, other) =
        tokio::join!(open(PostgresOptions::new(database.url())), open(PostgresOptions::new(database.url())));
    acquainted(&one, &other).await;
    let (client, _heard) = overhear(&database, "other").await;
    let cut = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity \
               WHERE application_name = 'greenroom' AND query LIKE 'NOTIFY%' AND datname = current_database()";
    assert_eq!(client.query_one(cut, &[]).await.unwrap().get::<_, i64>(0), 2);

    told(&one, |hints| *hints == Hints::everything()).await;
    told(&other, |hints| hints.cancels == Named::Any).await;
    acquainted(&one, &other).await;
}

/// A way to the server that can be made to go silent: what is sent is swallowed, and no connection is closed.
struct SilentProxy {
    url: String,
    /// Connections made before this number was last raised are silent.
    silenced: watch::Sender<u64>,
}

impl SilentProxy {
    async fn to(url: &str) -> Self {
        let (before, place) = url.split_once('@').unwrap();
        let (server, after) = place.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("{before}@{}/{after}", listener.local_addr().unwrap());
        let (server, silenced) = (server.to_owned(), watch::Sender::new(0));
        let epoch = silenced.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (server, mut silence) = (server.clone(), epoch.subscribe());
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        // Either side's end is the other's.
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = silence.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Self { url, silenced }
    }

    fn silence_all_so_far(&self) {
        self.silenced.send_modify(|epoch| *epoch += 1);
    }
}

#[tokio::test]
async fn a_listener_that_went_deaf_is_noticed() {
    let database = fresh_database().await;
    let proxy = SilentProxy::to(database.url()).await;
    let (deaf, other) =
        tokio::join!(open(PostgresOptions::new(&proxy.url)), open(PostgresOptions::new(database.url())));
    acquainted(&deaf, &other).await;

    proxy.silence_all_so_far();

    told(&deaf, |hints| *hints == Hints::everything()).await;
    acquainted(&deaf, &other).await;
}

/// As behind a pooler that gives each transaction another session: what is sent is answered, and nothing is heard.
#[tokio::test]
async fn a_listener_that_can_speak_and_hears_nothing_is_deaf() {
    let database = fresh_database().await;
    let Some(url) = pooled(&database).await else { return };
    let connector = Connector::new(&PostgresOptions::new(url).poll_only()).unwrap();
    let switchboard = Arc::new(Switchboard::new());
    let (_client, mut heard) = overhear(&database, "greenroom").await;

    let ended = soon(Listener::new(connector, Arc::clone(&switchboard)).listen()).await;

    assert!(matches!(ended, Err(StoreError::Unavailable(_))), "{ended:?}");
    assert_eq!(soon(heard.recv()).await.unwrap().sender, switchboard.me, "it has spoken");
}

#[tokio::test(start_paused = true)]
async fn who_is_not_heard_any_more_is_not_told_anything() {
    let (one, other) = (Switchboard::new(), Switchboard::new());
    let say = |hello| Message { sender: other.me, number: 1, hello, hints: Hints::default() }.to_string();
    assert_eq!(one.hear("some text of somebody else's"), None);
    assert!(one.is_alone());

    one.hear(&say(false));
    assert!(!one.is_alone());
    assert_eq!(one.outbox.take(), Hints { cancels: Named::default(), ..Hints::everything() }, "nobody was told so far");
    one.hear(&say(true));
    one.hint(Hint::Work);
    assert!(one.outbox.take().work);

    tokio::time::sleep(PRESENCE + Duration::from_secs(1)).await;
    one.hint(Hint::Work);
    one.hint(Hint::News(RunId::new()));
    assert!(one.outbox.take().is_empty());
    one.hint(Hint::Cancel(NodeId::new()));
    assert!(!one.outbox.take().is_empty(), "somebody waits for it, and a node that is said to be there may be");
}

#[tokio::test]
async fn a_store_that_only_polls_neither_listens_nor_notifies() {
    let database = fresh_database().await;
    let (_client, mut heard) = overhear(&database, "greenroom").await;
    let silent = open(PostgresOptions::new(database.url()).poll_only()).await;
    for hint in [Hint::Work, Hint::Cancel(NodeId::new()), Hint::News(RunId::new())] {
        silent.hint(hint);
    }
    // The first to be heard is another one.
    let store = open(PostgresOptions::new(database.url())).await;
    let hello = soon(heard.recv()).await.unwrap();
    assert_eq!(hello.sender, store.inner.hints.as_ref().unwrap().me);
    assert!(tokio::time::timeout(Duration::ZERO, silent.hints()).await.is_err());
    silent.close().await;
}
