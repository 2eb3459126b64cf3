//! The real rules, with their states numbered.
//!
//! Invariant: every change is made by `decide` and `advance`. Instants are set back to one moment after
//! each change, which makes the number of different tasks finite; what is over is then said by the
//! clock of the next step.

use std::collections::{BTreeMap, HashMap};

use domain::catalogue::{OnLostReply, Recovery, Route};
use domain::credits::Credits;
use domain::ids::{AccountId, AttemptId, KeyId, TaskId};
use domain::order::{Modality, Order};
use domain::price::Price;
use domain::task::{
    ATTEMPTS_MAX, Action, Attempt, AttemptState, LOOKUPS_MIN, Outcome, Phase, Rules, Task, advance,
    decide,
};
use domain::upstream::{Call, Cursor, Fault, FaultClass, Kind, Output, Request, Wait};

const NOW_MS: i64 = 1_000_000;
const QUIET_MS: i64 = 1_000;
const DEADLINE_MS: i64 = NOW_MS + 1_000_000;
const HOLD: Credits = Credits(100);

/// When a step is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Clock {
    AtOnce,
    /// After the quiet time.
    Quiet,
    Deadline,
}

impl Clock {
    fn now_ms(self) -> i64 {
        match self {
            Self::AtOnce => NOW_MS,
            Self::Quiet => NOW_MS + QUIET_MS,
            Self::Deadline => DEADLINE_MS,
        }
    }
}

/// What the world answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Answer {
    /// What the rules decide without asking the world.
    Decided,
    Intended(u8),
    /// The moment to send had passed.
    TooLate,
    Rejected,
    /// As `Rejected`, with the mark of an unanswered send rubbed out before.
    RejectedForSure,
    Silence,
    Accepted,
    NotFound,
    Missed,
    Finished,
    Failed,
    Stored,
    Lost,
}

/// What an answer changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effect {
    pub(crate) task: u16,
    pub(crate) row: Option<(usize, AttemptState)>,
    pub(crate) close: Option<Credits>,
}

/// The kinds of action, without what they carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Nothing,
    Start,
    Resend,
    Find,
    Read,
    Store,
    Apply,
}

pub(crate) struct Machine {
    rules: Rules,
    tasks: Vec<Task>,
    effects: HashMap<(u16, Clock, Answer), Option<Effect>>,
}

impl Machine {
    pub(crate) fn new(recovery: Recovery, on_lost_reply: OnLostReply) -> Self {
        // Two attempts are left; a new submission on a guess is only made after the first one.
        let attempts = match on_lost_reply {
            OnLostReply::FailAndRelease => ATTEMPTS_MAX - 2,
            OnLostReply::Resubmit => 0,
        };
        Self {
            rules: Rules {
                recovery,
                on_lost_reply,
                resubmit_below: Credits(i64::MAX),
                quiet_ms: QUIET_MS,
                jitter: 0,
            },
            tasks: vec![fresh(attempts)],
            effects: HashMap::new(),
        }
    }

    pub(crate) fn is_ended(&self, task: u16) -> bool {
        self.task(task).status().is_terminal()
    }

    pub(crate) fn task(&self, task: u16) -> &Task {
        &self.tasks[usize::from(task)]
    }

    /// Number of the attempt that is not over.
    pub(crate) fn attempt(&self, task: u16) -> Option<usize> {
        Some(number(&self.task(task).phase.attempt()?.id))
    }

    pub(crate) fn wanted(&self, task: u16, clock: Clock) -> Wanted {
        match decide(self.task(task), clock.now_ms(), &self.rules) {
            Action::Sleep(_) => Wanted::Nothing,
            Action::Start { .. } => Wanted::Start,
            Action::Resend(_) => Wanted::Resend,
            Action::Find(_) => Wanted::Find,
            Action::Read(_) => Wanted::Read,
            Action::Store => Wanted::Store,
            Action::Apply(_) => Wanted::Apply,
            Action::Cancel(_) => panic!("nobody asks for a cancel"),
        }
    }

    /// What an answer makes of a task; `None` where the rules do not allow it.
    pub(crate) fn advance(&mut self, task: u16, clock: Clock, answer: Answer) -> Option<Effect> {
        let key = (task, clock, answer);
        if let Some(known) = self.effects.get(&key) {
            return *known;
        }
        let effect = self.effect(task, clock, answer);
        self.effects.insert(key, effect);
        effect
    }

