-- What a key has used of its limits: a row for each key that has any.
CREATE TABLE meters (
    key TEXT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL
);

-- Tasks in the lanes 1 and 2, and how many there may be. What is beyond waits in lane 3.
ALTER TABLE accounts ADD COLUMN tasks_active BIGINT NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN tasks_active_max BIGINT NOT NULL DEFAULT 9223372036854775807;
UPDATE accounts SET tasks_active =
    (SELECT CAST(COUNT(*) AS BIGINT) FROM tasks t WHERE t.account = accounts.id AND t.lane > 0);

CREATE INDEX tasks_parked ON tasks (account, id) WHERE lane = 3;
CREATE INDEX tasks_parked_due ON tasks (due_ms) WHERE lane = 3;
