//! A worker process, as its driver has it: started, asked, hurt, started again.

use std::collections::HashMap;
use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenroom::RunEvent;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::book::Book;
use crate::clock;
use crate::history::Call;
use crate::proxy::Proxy;
use crate::wire::{self, Answer, Ask, Config, Line, Note, What};

/// So much after it was due, a client does not wait for an answer any more.
const PATIENCE: Duration = Duration::from_secs(15);

/// Longer than any end in good order takes.
const LONG: Duration = Duration::from_secs(60);

/// A worker: one process after the other, behind one proxy.
pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) proxy: Proxy,
    book: Arc<Book>,
    directory: PathBuf,
    lease: Duration,
    max_running: usize,
    poll_only: bool,
    next_call: AtomicU64,
    link: Mutex<Option<Link>>,
    /// Held by whoever does something to the process as a whole.
    life: tokio::sync::Mutex<Option<Life>>,
}

struct Life {
    child: Child,
    /// Its place in the book.
    place: usize,
    notes: PathBuf,
    reading: JoinHandle<()>,
}

/// The way to a process that lives.
#[derive(Clone)]
struct Link {
    commands: mpsc::UnboundedSender<String>,
    open: OpenCalls,
}

/// The calls that wait for their answers; `None` once nobody answers any more.
type OpenCalls = Arc<Mutex<Option<HashMap<u64, OpenCall>>>>;

struct OpenCall {
    told: Arc<Mutex<Vec<RunEvent>>>,
    answer: oneshot::Sender<Answer>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker {
    #[allow(clippy::too_many_arguments, reason = "each is a setting of its own")]
    pub(crate) fn new(
        index: usize,
        proxy: Proxy,
        book: Arc<Book>,
        directory: &Path,
        lease: Duration,
        max_running: usize,
        poll_only: bool,
    ) -> Self {
        Self {
            index,
            proxy,
            book,
            directory: directory.to_owned(),
            lease,
            max_running,
            poll_only,
            next_call: AtomicU64::new(0),
            link: Mutex::new(None),
            life: tokio::sync::Mutex::new(None),
        }
    }

    /// Asks for something, and writes down what came of it.
    pub(crate) async fn ask(&self, ask: Ask) -> Option<Answer> {
        self.ask_for_events(ask).await.0
    }

    /// As [`ask`](Self::ask), with the events that a watch was told.
    pub(crate) async fn ask_for_events(&self, ask: Ask) -> (Option<Answer>, Vec<RunEvent>) {
        let began = clock::now();
        let told = Arc::new(Mutex::new(Vec::new()));
        let answer = self.answer(&ask, &told).await;
        let told = std::mem::take(&mut *locked(&told));
        let call =
            Call { worker: self.index, began, ended: clock::now(), ask, answer: answer.clone(), told: told.clone() };
        self.book.note_call(call);
        (answer, told)
    }

    async fn answer(&self, ask: &Ask, told: &Arc<Mutex<Vec<RunEvent>>>) -> Option<Answer> {
        let link = locked(&self.link).clone()?;
        let call = self.next_call.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        locked(&link.open).as_mut()?.insert(call, OpenCall { told: Arc::clone(told), answer });
        let line = serde_json::to_string(&wire::Command { call, ask: ask.clone() }).unwrap();
        link.commands.send(line).ok()?;
        let answered = tokio::time::timeout(ask.takes() + PATIENCE, answered).await;
        if answered.is_err()
            && let Some(open) = &mut *locked(&link.open)
        {
            open.remove(&call);
        }
        answered.ok()?.ok()
    }

    pub(crate) async fn start(&self) {
        let mut life = self.life.lock().await;
        *life = Some(self.spawn());
    }

    fn spawn(&self) -> Life {
        let place = self.book.begin_process(String::new());
        let name = format!("worker{}-{place}", self.index);
        self.book.note_process(place, |process| process.name.clone_from(&name));
        let notes = self.directory.join(format!("{name}.notes"));
        let config = Config {
            url: format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable", self.proxy.port()),
            notes: notes.clone(),
            lease_millis: u64::try_from(self.lease.as_millis()).unwrap(),
            max_running: self.max_running,
            poll_only: self.poll_only,
        };
        let errors = File::create(self.directory.join(format!("{name}.log"))).unwrap();
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "worker::main_of_a_worker", "--ignored", "--nocapture"])
            .env(Config::VARIABLE, serde_json::to_string(&config).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (commands, lines) = mpsc::unbounded_channel();
        let link = Link { commands, open: Arc::new(Mutex::new(Some(HashMap::new()))) };
        tokio::spawn(write_lines(child.stdin.take().unwrap(), lines));
        let lines = read_lines(child.stdout.take().unwrap(), Arc::clone(&link.open), Arc::clone(&self.book), place);
        let reading = tokio::spawn(lines);
        *locked(&self.link) = Some(link);
        Life { child, place, notes, reading }
    }

