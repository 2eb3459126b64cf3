-- Payments, and mails about low balances.

-- Payment pages that we had Stripe open. Only what is paid on one of these becomes credits.
CREATE TABLE checkouts (
    -- Stripe's id of the session, the reference of the ledger's entry.
    id TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    -- What was asked for, in micro-credits.
    amount BIGINT NOT NULL,
    -- Stripe's id of the payment, once it was made: refunds and disputes name nothing else.
    payment TEXT,
    created_ms BIGINT NOT NULL
);
CREATE INDEX checkouts_payment ON checkouts (payment) WHERE payment IS NOT NULL;

CREATE TABLE alerts (
    id TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    -- Micro-credits.
    threshold BIGINT NOT NULL,
    email TEXT NOT NULL,
    -- armed: the balance was not seen below; due: it was, and the mail has to go out; sent; failed: the
    -- mail was given up. The last two are armed again once the balance is back.
    state TEXT NOT NULL,
    -- Counts the crossings: which mail it is.
    crossing BIGINT NOT NULL,
    -- What was left at the last crossing, in micro-credits, and when that was.
    left_over BIGINT NOT NULL,
    crossed_ms BIGINT NOT NULL,
    -- Of the mail of the last crossing.
    attempts BIGINT NOT NULL,
    due_ms BIGINT NOT NULL,
    lease_until_ms BIGINT NOT NULL,
    -- When the mails so far have used up what an alert may send; the future means a debt.
    paced_ms BIGINT NOT NULL,
    -- 0 before the first.
    sent_ms BIGINT NOT NULL,
    created_ms BIGINT NOT NULL,
    CONSTRAINT alerts_threshold CHECK (threshold > 0)
);
CREATE INDEX alerts_account ON alerts (account, created_ms);
CREATE INDEX alerts_due ON alerts (due_ms) WHERE state = 'due';
