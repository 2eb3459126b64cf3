//! The rules of the task, tested: as a table, as laws, and as a race against the worst of worlds.

mod laws;
mod liveness;
mod table;

use serde_json::Map;

use super::*;
use crate::catalogue::{OnLostReply, Recovery};
use crate::order::Modality;
use crate::price::{Form, Usage};
use crate::upstream::{Cursor, Fault, FaultClass, Kind, Request, Wait};

const NOW_MS: i64 = 1_000_000;
const QUIET_MS: i64 = 180_000;
const DEADLINE_MS: i64 = NOW_MS + 3_600_000;

const RULES: Rules = Rules {
    recovery: Recovery::Lookup,
    on_lost_reply: OnLostReply::FailAndRelease,
    resubmit_below: Credits(1_000),
    quiet_ms: QUIET_MS,
    jitter: 0,
};

/// A fresh task with two routes.
fn fresh() -> Task {
    let hold = Credits(1_000);
    Task {
        id: TaskId("task".to_owned()),
        account: AccountId("acc".to_owned()),
        key: KeyId("key".to_owned()),
        order: Order {
            model: "video".to_owned(),
            modality: Modality::Video,
            prompt: "a cat".to_owned(),
            messages: None,
            params: Map::new(),
            scenario: None,
        },
        price: Price::per_run(hold),
        hold,
        routes: vec![Route::sandbox("one"), Route::sandbox("two")],
        callback_url: None,
        metadata: BTreeMap::new(),
        phase: Phase::Queued { route: 0 },
        attempts: 0,
        misses: 0,
        is_metered: false,
        progress: None,
        is_cancel_asked: false,
        created_ms: NOW_MS,
        updated_ms: NOW_MS,
        started_ms: None,
        finished_ms: None,
        deadline_ms: DEADLINE_MS,
        due_ms: NOW_MS,
        version: 7,
    }
}

fn attempt(id: &str, route: usize, now_ms: i64) -> Attempt {
    Attempt {
        id: AttemptId(id.to_owned()),
        route,
        token: format!("token of {id}"),
        began_ms: now_ms,
        send_by_ms: now_ms.saturating_add(10_000),
        sends: 1,
        lookups: 0,
        is_dirty: false,
        prompt: None,
        credential: String::new(),
    }
}

fn call(kind: Kind) -> Call {
    Call {
        request: Request::get("https://provider.test/jobs/1"),
        at: Cursor::default(),
        kind,
    }
}

fn wait(ms: u64) -> Wait {
    Wait {
        ms,
        then: call(Kind::Reads),
        upstream_id: Some("job-1".to_owned()),
        progress: Some(0.5),
    }
}

fn fault(class: FaultClass) -> Fault {
    Fault::new(class, "no")
}

fn file() -> StoredFile {
    StoredFile {
        path: "x/1.mp4".to_owned(),
        content_type: "video/mp4".to_owned(),
        bytes: 5,
        sha256: "00".to_owned(),
        width: Some(640),
        height: None,
        duration_s: Some(2.5),
        expires_ms: 9,
    }
}

#[test]
fn a_nudged_task_without_anything_to_ask_waits_for_the_quiet_time_in_its_row() {
    let mut task = fresh();
    task.phase = Phase::Unknown {
        attempt: attempt("a", 0, NOW_MS),
        since_ms: NOW_MS,
    };
    let rules = Rules {
        recovery: Recovery::None,
        ..RULES
    };
    let Action::Apply(outcome) = decide(&task, NOW_MS, &rules) else {
        panic!("a due task never sleeps");
    };
    let change = advance(&task, outcome, NOW_MS, &rules).unwrap();
    assert_eq!(change.task.due_ms, NOW_MS + 10_000 + QUIET_MS);
    assert_eq!(change.task.phase, task.phase);
}

#[test]
fn lookups_in_vain_are_no_tries() {
    let mut task = fresh();
    task.attempts = 1;
    task.misses = 40;
    task.phase = Phase::Unknown {
        attempt: Attempt {
            lookups: LOOKUPS_MIN,
            ..attempt("a", 0, NOW_MS)
        },
        since_ms: NOW_MS,
    };
    let late_ms = NOW_MS + 10_000 + QUIET_MS;
    let change = advance(&task, Outcome::NotFound, late_ms, &RULES).unwrap();
    assert_eq!(change.task.phase, Phase::Queued { route: 1 });
    assert_eq!(change.task.misses, 1);
}

#[test]
fn after_an_outage_the_provider_is_still_asked() {
    let mut task = fresh();
    task.misses = 1;
    task.phase = Phase::Unknown {
        attempt: attempt("a", 0, NOW_MS),
        since_ms: NOW_MS,
    };
    let late_ms = NOW_MS + 100 * QUIET_MS;
    assert!(matches!(decide(&task, late_ms, &RULES), Action::Find(_)));
    task.misses = LOOKUPS_MIN + 1;
    assert_eq!(
        decide(&task, late_ms, &RULES),
        Action::Apply(Outcome::Lapsed)
    );
}

