//! The transition table: every phase with every outcome, under every condition that matters.
//!
//! The table is committed, so that a change of the rules is a visible difference. Run with `UPDATE=1`
//! in the environment to write it anew.

use std::fmt::Write as _;

use super::*;

/// Where the table is committed.
const PATH: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/task_transitions.md"
);

const PHASES: [&str; 7] = [
    "queued", "sending", "unknown", "running", "storing", "done", "failed",
];

/// What outcomes are applied to.
#[derive(Clone)]
struct Setting {
    task: Task,
    rules: Rules,
    now_ms: i64,
}

type Tweak = fn(&mut Setting);

/// A condition with its values; the first line of the table that does not depend on it leaves it out.
type Dimension = Vec<(&'static str, Tweak)>;

/// What the table says of one case.
#[derive(Clone, PartialEq)]
struct Cells {
    to: String,
    row: String,
    hold: String,
    due: String,
}

/// A line of the table; `None` for a condition it does not depend on.
#[derive(Clone, PartialEq)]
struct Line {
    values: Vec<Option<usize>>,
    cells: Cells,
}

#[test]
fn the_committed_table_is_what_the_rules_say() {
    let table = table();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(PATH, &table).unwrap();
    }
    let committed = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(
        committed == table,
        "docs/task_transitions.md is not what the rules say; if they are right, run the test with UPDATE=1"
    );
}

fn table() -> String {
    let mut lines = String::new();
    let mut matrix = String::from("| outcome |");
    for phase in PHASES {
        write!(matrix, " {phase} |").unwrap();
    }
    matrix.push_str("\n|---|---|---|---|---|---|---|---|\n");
    for (name, _) in outcomes() {
        write!(matrix, "| {name} |").unwrap();
        for phase in PHASES {
            let found = cases(phase, name);
            let illegal = found
                .iter()
                .filter(|line| line.cells.to == "illegal")
                .count();
            let mark = match illegal {
                0 => "yes",
                n if n == found.len() => "",
                _ => "some",
            };
            write!(matrix, " {mark} |").unwrap();
        }
        matrix.push('\n');
    }
    for phase in PHASES {
        for (name, _) in outcomes() {
            let found = cases(phase, name);
            if found.iter().any(|line| line.cells.to != "illegal") {
                render(&mut lines, phase, name, &found);
            }
        }
    }
    format!(
        "# Task transitions\n\n\
         Written by the test `the_committed_table_is_what_the_rules_say` of `crates/domain`; do not edit. \
         `UPDATE=1 cargo test -p domain` writes it anew.\n\n\
         ## What can happen when\n\n\
         `yes`: always; `some`: under a condition of the next table; empty: illegal, nothing is committed.\n\n\
         {matrix}\n\
         ## What follows\n\n\
         The task has two routes, a hold of 1000 and a deadline an hour away; its quiet time is 180 s. \
         `hold` is empty while the hold stays open, else the charge that closes it.\n\n\
         | from | outcome | condition | to | attempt row | hold | due |\n|---|---|---|---|---|---|---|\n{lines}"
    )
}

fn render(table: &mut String, phase: &str, name: &str, found: &[Line]) {
    let dimensions = dimensions(phase);
    for line in found {
        let labels = line.values.iter().zip(&dimensions);
        let labels = labels.filter_map(|(value, dimension)| Some(dimension[(*value)?].0));
        let condition = labels.collect::<Vec<_>>().join(", ");
        let Cells { to, row, hold, due } = &line.cells;
        writeln!(
            table,
            "| {phase} | {name} | {condition} | {to} | {row} | {hold} | {due} |"
        )
        .unwrap();
    }
}

