//! The tool calls of an attempt, as the run's output keeps them.

use crate::run::{Content, ToolExecution};

/// The calls that have begun, in that order, within a bound.
pub(super) struct Calls {
    calls: Vec<Call>,
    weight: usize,
    /// How much they may weigh together, in bytes.
    most: usize,
}

struct Call {
    call: ToolExecution,
    ended: bool,
}

impl Calls {
    pub(super) const fn new(most: usize) -> Self {
        Self { calls: Vec::new(), weight: 0, most }
    }

    pub(super) fn begin(&mut self, call: ToolExecution) {
        self.put(self.calls.len(), call, false);
    }

    /// Notes how a call ended. One that has not begun here is one that an earlier attempt has made.
    pub(super) fn end(&mut self, call: ToolExecution) {
        let is_it = |begun: &Call| !begun.ended && begun.call.tool_call_id == call.tool_call_id;
        let place = self.calls.iter().rposition(is_it).unwrap_or(self.calls.len());
        if let Some(begun) = self.calls.get(place) {
            self.weight -= begun.call.weight();
            self.calls.remove(place);
        }
        self.put(place, call, true);
    }

    /// Takes the call in as far as there is room: first its result is left out, then its arguments, then all of it.
    fn put(&mut self, place: usize, mut call: ToolExecution, ended: bool) {
        let room = self.most - self.weight;
        if call.weight() > room {
            call.result = None;
        }
        if call.weight() > room {
            call = ToolExecution { tool_args: Content::from(()), user_input: None, confirmation_note: None, ..call };
        }
        if call.weight() <= room {
            self.weight += call.weight();
            self.calls.insert(place, Call { call, ended });
        }
    }

    pub(super) fn list(&self) -> Vec<ToolExecution> {
        self.calls.iter().map(|one| one.call.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Calls;
    use crate::run::{Content, ToolExecution};

    fn call(id: &str) -> ToolExecution {
        ToolExecution::begun(id, "work", r#"{"number": 1}"#, 1)
    }

    fn ids(calls: &Calls) -> Vec<String> {
        calls.list().into_iter().map(|call| call.tool_call_id).collect()
    }

    #[test]
    fn calls_are_kept_in_the_order_in_which_they_began_with_what_they_came_to() {
        let mut calls = Calls::new(1000);
        calls.begin(call("a"));
        calls.begin(call("b"));
        calls.end(call("b").with_result(&Content::from("of b")));
        calls.end(call("c").with_result(&Content::from("of an earlier attempt")));
        calls.begin(call("b"));
        assert_eq!(ids(&calls), ["a", "b", "c", "b"]);
        let ended: Vec<bool> = calls.list().iter().map(|call| call.result.is_some()).collect();
        assert_eq!(ended, [false, true, true, false], "an id that comes again is another call");
    }

    #[test]
    fn what_there_is_no_room_for_is_left_out() {
        let (bare, result) = (call("a").weight(), Content::from("x".repeat(100)));
        let mut calls = Calls::new(3 * bare + 100);
        for id in ["a", "b", "c", "d"] {
            calls.begin(call(id));
            calls.end(call(id).with_result(&result));
        }
        let kept = calls.list();
        let results: Vec<bool> = kept.iter().map(|call| call.result.is_some()).collect();
        assert_eq!(results, [true, false, false]);
        assert!(kept.iter().map(ToolExecution::weight).sum::<usize>() <= 3 * bare + 100);
        let mut none = Calls::new(0);
        none.begin(call("a"));
        none.end(call("a"));
        assert!(none.list().is_empty());
    }
}
