-- The same tables as in ../../postgres. Ids are texts, times are microseconds since 1970 in UTC, JSON is text.
CREATE TABLE runs (
    run_id              TEXT    NOT NULL PRIMARY KEY,
    session_id          TEXT    NOT NULL,
    agent               TEXT    NOT NULL,
    user_id             TEXT,
    parent_run_id       TEXT,
    depth               SMALLINT NOT NULL DEFAULT 0,
    idempotency_key     TEXT,
    status              TEXT    NOT NULL
        CHECK (status IN ('PENDING', 'RUNNING', 'PAUSED', 'COMPLETED', 'CANCELLED', 'ERROR')),
    attempt             INTEGER NOT NULL,
    starts              INTEGER NOT NULL DEFAULT 0,
    max_attempts        INTEGER NOT NULL,
    node_id             TEXT,
    on_crash            TEXT    NOT NULL,
    session_turn        TEXT,
    priority            SMALLINT NOT NULL,
    run_at              BIGINT  NOT NULL,
    timeout_ms          BIGINT,
    start_by            BIGINT,
    next_seq            BIGINT  NOT NULL DEFAULT 0,
    cancel_requested_at BIGINT,
    has_webhook         BOOLEAN NOT NULL,
    created_at          BIGINT  NOT NULL,
    started_at          BIGINT,
    paused_at           BIGINT,
    continued_by        TEXT,
    settled_at          BIGINT,
    CHECK ((paused_at IS NOT NULL) = (status = 'PAUSED')),
    CHECK ((settled_at IS NOT NULL) = (status IN ('COMPLETED', 'CANCELLED', 'ERROR')))
) WITHOUT ROWID;

CREATE INDEX runs_unsettled ON runs (node_id, priority DESC, run_at, run_id) WHERE settled_at IS NULL AND paused_at IS NULL;
CREATE INDEX runs_paused ON runs (paused_at, run_id) WHERE settled_at IS NULL AND paused_at IS NOT NULL;
CREATE INDEX runs_waiting ON runs (agent, priority DESC, run_at, run_id)
    WHERE node_id IS NULL AND settled_at IS NULL AND paused_at IS NULL;
CREATE UNIQUE INDEX runs_holding_their_session ON runs (agent, session_id, COALESCE(user_id, ''))
    WHERE session_turn = 'holds' AND settled_at IS NULL;
CREATE INDEX runs_waiting_for_their_session ON runs (agent, session_id, COALESCE(user_id, ''), run_at, run_id)
    WHERE session_turn = 'waits' AND settled_at IS NULL;
CREATE INDEX runs_to_start_by ON runs (start_by) WHERE start_by IS NOT NULL AND node_id IS NULL AND settled_at IS NULL;
CREATE INDEX runs_by_time ON runs (created_at, run_id);
CREATE INDEX runs_by_session ON runs (session_id, created_at, run_id);
CREATE INDEX runs_by_agent ON runs (agent, created_at, run_id);
CREATE INDEX runs_by_user ON runs (user_id, created_at, run_id) WHERE user_id IS NOT NULL;
CREATE INDEX runs_by_parent ON runs (parent_run_id, created_at, run_id) WHERE parent_run_id IS NOT NULL;
CREATE INDEX runs_unsettled_children ON runs (parent_run_id)
    WHERE parent_run_id IS NOT NULL AND settled_at IS NULL AND cancel_requested_at IS NULL;
CREATE UNIQUE INDEX runs_by_idempotency_key ON runs (agent, COALESCE(user_id, ''), idempotency_key)
    WHERE idempotency_key IS NOT NULL;

CREATE TABLE run_inputs (
    run_id      TEXT NOT NULL PRIMARY KEY,
    input       TEXT NOT NULL,
    metadata    TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    webhook     TEXT,
    origin      TEXT,
    traceparent TEXT
);

CREATE TABLE run_outputs (
    run_id        TEXT NOT NULL PRIMARY KEY,
    content       TEXT,
    error_kind    TEXT,
    error_message TEXT,
    metrics       TEXT NOT NULL,
    tools         TEXT,
    requirements  TEXT
);

CREATE TABLE run_events (
    run_id     TEXT   NOT NULL,
    seq        BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    event      TEXT   NOT NULL,
    PRIMARY KEY (run_id, seq)
) WITHOUT ROWID;

CREATE TABLE run_steps (
    run_id        TEXT    NOT NULL,
    position      INTEGER NOT NULL,
    first_attempt INTEGER NOT NULL,
    name          TEXT    NOT NULL,
    result        TEXT    NOT NULL,
    created_at    BIGINT  NOT NULL,
    PRIMARY KEY (run_id, position)
);

CREATE TABLE sessions (
    session_id TEXT   NOT NULL,
    user_id    TEXT   NOT NULL,
    state      TEXT   NOT NULL,
    version    BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (session_id, user_id)
);

CREATE INDEX sessions_by_time ON sessions (updated_at);

CREATE TABLE session_updates (
    run_id    TEXT NOT NULL,
    update_id TEXT NOT NULL,
    result    TEXT NOT NULL,
    PRIMARY KEY (run_id, update_id)
);

CREATE TABLE cancel_intents (
    run_id     TEXT   NOT NULL,
    user_id    TEXT   NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (run_id, user_id)
);

CREATE INDEX cancel_intents_by_expiry ON cancel_intents (expires_at);

CREATE TABLE webhook_deliveries (
    event_id   TEXT    NOT NULL PRIMARY KEY,
    run_id     TEXT    NOT NULL UNIQUE,
    url        TEXT    NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    next_at    BIGINT  NOT NULL,
    created_at BIGINT  NOT NULL
);

CREATE INDEX webhook_deliveries_by_time ON webhook_deliveries (next_at);

CREATE TABLE webhook_gone (
    url     TEXT   NOT NULL PRIMARY KEY,
    gone_at BIGINT NOT NULL
);

CREATE INDEX webhook_gone_by_time ON webhook_gone (gone_at);

CREATE TRIGGER runs_write_webhook_delivery AFTER UPDATE OF settled_at, paused_at ON runs
    WHEN NEW.has_webhook AND (OLD.settled_at IS NULL AND NEW.settled_at IS NOT NULL
        OR OLD.paused_at IS NULL AND NEW.paused_at IS NOT NULL)
BEGIN
    INSERT INTO webhook_deliveries (event_id, run_id, url, next_at, created_at)
    SELECT lower(hex(randomblob(16))), NEW.run_id, i.webhook, COALESCE(NEW.settled_at, NEW.paused_at),
        COALESCE(NEW.settled_at, NEW.paused_at)
    FROM run_inputs i WHERE i.run_id = NEW.run_id AND i.webhook IS NOT NULL
    ON CONFLICT (run_id) DO UPDATE SET event_id = excluded.event_id, attempts = 0, next_at = excluded.next_at,
        created_at = excluded.created_at;
END;