/// Every combination of conditions, with those left out that make no difference.
fn cases(phase: &str, name: &str) -> Vec<Line> {
    let dimensions = dimensions(phase);
    let outcome = outcomes().into_iter().find(|known| known.0 == name);
    let (_, outcome) = outcome.expect("the name is from the same list");
    let mut combinations = vec![Vec::new()];
    for dimension in &dimensions {
        let longer = combinations.iter().flat_map(|shorter: &Vec<usize>| {
            (0..dimension.len()).map(|value| [shorter.as_slice(), &[value]].concat())
        });
        combinations = longer.collect();
    }
    let lines = combinations.into_iter().map(|values| {
        let mut setting = setting(phase);
        for (value, dimension) in values.iter().zip(&dimensions) {
            dimension[*value].1(&mut setting);
        }
        Line {
            cells: cells(&setting, outcome.clone()),
            values: values.into_iter().map(Some).collect(),
        }
    });
    let mut lines: Vec<Line> = lines.collect();
    for (index, dimension) in dimensions.iter().enumerate() {
        lines = without(&lines, index, dimension.len());
    }
    lines
}

/// Joins the lines that differ in one condition only, where all its values are there.
fn without(lines: &[Line], index: usize, count: usize) -> Vec<Line> {
    let mut joined: Vec<Line> = Vec::new();
    for line in lines {
        let mut wider = line.clone();
        wider.values[index] = None;
        let is_kin = |other: &&Line| {
            let mut other = (*other).clone();
            other.values[index] = None;
            other == wider
        };
        let line = if lines.iter().filter(is_kin).count() == count {
            &wider
        } else {
            line
        };
        if !joined.contains(line) {
            joined.push(line.clone());
        }
    }
    joined
}

fn cells(setting: &Setting, outcome: Outcome) -> Cells {
    let Setting {
        task,
        rules,
        now_ms,
    } = setting;
    let Ok(change) = advance(task, outcome, *now_ms, rules) else {
        let nothing = String::new;
        return Cells {
            to: "illegal".to_owned(),
            row: nothing(),
            hold: nothing(),
            due: nothing(),
        };
    };
    let to = match &change.task.phase {
        Phase::Queued { route } => format!("queued, route {route}"),
        Phase::Failed { error } => format!("failed, {}", error.kind.as_str()),
        phase => phase.as_str().to_owned(),
    };
    let row = change.attempt.map_or_else(String::new, |row| {
        let new = if row.opened.is_some() { "new, " } else { "" };
        format!("{new}{}", row.state.as_str())
    });
    let hold = change
        .close
        .map_or_else(String::new, |charge| charge.0.to_string());
    let due = match change.task.due_ms {
        i64::MAX => "never".to_owned(),
        due_ms if due_ms == *now_ms => "now".to_owned(),
        due_ms => format!("{} s", (due_ms - now_ms) / 1_000),
    };
    Cells { to, row, hold, due }
}

fn setting(phase: &str) -> Setting {
    let mut task = fresh();
    let attempt = attempt("a", 0, NOW_MS);
    task.attempts = u32::from(phase != "queued");
    task.phase = match phase {
        "sending" => Phase::Sending { attempt },
        "unknown" => Phase::Unknown {
            attempt,
            since_ms: NOW_MS,
        },
        "running" => Phase::Running {
            attempt,
            next: call(Kind::Reads),
        },
        "storing" => Phase::Storing {
            attempt,
            output: Output::default(),
            since_ms: NOW_MS,
        },
        "done" => Phase::Done {
            files: Vec::new(),
            answer: None,
            charge: Credits(5),
            absorbed: Credits::ZERO,
        },
        "failed" => Phase::Failed {
            error: TaskError {
                kind: ErrorKind::Timeout,
                message: String::new(),
                retryable: true,
            },
        },
        _ => task.phase,
    };
    Setting {
        task,
        rules: RULES,
        now_ms: NOW_MS,
    }
}

fn attempt_of(setting: &mut Setting) -> &mut Attempt {
    match &mut setting.task.phase {
        Phase::Sending { attempt } | Phase::Unknown { attempt, .. } => attempt,
        _ => panic!("only asked of attempts without an answer"),
    }
}

