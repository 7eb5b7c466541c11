//! The lease of a node: what its keeper does when, as a plain function over plain data.
//!
//! Times are readings of the node's own monotonic clock, as durations since some moment before the lease began. The
//! database's clock says when a lease ends for others; this one says when its holder stops trusting it, which is earlier:
//! the term is counted from *before* a renewal was sent, and the database counts it from when the renewal arrived.

use std::time::Duration;

/// How long a lease lasts, and what follows from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) ttl: Duration,
}

impl Terms {
    /// A lease is renewed, and others' leases are looked at, once in this time: two renewals may fail before it ends.
    pub(crate) fn beat(self) -> Duration {
        self.ttl / 3
    }

    /// How long a renewal may take before it is given up and tried over a new connection.
    pub(crate) fn patience(self) -> Duration {
        self.ttl / 4
    }

    /// The pause after a renewal that failed.
    pub(crate) fn pause(self) -> Duration {
        self.ttl / 30
    }

    /// So much before its end a lease is not trusted any more. In this time user code is stopped, which takes a message to
    /// each run and a turn on the threads of user code, and it makes up for clocks that do not run equally fast.
    pub(crate) fn margin(self) -> Duration {
        self.ttl / 10
    }
}

/// What the holder of a lease knows about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    /// Just before the latest request was sent that the database granted.
    pub(crate) granted: Duration,
    /// When the next renewal is to be sent.
    pub(crate) due: Duration,
    /// The database has refused a renewal.
    pub(crate) refused: bool,
}

/// What came of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Granted,
    Refused,
    /// The database did not say: whether the lease was renewed is not known.
    None,
}

/// What the keeper of a lease does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// Waits until this time, and asks again what to do.
    Wait(Duration),
    /// Sends a renewal, and waits no longer than this for the answer.
    Renew(Duration),
    /// Stops everything that this node runs: others may take it up.
    Stop(Loss),
}

/// Why a lease is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It was not renewed in time.
    Late,
    /// The database refused to renew it.
    Refused,
}

impl Lease {
    /// A lease whose request was sent just after `sent`.
    pub(crate) fn begun(sent: Duration, terms: Terms) -> Self {
        Self { granted: sent, due: sent + terms.beat(), refused: false }
    }

    /// Until when its holder trusts it.
    pub(crate) fn trusted_until(&self, terms: Terms) -> Duration {
        self.granted + terms.ttl - terms.margin()
    }

    /// What is known after a renewal that was sent just after `sent` and answered, or given up, by `now`.
    pub(crate) fn after(self, sent: Duration, now: Duration, answer: Answer, terms: Terms) -> Self {
        match answer {
            Answer::Granted => Self::begun(sent, terms),
            Answer::Refused => Self { refused: true, ..self },
            Answer::None => Self { due: now + terms.pause(), ..self },
        }
    }
}

/// What the keeper of `lease` does at `now`.
pub(crate) fn next_move(lease: &Lease, now: Duration, terms: Terms) -> Move {
    if lease.refused {
        return Move::Stop(Loss::Refused);
    }
    let end = lease.trusted_until(terms);
    // Also where the answer that has just come was a grant: it may have been on its way for so long, or this process may
    // have stood still.
    let Some(left) = end.checked_sub(now).filter(|left| !left.is_zero()) else { return Move::Stop(Loss::Late) };
    if now < lease.due { Move::Wait(lease.due.min(end)) } else { Move::Renew(terms.patience().min(left)) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::Answer::{Granted, None, Refused};
    use super::{Answer, Lease, Loss, Move, Terms, next_move};

    const TERMS: Terms = Terms { ttl: Duration::from_secs(30) };

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_lease_is_renewed_in_its_beat_and_trusted_until_shortly_before_its_end() {
        let lease = Lease::begun(at(100.0), TERMS);
        let late = lease.after(at(110.0), at(125.0), None, TERMS);
        for (lease, now, expected) in [
            (lease, 100.0, Move::Wait(at(110.0))),
            (lease, 109.9, Move::Wait(at(110.0))),
            (lease, 110.0, Move::Renew(at(7.5))),
            (lease, 125.0, Move::Renew(at(2.0))),
            (late, 125.0, Move::Wait(at(126.0))),
            (late, 126.5, Move::Renew(at(0.5))),
            (late, 127.0, Move::Stop(Loss::Late)),
            (lease, 127.0, Move::Stop(Loss::Late)),
            (lease, 9999.0, Move::Stop(Loss::Late)),
        ] {
            assert_eq!(next_move(&lease, at(now), TERMS), expected, "{lease:?} at {now}");
        }
    }

    #[test]
    fn no_pause_is_longer_than_the_lease_is_trusted() {
        let lease = Lease::begun(at(0.0), TERMS).after(at(26.0), at(26.9), None, TERMS);
        assert_eq!(next_move(&lease, at(26.9), TERMS), Move::Wait(at(27.0)));
    }

    #[test]
    fn the_term_counts_from_before_the_renewal_was_sent() {
        let lease = Lease::begun(at(0.0), TERMS).after(at(10.0), at(17.0), Granted, TERMS);
        assert_eq!(lease.trusted_until(TERMS), at(37.0));
        assert_eq!(lease.due, at(20.0));
    }

    #[test]
    fn a_grant_that_comes_too_late_is_none() {
        let lease = Lease::begun(at(0.0), TERMS).after(at(10.0), at(37.0), Granted, TERMS);
        assert_eq!(next_move(&lease, at(37.0), TERMS), Move::Stop(Loss::Late));
    }

    #[test]
    fn a_refusal_is_the_end() {
        let lease = Lease::begun(at(0.0), TERMS).after(at(10.0), at(10.1), Refused, TERMS);
        assert_eq!(next_move(&lease, at(10.1), TERMS), Move::Stop(Loss::Refused));
    }

    fn answers() -> impl Strategy<Value = Vec<(Answer, u64, u64)>> {
        let answer = prop::sample::select(vec![Granted, None]);
        prop::collection::vec((answer, 0..9000u64, 0..9000u64), 0..20)
    }

    proptest! {
        /// Whatever happens, the holder stops before the database lets others in: it counts from when a request arrived,
        /// which is after it was sent and, where there was no answer, may be never.
        #[test]
        fn the_holder_stops_before_the_lease_ends(answers in answers()) {
            let mut lease = Lease::begun(Duration::ZERO, TERMS);
            // The least that the database may have noted: it got the first request at once.
            let mut until = TERMS.ttl;
            let mut now = Duration::ZERO;
            for (answer, there, back) in answers {
                let sent = loop {
                    match next_move(&lease, now, TERMS) {
                        Move::Wait(until) => now = until,
                        Move::Renew(_) => break Some(now),
                        Move::Stop(_) => break Option::None,
                    }
                };
                let Some(sent) = sent else { break };
                prop_assert!(now + TERMS.margin() <= until);
                let Move::Renew(patience) = next_move(&lease, now, TERMS) else { unreachable!() };
                let there = Duration::from_millis(there);
                let trip = there + Duration::from_millis(back);
                let answer = if trip > patience { None } else { answer };
                now += trip.min(patience);
                if answer == Granted {
                    until = sent + there + TERMS.ttl;
                }
                lease = lease.after(sent, now, answer, TERMS);
                prop_assert!(lease.trusted_until(TERMS) + TERMS.margin() <= until);
            }
        }
    }
}
