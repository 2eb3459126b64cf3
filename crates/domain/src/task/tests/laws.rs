//! Laws that hold for every sequence of outcomes, at whatever instants they come.

use proptest::prelude::*;

use super::*;
use crate::ledger::{Book, Entry, apply};

/// A step of an arbitrary history: an outcome that need not be possible, and how far the clock moves.
#[derive(Debug, Clone)]
struct Given {
    choice: Choice,
    number: u64,
    class: FaultClass,
    later_ms: i64,
    recovery: Recovery,
}

#[derive(Debug, Clone, Copy)]
enum Choice {
    Intended,
    IntendedAgain,
    Postponed,
    Unsent,
    Refused,
    Unanswered,
    Rescued,
    Waiting,
    Missed,
    NotFound,
    Lapsed,
    Finished,
    Failed,
    Stored,
    NotStored,
    Lost,
    Cancelled,
    CancelDenied,
    Expired,
    /// What the rules would do next, where that needs nothing from the world.
    Decided,
}

fn choice() -> impl Strategy<Value = Choice> {
    use Choice::*;
    // Outcomes that lead on are likelier, so that histories get somewhere.
    prop_oneof![
        4 => Just(Intended),
        3 => prop::sample::select(vec![IntendedAgain, Unanswered, Refused, Waiting, Finished]),
        3 => prop::sample::select(vec![Rescued, Missed, NotFound, Unsent, Decided]),
        1 => prop::sample::select(vec![
            Postponed, Lapsed, Failed, Stored, NotStored, Lost, Cancelled, CancelDenied, Expired,
        ]),
    ]
}

fn given() -> impl Strategy<Value = Given> {
    let class = prop::sample::select(vec![
        FaultClass::InvalidInput,
        FaultClass::Moderated,
        FaultClass::Throttled,
        FaultClass::Unavailable,
        FaultClass::Unavailable,
        FaultClass::Ambiguous,
    ]);
    let number = prop_oneof![0_u64..100_000, any::<u64>()];
    // Clocks of different nodes differ, so now may go back a little.
    let later_ms = -2_000_i64..200_000;
    let recovery = prop::sample::select(vec![
        Recovery::Idempotent,
        Recovery::Lookup,
        Recovery::Lookup,
        Recovery::None,
    ]);
    (choice(), number, class, later_ms, recovery).prop_map(
        |(choice, number, class, later_ms, recovery)| Given {
            choice,
            number,
            class,
            later_ms,
            recovery,
        },
    )
}

fn outcome(given: &Given, task: &Task, now_ms: i64, rules: &Rules) -> Option<Outcome> {
    let fault = || Fault {
        retry_after_ms: Some(given.number),
        ..fault(given.class)
    };
    Some(match given.choice {
        Choice::Intended => {
            let id = format!("attempt-{}", task.attempts);
            Outcome::Intended(attempt(&id, usize::from(given.number % 2 == 1), now_ms))
        }
        Choice::IntendedAgain => Outcome::Intended(task.phase.attempt()?.clone()),
        Choice::Postponed => Outcome::Postponed {
            until_ms: given.number.cast_signed(),
        },
        Choice::Unsent => Outcome::Unsent(fault()),
        Choice::Refused => Outcome::Refused(fault()),
        Choice::Unanswered => Outcome::Unanswered,
        Choice::Rescued => Outcome::Rescued,
        Choice::Waiting => Outcome::Waiting(Wait {
            progress: [None, Some(f64::NAN), Some(-3.0), Some(0.25), Some(1e9)]
                [usize::try_from(given.number % 5).unwrap()],
            ..wait(given.number)
        }),
        Choice::Missed => Outcome::Missed(fault()),
        Choice::NotFound => Outcome::NotFound,
        Choice::Lapsed => Outcome::Lapsed,
        Choice::Finished => Outcome::Finished(Output::default()),
        Choice::Failed => Outcome::Failed(fault()),
        Choice::Stored => Outcome::Stored(vec![file()]),
        Choice::NotStored => Outcome::NotStored,
        Choice::Lost => Outcome::Lost,
        Choice::Cancelled => Outcome::Cancelled,
        Choice::CancelDenied => Outcome::CancelDenied,
        Choice::Expired => Outcome::Expired,
        Choice::Decided => match decide(task, task.due_ms.max(now_ms), rules) {
            Action::Apply(outcome) => outcome,
            _ => return None,
        },
    })
}

/// What the store would hold beside the task.
#[derive(Default)]
struct Rows {
    attempts: BTreeMap<AttemptId, AttemptState>,
    book: Book,
}

impl Rows {
    fn apply(&mut self, before: &Task, change: &Change) {
        if let Some(row) = &change.attempt {
            let old = self.attempts.insert(row.id.clone(), row.state);
            if let Some(opened) = &row.opened {
                assert_eq!(old, None, "a new attempt has a new row");
                assert_eq!((&opened.id, opened.sends), (&row.id, 1));
                assert!(!opened.is_dirty && row.state == AttemptState::Sending);
            } else {
                let was_open = old.is_some_and(AttemptState::is_open);
                assert!(was_open, "a row that is over stays as it is: {old:?}");
                assert_eq!(before.phase.attempt().map(|known| &known.id), Some(&row.id));
            }
        }
        if let Some(charge) = change.close {
            let close = Entry::Close {
                task: before.id.clone(),
                charge,
            };
            apply(&mut self.book, &close).unwrap();
            assert_eq!(change.task.charge(), Some(charge));
        }
    }

