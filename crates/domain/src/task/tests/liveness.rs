//! Whatever the world does, a task that is worked on ends, and in a bounded number of steps.

use proptest::prelude::*;

use super::*;

/// Steps that a well-behaved world may need for the rest of a task.
const STEPS_CALM: usize = 60;

/// Longest time that a task can outlive its deadline: one attempt from intent to giving it up, and the
/// storing of its result.
const OVERTIME_MS: i64 = 10_000 + 3 * QUIET_MS + 4 * 45_000 + STORE_PATIENCE_MS;

fn all_rules() -> Vec<Rules> {
    let mut all = Vec::new();
    for recovery in [Recovery::Idempotent, Recovery::Lookup, Recovery::None] {
        for on_lost_reply in [OnLostReply::FailAndRelease, OnLostReply::Resubmit] {
            all.push(Rules {
                recovery,
                on_lost_reply,
                ..RULES
            });
        }
    }
    all
}

/// Something the world may answer to an action; `choice` picks it.
fn answer(task: &Task, action: Action, choice: u8, now_ms: i64) -> Option<Outcome> {
    let lost = || fault(FaultClass::Ambiguous);
    let is = |n| choice.is_multiple_of(n);
    Some(match action {
        Action::Sleep(_) => return None,
        Action::Apply(outcome) => outcome,
        Action::Start { route } if is(2) => Outcome::Intended(attempt(
            &format!("attempt-{}", task.attempts),
            route,
            now_ms,
        )),
        Action::Start { .. } if is(3) => Outcome::Postponed {
            until_ms: now_ms + 1_000,
        },
        Action::Resend(attempt) if is(2) => Outcome::Intended(attempt),
        Action::Start { .. } | Action::Resend(_) => Outcome::Unsent(lost()),
        Action::Find(_) if is(5) => Outcome::Waiting(wait(2_000)),
        Action::Find(_) if is(2) => Outcome::NotFound,
        Action::Read(_) if is(2) => Outcome::Waiting(wait(60_000)),
        Action::Cancel(_) if is(5) => Outcome::CancelDenied,
        Action::Find(_) | Action::Read(_) | Action::Cancel(_) => Outcome::Missed(lost()),
        Action::Store => Outcome::NotStored,
    })
}

/// What the answer to a send is; a worker that dies leaves the task to the rescue.
fn sent(choice: u8) -> Option<Outcome> {
    match choice % 5 {
        0 => None,
        1 => Some(Outcome::Refused(fault(FaultClass::Unavailable))),
        2 => Some(Outcome::Waiting(wait(1_000))),
        _ => Some(Outcome::Unanswered),
    }
}

/// The answer of a world that keeps its promises.
fn calm(task: &Task, action: Action, now_ms: i64) -> Option<Outcome> {
    Some(match action {
        Action::Sleep(_) => return None,
        Action::Apply(outcome) => outcome,
        Action::Start { route } => Outcome::Intended(attempt(
            &format!("attempt-{}", task.attempts),
            route,
            now_ms,
        )),
        Action::Resend(attempt) => Outcome::Intended(attempt),
        Action::Find(_) => Outcome::NotFound,
        Action::Read(_) => Outcome::Finished(Output::default()),
        Action::Cancel(_) => Outcome::Cancelled,
        Action::Store => Outcome::Stored(vec![file()]),
    })
}

/// One turn of a worker; the instant of the next one.
fn turn(task: &mut Task, rules: &Rules, now_ms: i64, choice: Option<u8>) -> i64 {
    let action = decide(task, now_ms, rules);
    if let Action::Sleep(until_ms) = action {
        assert!(until_ms > now_ms);
        return until_ms;
    }
    let outcome = match choice {
        Some(choice) => answer(task, action, choice, now_ms),
        None => calm(task, action, now_ms),
    };
    let outcome = outcome.expect("only a sleep has no outcome");
    let is_sent = matches!(outcome, Outcome::Intended(_));
    *task = advance(task, outcome, now_ms, rules).unwrap().task;
    if is_sent {
        let reply = choice.map_or(Some(Outcome::Waiting(wait(1_000))), sent);
        if let Some(reply) = reply {
            *task = advance(task, reply, now_ms, rules).unwrap().task;
        }
    }
    now_ms.saturating_add(1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_task_ends_soon_after_the_world_calms_down(
        choices in prop::collection::vec(any::<u8>(), 0..60),
        asks_cancel in any::<bool>(),
    ) {
        for rules in all_rules() {
            let mut task = fresh();
            task.is_cancel_asked = asks_cancel;
            let mut now_ms = NOW_MS;
            for choice in &choices {
                now_ms = turn(&mut task, &rules, now_ms, Some(*choice)).min(i64::MAX - 1);
                if task.status().is_terminal() {
                    break;
                }
            }
            let mut steps = 0;
            while !task.status().is_terminal() {
                now_ms = turn(&mut task, &rules, now_ms, None);
                steps += 1;
                prop_assert!(steps <= STEPS_CALM, "{task:?}");
            }
        }
    }

    #[test]
    fn a_task_ends_in_a_world_that_never_answers(
        choices in prop::collection::vec(any::<u8>(), 1..60),
        asks_cancel in any::<bool>(),
    ) {
        for rules in all_rules() {
            let mut task = fresh();
            task.is_cancel_asked = asks_cancel;
            let mut now_ms = NOW_MS;
            let mut choices = choices.iter().cycle();
            while !task.status().is_terminal() {
                now_ms = turn(&mut task, &rules, now_ms, choices.next().copied());
                prop_assert!(now_ms < DEADLINE_MS + OVERTIME_MS, "{task:?}");
            }
        }
    }
}
