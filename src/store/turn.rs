//! Whose turn it is in a session whose runs must not run beside each other.

/// The SQL, the same for both stores, that is true of a row of `runs` that waits and whose turn it is: it may run beside others,
/// or has the session to itself already, or nobody has it and no other run is due before it.
///
/// It does not keep two nodes from taking up two runs at once: the unique index over the runs that hold their session does.
pub(super) const ITS_TURN: &str = "(session_turn IS NULL OR session_turn = 'holds' OR ( \
     NOT EXISTS (SELECT 1 FROM runs h WHERE h.agent = runs.agent AND h.session_id = runs.session_id \
        AND COALESCE(h.user_id, '') = COALESCE(runs.user_id, '') AND h.session_turn = 'holds' AND h.settled_at IS NULL) \
     AND NOT EXISTS (SELECT 1 FROM runs e WHERE e.agent = runs.agent AND e.session_id = runs.session_id \
        AND COALESCE(e.user_id, '') = COALESCE(runs.user_id, '') AND e.session_turn = 'waits' AND e.settled_at IS NULL \
        AND (e.run_at, e.run_id) < (runs.run_at, runs.run_id))))";
