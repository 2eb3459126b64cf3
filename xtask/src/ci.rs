//! What CI runs, in the order in which a mistake is cheapest to find.

use std::time::Duration;

use tokio::time::Instant;

use crate::shell::{cargo, run, say};

const STEPS: [(&str, &[&str]); 3] = [
    ("format", &["fmt", "--all", "--check"]),
    (
        "lints",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
    ),
    ("tests", &["test", "--workspace", "--locked"]),
];

/// Runs every step; ends at the first that fails.
///
/// # Errors
/// The step that failed.
pub fn run_all() -> anyhow::Result<()> {
    let mut took: Vec<(&str, Duration)> = Vec::new();
    for (name, arguments) in STEPS {
        say(format_args!("== {name}: cargo {}", arguments.join(" ")));
        let start = Instant::now();
        let done = run(cargo().args(arguments));
        took.push((name, start.elapsed()));
        if done.is_err() {
            summary(&took);
        }
        done?;
    }
    summary(&took);
    Ok(())
}

fn summary(took: &[(&str, Duration)]) {
    for (name, took) in took {
        say(format_args!("{name:>8} {:7.1} s", took.as_secs_f64()));
    }
}
