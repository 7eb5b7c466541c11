//! The one clock of the driver and of all its processes.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Microseconds on the monotonic clock that all processes of this machine share.
pub(crate) type Micros = u64;

pub(crate) fn now() -> Micros {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec * 1_000_000 + now.tv_nsec / 1_000).expect("the clock counts from the boot")
}

/// What has to be subtracted from microseconds since 1970, which is what Postgres and events give, to get to [`Micros`].
pub(crate) fn since_1970() -> i64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).expect("this is after 1970").as_micros();
    i64::try_from(wall).expect("micros of today fit") - i64::try_from(now()).expect("micros since the boot fit")
}