#[test]
fn a_provider_without_idempotent_keys_is_never_sent_to_again() {
    let mut task = fresh();
    let first = attempt("a", 0, NOW_MS);
    task.phase = Phase::Unknown {
        attempt: first.clone(),
        since_ms: NOW_MS,
    };
    let again = Outcome::Intended(first.clone());
    for recovery in [Recovery::Lookup, Recovery::None] {
        let rules = Rules { recovery, ..RULES };
        assert!(advance(&task, again.clone(), NOW_MS, &rules).is_err());
    }
    let rules = Rules {
        recovery: Recovery::Idempotent,
        ..RULES
    };
    let other_key = Outcome::Intended(Attempt {
        token: "another".to_owned(),
        ..first
    });
    assert!(advance(&task, other_key, NOW_MS, &rules).is_err());
    let change = advance(&task, again, NOW_MS, &rules).unwrap();
    assert_eq!(
        change.task.phase.attempt().map(|attempt| attempt.sends),
        Some(2)
    );
}

#[test]
fn only_what_is_cheap_enough_is_submitted_again() {
    let mut task = fresh();
    task.attempts = 1;
    task.phase = Phase::Unknown {
        attempt: attempt("a", 0, NOW_MS),
        since_ms: NOW_MS,
    };
    let rules = Rules {
        on_lost_reply: OnLostReply::Resubmit,
        resubmit_below: task.hold,
        ..RULES
    };
    let after = |task: &Task| advance(task, Outcome::Lapsed, NOW_MS, &rules).unwrap().task;
    assert_eq!(after(&task).phase, Phase::Queued { route: 0 });
    task.hold = Credits(task.hold.0 + 1);
    assert!(after(&task).status().is_terminal());
}

#[test]
fn a_denied_or_failed_cancel_does_not_outlive_the_deadline() {
    let mut task = fresh();
    task.is_cancel_asked = true;
    task.due_ms = NOW_MS + 5_000;
    task.phase = Phase::Running {
        attempt: attempt("a", 0, NOW_MS),
        next: call(Kind::Reads),
    };
    assert_eq!(
        decide(&task, NOW_MS, &RULES),
        Action::Cancel(call(Kind::Reads))
    );
    task.misses = 1;
    assert_eq!(decide(&task, NOW_MS, &RULES), Action::Sleep(NOW_MS + 5_000));
    assert_eq!(
        decide(&task, DEADLINE_MS, &RULES),
        Action::Apply(Outcome::Expired)
    );
}

#[test]
fn a_far_retry_after_does_not_outlive_the_deadline() {
    let mut unavailable = fault(FaultClass::Unavailable);
    unavailable.retry_after_ms = Some(u64::MAX);
    let mut task = fresh();
    task.phase = Phase::Queued { route: 1 };
    let change = advance(&task, Outcome::Unsent(unavailable), NOW_MS, &RULES).unwrap();
    assert_eq!(change.task.due_ms, DEADLINE_MS);
}

/// Whether another credential is there is for the engine to know, so the route stays.
#[test]
fn a_refused_credential_leaves_the_task_on_its_route() {
    for class in [FaultClass::Credential, FaultClass::Throttled] {
        let mut task = fresh();
        task.attempts = 1;
        task.phase = Phase::Sending {
            attempt: attempt("a", 0, NOW_MS),
        };
        let change = advance(&task, Outcome::Refused(fault(class)), NOW_MS, &RULES).unwrap();
        assert_eq!(change.task.phase, Phase::Queued { route: 0 });
        assert_eq!(change.task.due_ms, NOW_MS);
        task.attempts = ATTEMPTS_MAX;
        let change = advance(&task, Outcome::Refused(fault(class)), NOW_MS, &RULES).unwrap();
        let goes_on = class == FaultClass::Throttled;
        assert_eq!(change.task.status() == Status::Waiting, goes_on);
    }
}

#[test]
fn what_costs_more_than_its_hold_is_absorbed() {
    let usage = Usage {
        input_tokens: 50,
        output_tokens: 3_000_000,
    };
    let mut task = fresh();
    task.price = Price::new(Form::PerMillionTokens {
        input: Credits(1_000_000),
        output: Credits(2_000_000),
        output_tokens_max: 1_000_000,
    });
    task.hold = task.price.hold(&task.order);
    let output = Output {
        answer: Some(Answer {
            text: "more than was asked for".to_owned(),
            finish_reason: "stop".to_owned(),
            usage,
        }),
        ..Output::default()
    };
    let cost = task.price.cost(&task.order, &usage);
    task.phase = Phase::Storing {
        attempt: attempt("a", 0, NOW_MS),
        output,
        since_ms: NOW_MS,
    };
    let stored = Outcome::Stored(vec![file()]);
    let change = advance(&task, stored, NOW_MS, &RULES).unwrap();
    assert_eq!(change.close, Some(task.hold));
    let Phase::Done { absorbed, .. } = change.task.phase else {
        panic!("{:?}", change.task.phase);
    };
    assert_eq!(absorbed, cost.minus(task.hold).unwrap());
    assert!(absorbed > Credits::ZERO);
}
