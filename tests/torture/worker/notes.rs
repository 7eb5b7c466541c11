//! What user code did and when, in a file that survives the process.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use greenroom::{RunContext, RunId};

use crate::clock;
use crate::wire::{Note, What};

/// A file to which each note is one write: what was written is in the kernel, which no signal to this process reaches.
#[derive(Clone)]
pub(super) struct Notes(Arc<File>);

/// User code at work; notes its end when the last of it is dropped.
pub(super) struct AtWork {
    notes: Notes,
    run_id: RunId,
    attempt: u32,
}

impl Notes {
    pub(super) fn open(path: &Path) -> Self {
        Self(Arc::new(OpenOptions::new().append(true).create(true).open(path).unwrap()))
    }

    pub(super) fn start(&self, cx: &RunContext) -> AtWork {
        let at_work = AtWork { notes: self.clone(), run_id: cx.run_id(), attempt: cx.attempt() };
        at_work.note(What::Start);
        at_work
    }

    pub(super) fn note(&self, run_id: RunId, attempt: u32, what: What) {
        let note = Note { at: clock::now(), run_id, attempt, what };
        let mut line = serde_json::to_string(&note).unwrap();
        line.push('\n');
        (&*self.0).write_all(line.as_bytes()).unwrap();
    }
}

impl AtWork {
    pub(super) fn note(&self, what: What) {
        self.notes.note(self.run_id, self.attempt, what);
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.note(What::End);
    }
}
