//! Carries faults out.

use std::time::Duration;

use crate::crew::Crew;
use crate::plan::Fault;
use crate::process::Worker;
use crate::tables;

/// Does what `fault` says, and heals it, except for a Postgres that is to be stopped while it is stopped already.
pub(crate) async fn befall(crew: &Crew, fault: Fault, postgres: &tokio::sync::Mutex<()>) {
    crew.book.note_fault(format!("{fault:?}"));
    match fault {
        Fault::Kill { worker } => left_alone(crew, worker).kill().await,
        Fault::Freeze { worker, time } => left_alone(crew, worker).freeze(time).await,
        Fault::Terminate { worker } => left_alone(crew, worker).terminate().await,
        Fault::CutBackends { percent } => {
            let _up = postgres.lock().await;
            cut_backends(crew.server.url(), percent).await;
        }
        Fault::StopPostgres { time } => {
            let _only = postgres.lock().await;
            crew.server.stop_immediately().await;
            tokio::time::sleep(time).await;
            crew.server.start_again().await;
        }
        Fault::Delay { worker, by, time } => {
            crew.workers[worker].proxy.delay(by);
            tokio::time::sleep(time).await;
            crew.workers[worker].proxy.delay(Duration::ZERO);
        }
        Fault::Reset { worker } => crew.workers[worker].proxy.reset(),
        Fault::HalfOpen { worker, time } => {
            crew.workers[worker].proxy.swallow();
            tokio::time::sleep(time).await;
            crew.workers[worker].proxy.heal();
        }
        Fault::HoldBack { worker, time } => {
            crew.workers[worker].proxy.hold_back();
            tokio::time::sleep(time).await;
            crew.workers[worker].proxy.let_through();
        }
        Fault::CutAfterCommits { worker, commits } => crew.workers[worker].proxy.cut_after_commits(commits),
    }
    crew.book.note_fault(format!("over: {fault:?}"));
}

/// This worker, or the next one whose process nobody is hurting just now.
fn left_alone(crew: &Crew, worker: usize) -> &Worker {
    let (before, from) = crew.workers.split_at(worker);
    from.iter().chain(before).find(|worker| worker.is_left_alone()).unwrap_or(&crew.workers[worker])
}

async fn cut_backends(url: &str, percent: u32) {
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE application_name = 'greenroom' AND random() * 100 < $1";
    tables::connect(url).await.query_one(cut, &[&f64::from(percent)]).await.unwrap();
}
