-- The tables of the gateway. Columns are TEXT or BIGINT, instants are Unix milliseconds, money is in
-- micro-credits. What is filtered, ordered or constrained is a column; the rest is in `body`, JSON
-- that SQL never looks into.

-- Facts about the deployment, such as the secret that result names are derived from.
CREATE TABLE settings (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE accounts (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    posted BIGINT NOT NULL,
    held BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    -- The secrets callbacks are signed with.
    body TEXT NOT NULL,
    CONSTRAINT accounts_held CHECK (held >= 0),
    CONSTRAINT accounts_covered CHECK (posted >= held)
);

CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    -- SHA-256 of the whole key, in hex.
    hash TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    -- The end of time for a key that does not expire.
    expires_ms BIGINT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX api_keys_account ON api_keys (account, created_ms);

-- The row is the queue: `due_ms` and a lease on it.
CREATE TABLE tasks (
    id TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    model TEXT NOT NULL,
    phase TEXT NOT NULL,
    status TEXT NOT NULL,
    -- 0 ended, 1 queued, 2 under way, 3 parked: its account has too many in 1 and 2.
    lane BIGINT NOT NULL,
    -- Place among the queued: accounts take turns.
    turn BIGINT NOT NULL,
    due_ms BIGINT NOT NULL,
    lease_owner TEXT NOT NULL,
    -- 0 when nobody holds it.
    lease_until_ms BIGINT NOT NULL,
    -- Counts the claims.
    epoch BIGINT NOT NULL,
    -- Counts the changes.
    version BIGINT NOT NULL,
    is_cancel_asked BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX tasks_account ON tasks (account, id);
CREATE INDEX tasks_queued ON tasks (turn, due_ms) WHERE lane = 1;
CREATE INDEX tasks_turns ON tasks (account, turn) WHERE lane = 1;
CREATE INDEX tasks_moving ON tasks (due_ms) WHERE lane = 2;
CREATE INDEX tasks_leased ON tasks (lease_owner) WHERE lease_until_ms > 0;

CREATE TABLE attempts (
    id TEXT NOT NULL PRIMARY KEY,
    task TEXT NOT NULL,
    account TEXT NOT NULL,
    -- Which of the task's, from 1.
    n BIGINT NOT NULL,
    provider TEXT NOT NULL,
    state TEXT NOT NULL,
    is_open BIGINT NOT NULL,
    token TEXT NOT NULL UNIQUE,
    upstream_id TEXT,
    note TEXT,
    began_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL
);
CREATE INDEX attempts_task ON attempts (task, n);
-- A tripwire: the rules never open a second attempt beside an open one.
CREATE UNIQUE INDEX attempts_open ON attempts (task) WHERE is_open = 1;
-- An upstream's id that another task has already is not an answer to be believed.
CREATE UNIQUE INDEX attempts_upstream ON attempts (provider, upstream_id) WHERE upstream_id IS NOT NULL;

-- Only ever added to. The id is made of kind and subject, so that nothing is entered twice:
-- `hold:<task>`, `close:<task>`, `top_up:<reference>`, `adjust:<reference>`.
CREATE TABLE entries (
    id TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    task TEXT,
    amount BIGINT NOT NULL,
    -- What a close ends.
    hold BIGINT,
    created_ms BIGINT NOT NULL,
    CONSTRAINT entries_amount CHECK (kind = 'adjust' OR amount >= 0),
    CONSTRAINT entries_close CHECK (kind <> 'close' OR (hold IS NOT NULL AND amount <= hold))
);
CREATE INDEX entries_account ON entries (account, created_ms, id);

CREATE TABLE idempotency (
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    -- Hash of what was asked.
    fingerprint TEXT NOT NULL,
    -- The first reply's body.
    reply TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (account, key)
);
CREATE INDEX idempotency_age ON idempotency (created_ms);

-- Callbacks to be delivered; one for each ended task that asked for it.
CREATE TABLE notices (
    id TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    task TEXT NOT NULL,
    url TEXT NOT NULL,
    host TEXT NOT NULL,
    -- Account and host with a space between: what takes turns, and what is passed over as a whole.
    lane TEXT NOT NULL,
    -- pending, delivered, exhausted, gone, blocked.
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    -- Attempts before the last replay; the schedule counts from there.
    attempts_before BIGINT NOT NULL,
    due_ms BIGINT NOT NULL,
    lease_until_ms BIGINT NOT NULL,
    last_status BIGINT,
    created_ms BIGINT NOT NULL,
    updated_ms BIGINT NOT NULL
);
CREATE INDEX notices_lanes ON notices (lane, due_ms) WHERE state = 'pending';
CREATE INDEX notices_account ON notices (account, created_ms);
CREATE INDEX notices_task ON notices (task);

CREATE TABLE deliveries (
    notice TEXT NOT NULL,
    n BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    took_ms BIGINT NOT NULL,
    status BIGINT,
    note TEXT NOT NULL,
    PRIMARY KEY (notice, n)
);

-- Result files, so that they can be served by name and removed in time.
CREATE TABLE files (
    path TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    task TEXT NOT NULL,
    content_type TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);
CREATE INDEX files_age ON files (expires_ms);