    /// The one row that is not over, if any, is the one the phase names, in the state that goes with it.
    fn agree_with(&self, task: &Task) {
        let open = self.attempts.iter().filter(|row| row.1.is_open());
        let open: Vec<_> = open.map(|(id, state)| (id.clone(), *state)).collect();
        let id = task.phase.attempt().map(|attempt| attempt.id.clone());
        let expected = match task.phase {
            Phase::Sending { .. } => id.map(|id| (id, AttemptState::Sending)),
            Phase::Unknown { .. } => id.map(|id| (id, AttemptState::Unknown)),
            Phase::Running { .. } => id.map(|id| (id, AttemptState::Accepted)),
            _ => None,
        };
        assert_eq!(open, Vec::from_iter(expected));
        assert_eq!(self.attempts.len(), usize::try_from(task.attempts).unwrap());
        let is_closed = self.book.holds[&task.id].1.is_some();
        assert_eq!(is_closed, task.status().is_terminal());
    }
}

fn check_step(before: &Task, after: &Task, now_ms: i64, rules: &Rules) {
    assert!(
        before.status() <= after.status(),
        "a status never goes back"
    );
    let untouched = Task {
        phase: before.phase.clone(),
        attempts: before.attempts,
        misses: before.misses,
        progress: before.progress,
        is_cancel_asked: before.is_cancel_asked,
        updated_ms: before.updated_ms,
        started_ms: before.started_ms,
        finished_ms: before.finished_ms,
        due_ms: before.due_ms,
        ..after.clone()
    };
    assert_eq!(
        &untouched, before,
        "what was asked for, and the version, stay"
    );
    if let Phase::Unknown { attempt, .. } = &after.phase {
        assert!(attempt.is_dirty, "no refusal of a re-send may count");
    }
    if let (Some(old), Some(new)) = (before.phase.attempt(), after.phase.attempt()) {
        assert_eq!((&old.id, &old.token), (&new.id, &new.token));
        assert!(old.sends <= new.sends && old.is_dirty <= new.is_dirty);
    }
    assert!(
        after
            .progress
            .is_none_or(|progress| (0.0..=1.0).contains(&progress))
    );
    assert_eq!(after.due_ms == i64::MAX, after.status().is_terminal());
    assert!(after.due_ms >= now_ms);
    if matches!(after.phase, Phase::Queued { .. } | Phase::Running { .. }) {
        assert!(after.due_ms <= after.deadline_ms.max(now_ms));
    }
    if !after.status().is_terminal() {
        let at_due = decide(after, after.due_ms, rules);
        assert!(
            !matches!(at_due, Action::Sleep(_)),
            "a due task never sleeps"
        );
    }
}

fn check_any_clock(task: &Task, rules: &Rules) {
    for now_ms in [i64::MIN, -1, 0, NOW_MS, DEADLINE_MS, i64::MAX - 1, i64::MAX] {
        let action = decide(task, now_ms, rules);
        if let Action::Apply(outcome) = action {
            advance(task, outcome, now_ms, rules).expect("what the rules decide is possible");
        }
    }
    let text = serde_json::to_string(task).unwrap();
    let mut read: Task = serde_json::from_str(&text).unwrap();
    read.version = task.version;
    read.is_cancel_asked = task.is_cancel_asked;
    assert_eq!(&read, task);
}

fn keeps_the_laws(mut task: Task, steps: &[Given], policy: OnLostReply, jitter: u32) {
    let mut rows = Rows::default();
    let hold = Entry::Hold {
        task: task.id.clone(),
        credits: task.hold,
    };
    apply(&mut rows.book, &Entry::TopUp(Credits(5_000))).unwrap();
    apply(&mut rows.book, &hold).unwrap();
    let mut now_ms = NOW_MS;
    for given in steps {
        now_ms += given.later_ms;
        let rules = Rules {
            recovery: given.recovery,
            on_lost_reply: policy,
            jitter,
            ..RULES
        };
        check_any_clock(&task, &rules);
        let Some(outcome) = outcome(given, &task, now_ms, &rules) else {
            continue;
        };
        let Ok(change) = advance(&task, outcome, now_ms, &rules) else {
            continue;
        };
        assert!(!task.status().is_terminal(), "an ended task takes nothing");
        check_step(&task, &change.task, now_ms, &rules);
        rows.apply(&task, &change);
        task = change.task;
        rows.agree_with(&task);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_history_keeps_the_laws(
        steps in prop::collection::vec(given(), 1..40),
        resubmits in any::<bool>(),
        jitter in any::<u32>(),
        asks_cancel in any::<bool>(),
        hold in 0_i64..2_000,
    ) {
        let policy = if resubmits { OnLostReply::Resubmit } else { OnLostReply::FailAndRelease };
        // The hold is the limit even where the price says more.
        let task = Task { is_cancel_asked: asks_cancel, hold: Credits(hold), ..fresh() };
        keeps_the_laws(task, &steps, policy, jitter);
    }

    #[test]
    fn no_clock_breaks_the_rules(
        steps in prop::collection::vec(given(), 1..12),
        now_ms in prop_oneof![Just(i64::MIN), Just(i64::MAX), any::<i64>()],
        quiet_ms in any::<i64>(),
    ) {
        let mut task = fresh();
        for given in &steps {
            let rules = Rules { recovery: given.recovery, quiet_ms, ..RULES };
            check_any_clock(&task, &rules);
            let outcome = outcome(given, &task, now_ms, &rules);
            if let Some(Ok(change)) = outcome.map(|outcome| advance(&task, outcome, now_ms, &rules)) {
                task = change.task;
                prop_assert_eq!(task.due_ms == i64::MAX, task.status().is_terminal());
            }
        }
    }
}
