//! How many calls may wait for their answers, and how much input they may hold.
//!
//! The mailboxes behind the front door have no bound that a waiting caller would notice: this is it.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::actors::manager::Admission;
use crate::error::Error;

/// How many bytes of input the calls that wait for their answers may hold together.
const INPUT_ROOM: usize = 256 * 1024 * 1024;

pub(super) struct Admissions {
    max_calls: usize,
    /// One permit for each submit and each cancel that waits for its answer.
    calls: Arc<Semaphore>,
    /// One permit for each byte of input of the submits among them.
    input: Arc<Semaphore>,
}

impl Admissions {
    pub(super) fn new(max_calls: usize) -> Self {
        let calls = Arc::new(Semaphore::new(max_calls));
        Self { max_calls, calls, input: Arc::new(Semaphore::new(INPUT_ROOM)) }
    }

    /// Admits a call that brings `bytes` of input along.
    pub(super) fn admit(&self, bytes: usize) -> Result<Admission, Error> {
        let overloaded = |_| Error::Overloaded(self.max_calls);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let call = Arc::clone(&self.calls).try_acquire_owned().map_err(overloaded)?;
        let input = Arc::clone(&self.input).try_acquire_many_owned(bytes).map_err(overloaded)?;
        Ok(Admission { _call: call, _input: input })
    }
}

#[cfg(test)]
mod tests {
    use super::{Admissions, INPUT_ROOM};
    use crate::error::Error;

    #[test]
    fn calls_are_admitted_up_to_their_number_and_their_weight() {
        let admissions = Admissions::new(2);
        let first = admissions.admit(INPUT_ROOM).unwrap();
        assert!(matches!(admissions.admit(1), Err(Error::Overloaded(2))));
        let _second = admissions.admit(0).unwrap();
        assert!(matches!(admissions.admit(0), Err(Error::Overloaded(2))));
        drop(first);
        admissions.admit(INPUT_ROOM).unwrap();
    }
}
