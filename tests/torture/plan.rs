//! What is going to happen: how long, how large, and which faults when. All of it follows from the seed.

use std::env;
use std::time::Duration;

use fastrand::Rng;

/// The time from one fault to the next, on average.
const BETWEEN: u64 = 2000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) time: Duration,
    pub(crate) workers: usize,
    pub(crate) clients: usize,
}

impl Settings {
    pub(crate) fn from_env() -> Self {
        let number = |name: &str| {
            let text = env::var(name).ok().filter(|text| !text.is_empty())?;
            Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a whole number, found `{text}`")))
        };
        let count = |name: &str| number(name).map(|number: u64| usize::try_from(number).unwrap().max(1));
        let workers = count("GREENROOM_TORTURE_WORKERS").unwrap_or(3);
        Self {
            seed: number("GREENROOM_TORTURE_SEED").unwrap_or_else(|| fastrand::u64(1..1_000_000_000)),
            time: Duration::from_secs(number("GREENROOM_TORTURE_SECONDS").unwrap_or(15)),
            workers,
            clients: count("GREENROOM_TORTURE_CLIENTS").unwrap_or(workers * 32),
        }
    }
}

/// A fault, and whom it befalls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    Kill {
        worker: usize,
    },
    Freeze {
        worker: usize,
        time: Duration,
    },
    Terminate {
        worker: usize,
    },
    /// `pg_terminate_backend` of so many backends in a hundred.
    CutBackends {
        percent: u32,
    },
    StopPostgres {
        time: Duration,
    },
    Delay {
        worker: usize,
        by: Duration,
        time: Duration,
    },
    Reset {
        worker: usize,
    },
    HalfOpen {
        worker: usize,
        time: Duration,
    },
    CutAfterCommits {
        worker: usize,
        commits: usize,
    },
    /// What the worker writes from now on arrives later, whoever waits for it.
    HoldBack {
        worker: usize,
        time: Duration,
    },
}

/// How many sorts of faults there are.
const SORTS: usize = 10;

/// The faults of a storm, each with the time when it comes. All sorts come before one comes twice.
pub(crate) fn faults(settings: &Settings, rng: &mut Rng) -> Vec<(Duration, Fault)> {
    let mut at = 0;
    let mut sorts = Vec::new();
    std::iter::from_fn(|| {
        at += rng.u64(BETWEEN / 2..BETWEEN * 3 / 2);
        if sorts.is_empty() {
            sorts.extend(0..SORTS);
            rng.shuffle(&mut sorts);
        }
        Some((Duration::from_millis(at), fault(sorts.pop()?, settings.workers, rng)))
    })
    .take_while(|(at, _)| *at < settings.time)
    .collect()
}

fn fault(sort: usize, workers: usize, rng: &mut Rng) -> Fault {
    let worker = rng.usize(..workers);
    let mut millis = |range: std::ops::Range<u64>| Duration::from_millis(rng.u64(range));
    match sort {
        0 => Fault::Kill { worker },
        // Longer than the lease, mostly.
        1 => Fault::Freeze { worker, time: millis(1500..4500) },
        2 => Fault::Terminate { worker },
        3 => Fault::CutBackends { percent: rng.u32(20..100) },
        4 => Fault::StopPostgres { time: millis(0..3500) },
        5 => Fault::Delay { worker, by: millis(5..600), time: millis(500..3000) },
        6 => Fault::Reset { worker },
        7 => Fault::HalfOpen { worker, time: millis(500..4000) },
        // Longer than the lease and the time to the next sweep. The last worker, which only polls, writes in transactions.
        8 => Fault::HoldBack { worker: worker % (workers - 1).max(1), time: millis(3500..5500) },
        _ => Fault::CutAfterCommits { worker, commits: rng.usize(1..30) },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fastrand::Rng;

    use super::{SORTS, Settings, faults};

    #[test]
    fn a_plan_follows_from_its_seed_and_has_every_sort_of_fault() {
        let settings = Settings { seed: 7, time: Duration::from_secs(60), workers: 3, clients: 1 };
        let plan = faults(&settings, &mut Rng::with_seed(7));
        assert_eq!(plan, faults(&settings, &mut Rng::with_seed(7)));
        assert_ne!(plan, faults(&settings, &mut Rng::with_seed(8)));
        assert!((25..40).contains(&plan.len()), "{}", plan.len());
        let sorts: Vec<_> = plan[..SORTS].iter().map(|(_, fault)| std::mem::discriminant(fault)).collect();
        assert!((1..SORTS).all(|at| !sorts[..at].contains(&sorts[at])), "{plan:?}");
    }
}
