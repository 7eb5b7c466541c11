//! What the driver writes down as it goes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::{self, Micros};
use crate::history::{Call, Process};

#[derive(Debug, Default)]
pub(crate) struct Book {
    calls: Mutex<Vec<Call>>,
    processes: Mutex<Vec<Process>>,
    /// What was done to whom, for people.
    faults: Mutex<Vec<(Micros, String)>>,
}

fn open<T>(page: &Mutex<T>) -> MutexGuard<'_, T> {
    page.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Book {
    pub(crate) fn note_call(&self, call: Call) {
        open(&self.calls).push(call);
    }

    pub(crate) fn note_fault(&self, fault: String) {
        open(&self.faults).push((clock::now(), fault));
    }

    /// A new process; the number is its place in the book.
    pub(crate) fn begin_process(&self, name: String) -> usize {
        let mut processes = open(&self.processes);
        processes.push(Process { name, ..Process::default() });
        processes.len() - 1
    }

    pub(crate) fn note_process(&self, place: usize, note: impl FnOnce(&mut Process)) {
        note(&mut open(&self.processes)[place]);
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        open(&self.calls).clone()
    }

    pub(crate) fn processes(&self) -> Vec<Process> {
        open(&self.processes).clone()
    }

    pub(crate) fn faults(&self) -> Vec<(Micros, String)> {
        open(&self.faults).clone()
    }
}
