//! Which writes make up the next batch, and on which lane.

use tokio::sync::oneshot;

use super::{Lanes, MIN_SHARE};
use crate::actors::persister::{Caller, WriteRun};
use crate::actors::testing::run_of;
use crate::run::RunId;
use crate::store::conformance::samples::step;
use crate::store::protocol::{Change, InsertRun, Write};

fn asked(write: Write) -> WriteRun {
    WriteRun { write, caller: Caller { deadline: None, reply: oneshot::channel().0 } }
}

fn insert() -> Write {
    Write::Insert(Box::new(run_of("agent")))
}

fn of(run_id: RunId, weighs: usize) -> Write {
    let mut insert: InsertRun = run_of("agent");
    insert.run.output.run_id = run_id;
    insert.run.input = "x".repeat(weighs).into();
    Write::Insert(Box::new(insert))
}

fn start(run_id: RunId) -> Write {
    Write::Advance(Box::new(step(run_id, 1, 0, Change::Start)))
}

/// Lanes for which so many inserts wait.
fn lanes(lanes: usize, inserts: usize) -> Lanes {
    let mut lanes = Lanes::new(lanes);
    (0..inserts).for_each(|_| lanes.push(asked(insert())));
    lanes
}

/// The lane of the next batch, and how many writes it has.
fn next(lanes: &mut Lanes) -> Option<(usize, usize)> {
    lanes.next_batch().map(|(lane, batch)| (lane, batch.len()))
}

#[test]
fn few_writes_are_one_batch_whichever_lanes_are_free() {
    let mut lanes = lanes(4, MIN_SHARE);

    assert_eq!(next(&mut lanes), Some((0, MIN_SHARE)));
    assert_eq!(next(&mut lanes), None, "nothing is left");
}

#[test]
fn many_writes_are_divided_between_the_lanes() {
    let mut lanes = lanes(3, 900);

    assert_eq!(
        [next(&mut lanes), next(&mut lanes), next(&mut lanes)],
        [Some((0, 300)), Some((1, 300)), Some((2, 300))]
    );
    assert_eq!(next(&mut lanes), None);
}

/// What a long batch answers comes back all at once, and goes to both lanes then.
#[test]
fn lanes_that_had_batches_of_unequal_lengths_come_to_equal_ones() {
    let mut lanes = lanes(2, MIN_SHARE);
    assert_eq!(next(&mut lanes), Some((0, MIN_SHARE)));
    (0..500).for_each(|_| lanes.push(asked(insert())));
    assert_eq!(next(&mut lanes), Some((1, 300)), "half of 600");

    lanes.free(0);
    assert_eq!(next(&mut lanes), Some((0, 200)));
    lanes.free(1);
    (0..300).for_each(|_| lanes.push(asked(insert())));
    assert_eq!(next(&mut lanes), Some((1, 250)), "half of 500");
    lanes.free(0);
    (0..200).for_each(|_| lanes.push(asked(insert())));
    assert_eq!(next(&mut lanes), Some((0, 250)), "half of 500");
}

#[test]
fn a_batch_that_is_heavy_enough_takes_nothing_more() {
    let mut lanes = Lanes::new(1);
    (0..3).for_each(|_| lanes.push(asked(of(RunId::new(), 5 * 1024 * 1024))));

    assert_eq!(next(&mut lanes), Some((0, 2)));
}

#[test]
fn a_run_is_in_one_batch_at_a_time_and_its_writes_keep_their_order() {
    let run_id = RunId::new();
    let mut lanes = Lanes::new(2);
    lanes.push(asked(of(run_id, 0)));
    assert_eq!(next(&mut lanes), Some((0, 1)));

    lanes.push(asked(start(run_id)));
    lanes.push(asked(Write::Cancel(run_id.into())));
    assert_eq!(next(&mut lanes), None, "the run is being written");
    lanes.push(asked(insert()));
    assert_eq!(next(&mut lanes), Some((1, 1)), "others pass");

    lanes.free(0);
    let (lane, batch) = lanes.next_batch().unwrap();
    assert!(matches!((lane, &batch[..]), (0, [WriteRun { write: Write::Advance(_), .. }])), "the start comes first");
    lanes.free(0);
    let (_, batch) = lanes.next_batch().unwrap();
    assert!(matches!(&batch[..], [WriteRun { write: Write::Cancel(_), .. }]));
}
