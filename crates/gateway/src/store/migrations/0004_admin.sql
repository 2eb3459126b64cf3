-- What the operator needs: accounts that can be suspended, switches, the audit log.

-- When the operator suspended it, 0 if it is not: its keys are refused, its tasks go on.
ALTER TABLE accounts ADD COLUMN suspended_ms BIGINT NOT NULL DEFAULT 0;
CREATE INDEX accounts_age ON accounts (created_ms, id);

-- What is switched off: one document, replaced as a whole.
INSERT INTO settings (name, value) VALUES ('switches', '{}');

-- What was done by operators. Only ever added to, in the transaction of what it tells of.
CREATE TABLE audit (
    -- Sorts by time.
    id TEXT NOT NULL PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    action TEXT NOT NULL,
    -- The account it was done to, empty if to none.
    account TEXT NOT NULL,
    -- The id of what was changed.
    subject TEXT NOT NULL,
    -- Who did it, from where, what changed.
    body TEXT NOT NULL
);
CREATE INDEX audit_account ON audit (account, id);
CREATE INDEX audit_action ON audit (action, id);
