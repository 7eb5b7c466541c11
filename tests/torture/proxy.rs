//! A TCP proxy between one worker and Postgres, which can be told to misbehave.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::frames::{Effect, Frames};
pub(crate) use self::late::Late;

mod frames;
mod late;

pub(crate) struct Proxy {
    port: u16,
    weather: Arc<Weather>,
    accepting: JoinHandle<()>,
}

/// How the proxy behaves just now.
struct Weather {
    server: SocketAddr,
    delay_millis: AtomicU64,
    /// Whatever comes is swallowed, and the connection that it came over is dead from then on.
    swallows: watch::Sender<bool>,
    /// How many commits still lose their answers.
    cuts: AtomicUsize,
    /// Writes of the client do not arrive as long as this is so.
    holds: watch::Sender<bool>,
    late: late::Tally,
    /// Counts the times that all connections were reset.
    resets: watch::Sender<u64>,
}

/// How a connection through the proxy ends.
enum End {
    Closed,
    Reset,
}

impl Proxy {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let weather = Arc::new(Weather {
            server,
            delay_millis: AtomicU64::new(0),
            swallows: watch::Sender::new(false),
            cuts: AtomicUsize::new(0),
            holds: watch::Sender::new(false),
            late: late::Tally::default(),
            resets: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&weather)));
        Self { port, weather, accepting }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Each chunk, in both directions, takes so much longer.
    pub(crate) fn delay(&self, by: Duration) {
        self.weather.delay_millis.store(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// Every connection is reset; new ones are taken.
    pub(crate) fn reset(&self) {
        self.weather.resets.send_modify(|resets| *resets += 1);
    }

    /// Connections stay open, and nothing comes through.
    pub(crate) fn swallow(&self) {
        self.weather.swallows.send_replace(true);
    }

    /// So many commits from now on are carried out, and their connections are reset before the answer.
    pub(crate) fn cut_after_commits(&self, commits: usize) {
        self.weather.cuts.store(commits, Ordering::Relaxed);
    }

    /// From its next write on that is no part of a longer transaction, nothing that the client sends over a connection arrives, whether it waits for that or not.
    pub(crate) fn hold_back(&self) {
        self.weather.holds.send_replace(true);
    }

    /// All of that arrives now.
    pub(crate) fn let_through(&self) {
        self.weather.holds.send_replace(false);
    }

    /// What became of the writes that were held back.
    pub(crate) fn late(&self) -> Late {
        self.weather.late.read()
    }

    pub(crate) fn heal(&self) {
        self.delay(Duration::ZERO);
        self.let_through();
        self.cut_after_commits(0);
        self.weather.swallows.send_replace(false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, weather: Arc<Weather>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => drop(tokio::spawn(carry(client, Arc::clone(&weather)))),
            // Out of descriptors, say: nobody is served better by giving up.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn carry(mut client: TcpStream, weather: Arc<Weather>) {
    let Ok(mut server) = TcpStream::connect(weather.server).await else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap_or_default();
    }
    let mut resets = weather.resets.subscribe();
    let (cutting, line) = (AtomicBool::new(false), late::Line::default());
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            end = up(from_client, to_server, &weather, &cutting, &line) => end,
            end = down(from_server, to_client, &weather, &cutting, &line) => end,
            _ = resets.changed() => Ok(End::Reset),
        }
    };
    if let Ok(End::Reset) = end {
        client.set_zero_linger().unwrap_or_default();
        server.set_zero_linger().unwrap_or_default();
    }
}

async fn up(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    weather: &Weather,
    cutting: &AtomicBool,
    line: &late::Line,
) -> io::Result<End> {
    let mut frames = Frames::default();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(End::Closed);
        }
        weather.pass(&mut from).await?;
        let bytes = &buffer[..read];
        let commit = frames.feed(bytes);
        let sent = frames.take_sent();
        if sent != Effect::Reads && *weather.holds.borrow() {
            let held = late::hold(&mut from, bytes, &mut frames, &weather.holds).await;
            line.expect(sent.max(frames.take_sent()), held.is_client_there);
            to.write_all(&held.bytes).await?;
            if !held.is_client_there {
                line.answered().await;
                return Ok(End::Closed);
            }
            continue;
        }
        if let Some(end) = commit
            && weather.takes_a_cut()
        {
            cutting.store(true, Ordering::Relaxed);
            to.write_all(&bytes[..end]).await?;
            // The other direction ends it.
            return std::future::pending().await;
        }
        to.write_all(bytes).await?;
    }
}

async fn down(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    weather: &Weather,
    cutting: &AtomicBool,
    line: &late::Line,
) -> io::Result<End> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(End::Closed);
        }
        let bytes = &buffer[..read];
        if !line.hear(bytes, &weather.late) {
            continue;
        }
        if cutting.load(Ordering::Relaxed) {
            if frames::ends_ready(bytes) {
                return Ok(End::Reset);
            }
            continue;
        }
        weather.pass_back().await;
        to.write_all(bytes).await?;
    }
}

impl Weather {
    /// Lets a chunk of the client through, after a while, or never.
    async fn pass(&self, from: &mut ReadHalf<'_>) -> io::Result<()> {
        if *self.swallows.borrow() {
            self.swallow_all(from).await?;
        }
        self.wait().await;
        Ok(())
    }

    async fn pass_back(&self) {
        if *self.swallows.borrow() {
            // The direction of the client notices when it goes away.
            std::future::pending::<()>().await;
        }
        self.wait().await;
    }

    async fn wait(&self) {
        let delay = self.delay_millis.load(Ordering::Relaxed);
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
    }

    /// Swallows what the client sends until it goes away. The server is not told of that before the fault is over, as
    /// with a host that has lost its network.
    async fn swallow_all(&self, from: &mut ReadHalf<'_>) -> io::Result<()> {
        let mut buffer = [0; 1024];
        while from.read(&mut buffer).await.unwrap_or_default() > 0 {}
        self.swallows.subscribe().wait_for(|swallows| !swallows).await.map_err(io::Error::other)?;
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    fn takes_a_cut(&self) -> bool {
        let fewer = |cuts: usize| cuts.checked_sub(1);
        self.cuts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok()
    }
}
