//! What happened in a run, line by line, and what should not have.
//!
//! Invariant: a line depends on the seed alone, so that the hash of all lines tells whether two runs
//! were the same.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

/// Lines that are kept to be shown.
const KEPT: usize = 60;

/// The trace of one run; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    origin: Option<Instant>,
    hash: u64,
    lines: VecDeque<String>,
    wrongs: Vec<String>,
    count: u64,
}

impl Trace {
    /// Adds a line.
    pub(crate) fn say(&self, line: &str) {
        let mut inner = self.0.lock().unwrap();
        let now = Instant::now();
        let passed = now - *inner.origin.get_or_insert(now);
        let line = format!("{:>9.3} {line}", passed.as_secs_f64());
        // FNV-1a.
        for byte in line.bytes() {
            inner.hash = (inner.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        inner.count += 1;
        if everything() {
            eprintln!("{line}");
        }
        inner.lines.push_back(line);
        if inner.lines.len() > KEPT {
            inner.lines.pop_front();
        }
    }

    /// Adds a line about something that must never happen.
    pub(crate) fn wrong(&self, what: &str) {
        self.say(&format!("WRONG {what}"));
        self.0.lock().unwrap().wrongs.push(what.to_owned());
    }

    /// Of all lines.
    pub(crate) fn hash(&self) -> u64 {
        self.0.lock().unwrap().hash
    }

    pub(crate) fn wrongs(&self) -> Vec<String> {
        self.0.lock().unwrap().wrongs.clone()
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.0.lock().unwrap().wrongs.is_empty()
    }

    /// The last lines as one text.
    pub(crate) fn tail(&self) -> String {
        let inner = self.0.lock().unwrap();
        let mut text = format!("… {} lines in all\n", inner.count);
        for line in &inner.lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

/// Whether every line is shown as it comes: `SIM_TRACE=1`.
fn everything() -> bool {
    static SHOWN: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *SHOWN.get_or_init(|| crate::setting("SIM_TRACE").is_some())
}

/// Takes the gateway's own warnings into the trace. Its errors are mistakes of ours: they say that a
/// step panicked, or that an outcome came which the rules do not know.
pub(crate) struct Listener(pub(crate) Trace);

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("gateway")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        match *event.metadata().level() {
            Level::ERROR => self.0.wrong(&format!("the gateway says: {}", text.0)),
            _ => self.0.say(&format!("(log) {}", text.0)),
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?} "),
            name => write!(self.0, "{name}={value:?} "),
        };
    }
}
