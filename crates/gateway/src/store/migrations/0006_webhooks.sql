-- What webhooks of providers tell of work that we do not know to be accepted: its id there.
CREATE TABLE receipts (
    attempt TEXT NOT NULL PRIMARY KEY,
    -- The provider's id of the work.
    work TEXT NOT NULL,
    at_ms BIGINT NOT NULL
);
CREATE INDEX receipts_age ON receipts (at_ms);

-- Attempts that were given up while the provider may still have been at work: they are looked at once
-- more, so that what was paid for nothing is known.
CREATE TABLE last_looks (
    attempt TEXT NOT NULL PRIMARY KEY,
    due_ms BIGINT NOT NULL,
    -- How often it was looked at.
    looks BIGINT NOT NULL,
    -- The task as it was when it was given up.
    body TEXT NOT NULL
);
CREATE INDEX last_looks_due ON last_looks (due_ms);
