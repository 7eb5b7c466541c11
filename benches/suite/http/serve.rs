//! What is measured: a service, and the same runtime without a door.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use actix_web::{App, HttpServer};
use futures_util::future::join_all;
use greenroom::{Agent, NewRun, RunContext, Runtime, Store, web};

use super::{INPUT, later};
use crate::support::child::until_not_needed;
use crate::support::runtime::for_callers;

async fn runtime(url: &str) -> Runtime {
    let idle = Agent::builder("idle").code(|_: RunContext| async { std::future::pending::<Result<(), _>>().await });
    Runtime::builder().store(Store::postgres(url)).max_waiting(usize::MAX).agent(idle).start().await.unwrap()
}

/// Plays `serve URL`: says where, and which run there is, one that says nothing.
pub(crate) fn serve(arguments: &[&str]) {
    let [url] = arguments else { unreachable!("one argument") };
    actix_web::rt::System::new().block_on(async {
        let runtime = runtime(url).await;
        let run = runtime.submit(NewRun::new("idle", "wait")).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        println!("{}\n{}", listener.local_addr().unwrap(), run.run_id());
        let served = runtime.clone();
        let server = HttpServer::new(move || App::new().service(web::scope("", served.clone())));
        let serving = actix_web::rt::spawn(server.disable_signals().listen(listener).unwrap().run());
        actix_web::rt::task::spawn_blocking(until_not_needed).await.unwrap();
        serving.abort();
    });
}

/// Plays `accept URL ROUND CALLERS`: submits without HTTP in between, and says how many runs a second were accepted.
pub(crate) fn accept(arguments: &[&str]) {
    let [url, milliseconds, callers] = arguments else { unreachable!("three arguments") };
    let (time, callers): (_, usize) = (Duration::from_millis(milliseconds.parse().unwrap()), callers.parse().unwrap());
    for_callers().block_on(async {
        let runtime = runtime(url).await;
        let callers = (0..callers).map(|_| {
            let runtime = runtime.clone();
            tokio::spawn(async move {
                let (begun, mut accepted) = (Instant::now(), 0_u32);
                while begun.elapsed() < time {
                    runtime.submit(NewRun::new("idle", INPUT).run_at(later())).await.unwrap();
                    accepted += 1;
                }
                accepted
            })
        });
        let accepted: u32 = join_all(callers).await.into_iter().map(Result::unwrap).sum();
        println!("{}", f64::from(accepted) / time.as_secs_f64());
    });
}
