-- What changes while a run lives. Inputs, outputs and events have tables of their own, so that an update copies little.
-- No index and no index predicate names status, next_seq, starts or started_at: starting a run and appending to its log
-- are heap-only updates. Texts that are in indexes are compared by their bytes: by the rules of a language it takes longer, and a
-- change of those rules breaks the indexes (https://www.postgresql.org/docs/current/collation.html).
CREATE TABLE runs (
    run_id              uuid        PRIMARY KEY,
    session_id          text COLLATE "C" NOT NULL,
    agent               text COLLATE "C" NOT NULL,
    user_id             text COLLATE "C",
    parent_run_id       uuid,
    depth               smallint    NOT NULL DEFAULT 0,
    idempotency_key     text COLLATE "C",
    status              text        NOT NULL,
    attempt             integer     NOT NULL,
    starts              integer     NOT NULL DEFAULT 0,
    max_attempts        integer     NOT NULL,
    node_id             uuid,
    on_crash            text        NOT NULL,
    session_turn        text,
    priority            smallint    NOT NULL,
    run_at              timestamptz NOT NULL,
    timeout_ms          bigint,
    start_by            timestamptz,
    next_seq            bigint      NOT NULL DEFAULT 0,
    cancel_requested_at timestamptz,
    has_webhook         boolean     NOT NULL,
    created_at          timestamptz NOT NULL,
    started_at          timestamptz,
    paused_at           timestamptz,
    continued_by        uuid,
    settled_at          timestamptz,
    -- One for all: each takes time to prepare in every statement, together a fifth of what a lone insert takes.
    CONSTRAINT runs_have_the_times_of_their_status CHECK (
        CASE
            WHEN settled_at IS NOT NULL THEN paused_at IS NULL AND status IN ('COMPLETED', 'CANCELLED', 'ERROR')
            WHEN paused_at IS NOT NULL THEN status = 'PAUSED'
            ELSE status IN ('PENDING', 'RUNNING')
        END)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

COMMENT ON COLUMN runs.parent_run_id IS 'The run that has submitted this one as its child, or that has resumed that run.';
COMMENT ON COLUMN runs.depth IS 'How many runs were above this one when it was submitted.';
COMMENT ON COLUMN runs.idempotency_key IS 'The caller''s key; of an agent and a user, one run has it.';
COMMENT ON COLUMN runs.attempt IS 'How many times the run was taken up; the fencing token on every write.';
COMMENT ON COLUMN runs.starts IS 'How many times user code was started, attempts that were handed back not counted.';
COMMENT ON COLUMN runs.node_id IS 'The node that has the run; null while anybody may take it up.';
COMMENT ON COLUMN runs.on_crash IS 'What a takeover does to a started run: resume, restart or fail.';
COMMENT ON COLUMN runs.session_turn IS 'Of a run that must be alone in its session: waits for its turn, or holds the session until it settles.';
COMMENT ON COLUMN runs.start_by IS 'A run that was never started, or is paused, settles as ERROR at this time.';
COMMENT ON COLUMN runs.next_seq IS 'The seq of the next event; a write that does not start here is refused.';
COMMENT ON COLUMN runs.continued_by IS 'The latest continue of the run, so that its repetition is known.';
COMMENT ON COLUMN runs.cancel_requested_at IS 'When somebody asked for a cancel of a run that a node had.';
COMMENT ON COLUMN runs.has_webhook IS 'Somebody is to be told when the run settles; where is in run_inputs.';

-- Claims (node_id null, by priority, then age), the runs of a node, and lists of unsettled runs. Paused runs are in nobody's
-- way: they have an index of their own.
CREATE INDEX runs_unsettled ON runs (node_id, priority DESC, run_at, run_id) WHERE settled_at IS NULL AND paused_at IS NULL;
CREATE INDEX runs_paused ON runs (paused_at, run_id) WHERE settled_at IS NULL AND paused_at IS NOT NULL;
-- Claims of agents of which a node has room for so many runs.
CREATE INDEX runs_waiting ON runs (agent, priority DESC, run_at, run_id)
    WHERE node_id IS NULL AND settled_at IS NULL AND paused_at IS NULL;
-- One run at most has a session of an agent and a user to itself; and in which order the others get it.
CREATE UNIQUE INDEX runs_holding_their_session ON runs (agent, session_id, COALESCE(user_id, ''))
    WHERE session_turn = 'holds' AND settled_at IS NULL;
CREATE INDEX runs_waiting_for_their_session ON runs (agent, session_id, COALESCE(user_id, ''), run_at, run_id)
    WHERE session_turn = 'waits' AND settled_at IS NULL;
-- The runs that may have waited for too long.
CREATE INDEX runs_to_start_by ON runs (start_by) WHERE start_by IS NOT NULL AND node_id IS NULL AND settled_at IS NULL;
-- The cancel requests that a node has to look for.
CREATE INDEX runs_cancel_requested ON runs (node_id) WHERE cancel_requested_at IS NOT NULL AND settled_at IS NULL;
-- The children of a run, and those of cancelled runs that are still to be cancelled. Only children are in these indexes.
CREATE INDEX runs_by_parent ON runs (parent_run_id, created_at, run_id) WHERE parent_run_id IS NOT NULL;
CREATE INDEX runs_unsettled_children ON runs (parent_run_id)
    WHERE parent_run_id IS NOT NULL AND settled_at IS NULL AND cancel_requested_at IS NULL;
-- The runs that were submitted with a key.
CREATE UNIQUE INDEX runs_by_idempotency_key ON runs (agent, COALESCE(user_id, ''), idempotency_key)
    WHERE idempotency_key IS NOT NULL;

-- What was asked, by whom and when; written once.
CREATE TABLE run_inputs (
    run_id      uuid        PRIMARY KEY,
    session_id  text COLLATE "C" NOT NULL,
    agent       text COLLATE "C" NOT NULL,
    user_id     text COLLATE "C",
    created_at  timestamptz NOT NULL,
    input       json        NOT NULL,
    metadata    json        NOT NULL,
    fingerprint bytea       NOT NULL,
    webhook     text,
    origin      uuid,
    traceparent text
);

-- Lists, newest first, with keyset pages. Not of `runs`, of which every row moves once, when it settles: it would get a second
-- entry in each of them, and they would be a third of what a run's life costs the server.
CREATE INDEX run_inputs_by_time ON run_inputs (created_at, run_id);
CREATE INDEX run_inputs_by_session ON run_inputs (session_id, created_at, run_id);
CREATE INDEX run_inputs_by_agent ON run_inputs (agent, created_at, run_id);
CREATE INDEX run_inputs_by_user ON run_inputs (user_id, created_at, run_id) WHERE user_id IS NOT NULL;

COMMENT ON COLUMN run_inputs.fingerprint IS 'SHA-256 of all that was asked; a second submit with the id must have the same.';
COMMENT ON COLUMN run_inputs.origin IS 'The run whose steps this one goes on from; the keys of its steps are made from that id.';
COMMENT ON COLUMN run_inputs.webhook IS 'The URL that is told when the run settles.';
COMMENT ON COLUMN run_inputs.traceparent IS 'The trace that the run is part of, in the words of W3C Trace Context.';

-- What came of it; written in the transaction that settles the run, or pauses it: then it goes when the run is continued.
CREATE TABLE run_outputs (
    run_id        uuid  PRIMARY KEY,
    content       json,
    error_kind    text,
    error_message text,
    metrics       json NOT NULL,
    tools         json,
    requirements  json
);

COMMENT ON COLUMN run_outputs.tools IS 'The tool calls of the run; null when there were none.';
COMMENT ON COLUMN run_outputs.requirements IS 'What a paused run waits for.';

-- The event logs; append-only.
CREATE TABLE run_events (
    run_id     uuid        NOT NULL,
    seq        bigint      NOT NULL,
    created_at timestamptz NOT NULL,
    event      json       NOT NULL,
    PRIMARY KEY (run_id, seq)
);

-- What user code has finished in steps, for later attempts.
CREATE TABLE run_steps (
    run_id        uuid        NOT NULL,
    position      integer     NOT NULL,
    first_attempt integer     NOT NULL,
    name          text        NOT NULL,
    result        json        NOT NULL,
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (run_id, position)
);

COMMENT ON COLUMN run_steps.position IS 'Its place in the order in which the steps of the run were called, from 0.';
COMMENT ON COLUMN run_steps.first_attempt IS 'The attempt that began without remembered steps; those of the latest one count.';

-- What the runs of a session keep together. A session is that of a user; the user id is empty for those of nobody.
CREATE TABLE sessions (
    session_id text COLLATE "C" NOT NULL,
    user_id    text COLLATE "C" NOT NULL,
    state      json        NOT NULL,
    version    bigint      NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (session_id, user_id)
);

CREATE INDEX sessions_by_time ON sessions (updated_at);

-- The changes of states that runs have made, so that none is made twice.
CREATE TABLE session_updates (
    run_id    uuid NOT NULL,
    update_id uuid NOT NULL,
    result    json NOT NULL,
    PRIMARY KEY (run_id, update_id)
);

-- Cancels of runs that do not exist yet.
CREATE TABLE cancel_intents (
    run_id     uuid        NOT NULL,
    user_id    text COLLATE "C" NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (run_id, user_id)
);

COMMENT ON COLUMN cancel_intents.user_id IS 'The only user whose run it may hit; empty when it may hit anybody''s.';

CREATE INDEX cancel_intents_by_expiry ON cancel_intents (expires_at);

-- One row for each process that is at work: its lease. Nothing but the key is indexed, and half of each page is free, so
-- that a renewal is a heap-only update.
CREATE TABLE nodes (
    node_id     uuid        PRIMARY KEY,
    label       text        NOT NULL,
    lease_until timestamptz NOT NULL,
    started_at  timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100);

COMMENT ON COLUMN nodes.label IS 'The name of the host, for people; nothing is told apart by it.';
COMMENT ON COLUMN nodes.lease_until IS 'Until when the runs of the node are its own; minus infinity once others take them over.';

-- What is to be told of runs that have settled or are paused: the outbox. A row is deleted when it was delivered or given up, and
-- what happens to its run next takes its place.
CREATE TABLE webhook_deliveries (
    event_id   uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    run_id     uuid        NOT NULL UNIQUE,
    url        text        NOT NULL,
    attempts   integer     NOT NULL DEFAULT 0,
    next_at    timestamptz NOT NULL,
    created_at timestamptz NOT NULL
);

COMMENT ON COLUMN webhook_deliveries.next_at IS 'When anybody may try next; whoever tries puts it off, so that nobody else does.';

CREATE INDEX webhook_deliveries_by_time ON webhook_deliveries (next_at);

-- The URLs that have said that they want nothing more.
CREATE TABLE webhook_gone (
    url     text COLLATE "C" PRIMARY KEY,
    gone_at timestamptz NOT NULL
);

CREATE INDEX webhook_gone_by_time ON webhook_gone (gone_at);

-- A trigger, so that no way of settling or pausing a run can forget it; runs without a webhook do not get as far as the function.
CREATE FUNCTION write_webhook_delivery() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO webhook_deliveries (run_id, url, next_at, created_at)
    SELECT NEW.run_id, i.webhook, happened_at, happened_at
    FROM run_inputs i, COALESCE(NEW.settled_at, NEW.paused_at) AS happened_at
    WHERE i.run_id = NEW.run_id AND i.webhook IS NOT NULL
    ON CONFLICT (run_id) DO UPDATE SET event_id = excluded.event_id, attempts = 0, next_at = excluded.next_at,
        created_at = excluded.created_at;
    RETURN NULL;
END
$$;

CREATE TRIGGER runs_write_webhook_delivery AFTER UPDATE ON runs FOR EACH ROW
    WHEN (NEW.has_webhook AND (OLD.settled_at IS NULL AND NEW.settled_at IS NOT NULL
        OR OLD.paused_at IS NULL AND NEW.paused_at IS NOT NULL))
    EXECUTE FUNCTION write_webhook_delivery();