fn dimensions(phase: &str) -> Vec<Dimension> {
    let recovery: Dimension = vec![
        ("idempotent", |s| s.rules.recovery = Recovery::Idempotent),
        ("lookup", |s| s.rules.recovery = Recovery::Lookup),
        ("no recovery", |s| s.rules.recovery = Recovery::None),
    ];
    let attempts: Dimension = vec![
        ("first attempt", |s| s.task.attempts = 1),
        ("later attempt", |s| s.task.attempts = 2),
        ("last attempt", |s| s.task.attempts = ATTEMPTS_MAX),
    ];
    match phase {
        "queued" => vec![
            vec![
                ("first try", |_| {}),
                ("last try", |s| s.task.misses = ATTEMPTS_MAX - 1),
            ],
            vec![
                ("another route left", |_| {}),
                ("last route", |s| s.task.phase = Phase::Queued { route: 1 }),
            ],
        ],
        "sending" => vec![
            vec![
                ("clean", |_| {}),
                ("dirty", |s| attempt_of(s).is_dirty = true),
            ],
            attempts,
            vec![
                ("another route left", |_| {}),
                ("last route", |s| attempt_of(s).route = 1),
            ],
            recovery,
        ],
        "unknown" => vec![
            recovery,
            vec![
                ("fail and release", |_| {}),
                ("resubmit", |s| {
                    s.rules.on_lost_reply = OnLostReply::Resubmit
                }),
                ("resubmit what costs less", |s| {
                    s.rules.on_lost_reply = OnLostReply::Resubmit;
                    s.rules.resubmit_below = Credits(999);
                }),
            ],
            attempts,
            vec![
                ("sends left", |_| {}),
                ("no sends left", |s| attempt_of(s).sends = SENDS_MAX),
            ],
            vec![
                ("may be in flight", |s| s.now_ms += QUIET_MS),
                ("quiet", |s| s.now_ms += QUIET_MS + 10_000),
            ],
            vec![
                ("few lookups", |_| {}),
                ("enough lookups", |s| {
                    attempt_of(s).lookups = LOOKUPS_MIN - 1
                }),
            ],
        ],
        _ => vec![],
    }
}

fn outcomes() -> Vec<(&'static str, Outcome)> {
    let creating = Wait {
        then: call(Kind::Creates),
        ..wait(0)
    };
    let other_key = Attempt {
        token: "another".to_owned(),
        ..attempt("a", 0, NOW_MS)
    };
    vec![
        ("intended", Outcome::Intended(attempt("b", 0, NOW_MS))),
        (
            "intended, again",
            Outcome::Intended(attempt("a", 0, NOW_MS)),
        ),
        (
            "intended, again with another key",
            Outcome::Intended(other_key),
        ),
        (
            "postponed",
            Outcome::Postponed {
                until_ms: NOW_MS + 600_000,
            },
        ),
        ("unsent", Outcome::Unsent(fault(FaultClass::Unavailable))),
        (
            "unsent, invalid input",
            Outcome::Unsent(fault(FaultClass::InvalidInput)),
        ),
        ("refused", Outcome::Refused(fault(FaultClass::Unavailable))),
        (
            "refused, invalid input",
            Outcome::Refused(fault(FaultClass::InvalidInput)),
        ),
        (
            "refused, moderated",
            Outcome::Refused(fault(FaultClass::Moderated)),
        ),
        (
            "refused, ambiguous",
            Outcome::Refused(fault(FaultClass::Ambiguous)),
        ),
        ("unanswered", Outcome::Unanswered),
        ("rescued", Outcome::Rescued),
        ("waiting 5 s", Outcome::Waiting(wait(5_000))),
        ("waiting to create", Outcome::Waiting(creating)),
        ("missed", Outcome::Missed(fault(FaultClass::Ambiguous))),
        ("not_found", Outcome::NotFound),
        ("lapsed", Outcome::Lapsed),
        ("finished", Outcome::Finished(Output::default())),
        ("failed", Outcome::Failed(fault(FaultClass::Failed))),
        (
            "failed, moderated",
            Outcome::Failed(fault(FaultClass::Moderated)),
        ),
        ("stored", Outcome::Stored(vec![file()])),
        ("not_stored", Outcome::NotStored),
        ("lost", Outcome::Lost),
        ("cancelled", Outcome::Cancelled),
        ("cancel_denied", Outcome::CancelDenied),
        ("expired", Outcome::Expired),
    ]
}