    /// SIGKILL, and another start.
    pub(crate) async fn kill(&self) {
        let mut life = self.life.lock().await;
        self.end_abruptly(&mut life).await;
        *life = Some(self.spawn());
    }

    /// SIGKILL, and nothing after that.
    pub(crate) async fn kill_for_good(&self) {
        self.end_abruptly(&mut *self.life.lock().await).await;
    }

    async fn end_abruptly(&self, life: &mut Option<Life>) {
        let Some(mut dying) = life.take() else { return };
        dying.child.kill().await.unwrap();
        self.bury(dying).await;
    }

    /// SIGSTOP, and SIGCONT after a while.
    pub(crate) async fn freeze(&self, time: Duration) {
        let life = self.life.lock().await;
        let Some(Life { child, place, .. }) = &*life else { return };
        let Some(pid) = child.id() else { return };
        let from = clock::now();
        // One shell does both, so that the process wakes up, and sees that its driver is gone, whatever happens to this one.
        shell("kill -STOP $0; sleep $1; kill -CONT $0", &[pid.to_string(), time.as_secs_f64().to_string()]).await;
        self.book.note_process(*place, |process| process.frozen.push((from, clock::now())));
    }

    /// SIGTERM, and another start when the process has ended.
    pub(crate) async fn terminate(&self) {
        let mut life = self.life.lock().await;
        self.end_in_order(&mut life).await;
        *life = Some(self.spawn());
    }

    /// SIGTERM, and nothing after that.
    pub(crate) async fn terminate_for_good(&self) {
        self.end_in_order(&mut *self.life.lock().await).await;
    }

    async fn end_in_order(&self, life: &mut Option<Life>) {
        let Some(mut ending) = life.take() else { return };
        let Some(pid) = ending.child.id() else { return };
        self.book.note_process(ending.place, |process| process.asked_to_end = Some(clock::now()));
        shell("kill -TERM $0", &[pid.to_string()]).await;
        if tokio::time::timeout(LONG, ending.child.wait()).await.is_ok() {
            self.bury(ending).await;
        } else {
            // The checker sees that it was asked to end and has not ended.
            ending.child.kill().await.unwrap();
        }
    }

    async fn bury(&self, dead: Life) {
        self.book.note_process(dead.place, |process| process.gone = Some(clock::now()));
        *locked(&self.link) = None;
        // What it said last.
        dead.reading.await.unwrap();
        let notes = std::fs::read_to_string(&dead.notes).unwrap_or_default();
        let notes = notes.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        self.book.note_process(dead.place, |process| process.notes = notes);
    }

    /// How often the process that lives has started user code so far.
    pub(crate) async fn starts(&self) -> usize {
        let Some(Life { notes, .. }) = &*self.life.lock().await else { return 0 };
        let notes = std::fs::read_to_string(notes).unwrap_or_default();
        // The last line may be on its way.
        let notes = notes.lines().filter_map(|line| serde_json::from_str::<Note>(line).ok());
        notes.filter(|note| note.what == What::Start).count()
    }

    /// Whether nobody is doing something to the process as a whole.
    pub(crate) fn is_left_alone(&self) -> bool {
        self.life.try_lock().is_ok()
    }
}

async fn shell(script: &str, arguments: &[String]) {
    Command::new("/bin/sh").arg("-c").arg(script).args(arguments).stderr(Stdio::null()).status().await.unwrap();
}

async fn write_lines(mut to: ChildStdin, mut lines: mpsc::UnboundedReceiver<String>) {
    while let Some(mut line) = lines.recv().await {
        line.push('\n');
        if to.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Hands each answer to whoever waits for it, until the process is gone.
async fn read_lines(from: ChildStdout, open: OpenCalls, book: Arc<Book>, place: usize) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // The test harness of the process says things as well, on the same line too.
        let Some(line) = line.find('{').map(|at| &line[at..]) else { continue };
        let mut open = locked(&open);
        match (serde_json::from_str(line), &mut *open) {
            (Ok(Line::Told { call, event }), Some(open)) => {
                if let Some(waiting) = open.get(&call) {
                    locked(&waiting.told).push(event);
                }
            }
            (Ok(Line::Answer { call, answer }), Some(open)) => {
                if let Some(waiting) = open.remove(&call) {
                    waiting.answer.send(answer).unwrap_or_default();
                }
            }
            (Ok(Line::Drained(drained)), _) => book.note_process(place, |process| process.drained = Some(drained)),
            (Ok(Line::Told { .. } | Line::Answer { .. }), None) | (Err(_), _) => {}
        }
    }
    *locked(&open) = None;
}