    fn effect(&mut self, number_before: u16, clock: Clock, answer: Answer) -> Option<Effect> {
        let mut task = self.task(number_before).clone();
        if answer == Answer::RejectedForSure
            && let Phase::Sending { attempt } = &mut task.phase
        {
            attempt.is_dirty = false;
        }
        let outcome = self.outcome(&task, clock, answer)?;
        let change = advance(&task, outcome, clock.now_ms(), &self.rules).ok()?;
        let row = change.attempt.map(|row| (number(&row.id), row.state));
        Some(Effect {
            task: self.number_of(timeless(change.task)),
            row,
            close: change.close,
        })
    }

    fn outcome(&self, task: &Task, clock: Clock, answer: Answer) -> Option<Outcome> {
        let fault = |class| Fault::new(class, "no");
        Some(match answer {
            Answer::Decided => match decide(task, clock.now_ms(), &self.rules) {
                Action::Apply(outcome) => outcome,
                _ => return None,
            },
            Answer::Intended(number) => Outcome::Intended(attempt(number)),
            Answer::TooLate | Answer::Rejected | Answer::RejectedForSure => {
                Outcome::Refused(fault(FaultClass::Unavailable))
            }
            Answer::Silence => Outcome::Unanswered,
            Answer::Accepted => Outcome::Waiting(wait()),
            Answer::NotFound => Outcome::NotFound,
            Answer::Missed => Outcome::Missed(fault(FaultClass::Ambiguous)),
            Answer::Finished => Outcome::Finished(Output::default()),
            Answer::Failed => Outcome::Failed(fault(FaultClass::Failed)),
            Answer::Stored => Outcome::Stored(Vec::new()),
            Answer::Lost => Outcome::Lost,
        })
    }

    fn number_of(&mut self, task: Task) -> u16 {
        let known = self.tasks.iter().position(|known| *known == task);
        let number = known.unwrap_or_else(|| {
            self.tasks.push(task);
            self.tasks.len() - 1
        });
        u16::try_from(number).expect("there are few different tasks")
    }
}

/// The hold of the task.
pub(crate) fn hold() -> (TaskId, Credits) {
    (TaskId("task".to_owned()), HOLD)
}

/// The task with every instant at one moment, and counters that cannot make a difference any more cut.
fn timeless(mut task: Task) -> Task {
    task.updated_ms = NOW_MS;
    task.due_ms = NOW_MS;
    task.started_ms = None;
    task.finished_ms = None;
    task.misses = task.misses.min(ATTEMPTS_MAX.max(LOOKUPS_MIN + 1));
    match &mut task.phase {
        Phase::Unknown { attempt, since_ms } => {
            *since_ms = NOW_MS;
            attempt.lookups = attempt.lookups.min(LOOKUPS_MIN);
        }
        Phase::Storing { since_ms, .. } => *since_ms = NOW_MS,
        _ => {}
    }
    task
}

fn number(id: &AttemptId) -> usize {
    id.as_str().parse().expect("attempts are numbered")
}

fn attempt(number: u8) -> Attempt {
    Attempt {
        id: AttemptId(number.to_string()),
        route: 0,
        token: number.to_string(),
        began_ms: NOW_MS,
        send_by_ms: NOW_MS,
        sends: 1,
        lookups: 0,
        is_dirty: false,
        prompt: None,
        credential: String::new(),
    }
}

fn wait() -> Wait {
    Wait {
        ms: 0,
        then: Call {
            request: Request::get("https://provider.test/"),
            at: Cursor::default(),
            kind: Kind::Reads,
        },
        upstream_id: None,
        progress: None,
    }
}

fn fresh(attempts: u32) -> Task {
    let (id, hold) = hold();
    Task {
        id,
        account: AccountId("account".to_owned()),
        key: KeyId("key".to_owned()),
        order: Order {
            model: "model".to_owned(),
            modality: Modality::Video,
            prompt: String::new(),
            messages: None,
            params: serde_json::Map::new(),
            scenario: None,
        },
        price: Price::per_run(hold),
        hold,
        routes: vec![Route::sandbox("model")],
        callback_url: None,
        metadata: BTreeMap::new(),
        phase: Phase::Queued { route: 0 },
        attempts,
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
        version: 0,
    }
}
