//! The sandbox's script: the header `RouterBase-Sandbox`.

use serde::{Deserialize, Serialize};

use super::Invalid;

/// The header's name, also the `param` of its refusals.
pub const SCENARIO_HEADER: &str = "RouterBase-Sandbox";

/// Longest delay, in milliseconds.
pub const DELAY_MS_MAX: u64 = 600_000;

/// Most progress reports.
pub const PROGRESS_MAX: u32 = 100;

/// Longest header, in bytes.
const HEADER_BYTES_MAX: usize = 200;

/// How the scripted work ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScriptedOutcome {
    /// With real files.
    #[default]
    Success,
    /// The upstream accepts and then fails.
    Fail,
    /// The content rules forbid it.
    Moderated,
    /// The reply to the creating call never comes.
    Timeout,
    /// The upstream throttles.
    RateLimited,
    /// The reply makes no sense.
    Garbage,
}

impl ScriptedOutcome {
    /// Every outcome.
    pub const ALL: [Self; 6] = [
        Self::Success,
        Self::Fail,
        Self::Moderated,
        Self::Timeout,
        Self::RateLimited,
        Self::Garbage,
    ];

    /// The word in the header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Fail => "fail",
            Self::Moderated => "moderated",
            Self::Timeout => "timeout",
            Self::RateLimited => "rate_limited",
            Self::Garbage => "garbage",
        }
    }
}

/// What the sandbox shall play.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scenario {
    /// How long the work takes, 0 to 600 000 ms.
    pub delay_ms: u64,
    /// How it ends.
    pub outcome: ScriptedOutcome,
    /// How many progress reports are given on the way, 0 to 100.
    pub progress: u32,
}

impl Scenario {
    /// Reads `delay=2s, outcome=fail, progress=5`; every part may be left out, none may come twice.
    /// A delay is a decimal number with the unit `ms` or `s`.
    ///
    /// # Errors
    /// An unknown name or word, a number out of range, or a header over 200 bytes.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let refuse = |message: String| Invalid::new(SCENARIO_HEADER, message);
        if text.len() > HEADER_BYTES_MAX {
            return Err(refuse(format!("must be at most {HEADER_BYTES_MAX} bytes")));
        }
        let mut scenario = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (name, word) = part
                .split_once('=')
                .map_or((part, ""), |(n, w)| (n.trim(), w.trim()));
            if seen.contains(&name) {
                return Err(refuse(format!("`{name}` must be given once")));
            }
            match name {
                "delay" => scenario.delay_ms = delay_ms(word)?,
                "outcome" => scenario.outcome = outcome(word)?,
                "progress" => scenario.progress = progress(word)?,
                _ => {
                    return Err(refuse("knows only delay, outcome and progress".to_owned())
                        .allowing(vec!["delay", "outcome", "progress"]));
                }
            }
            seen.push(name);
        }
        Ok(scenario)
    }
}

fn delay_ms(word: &str) -> Result<u64, Invalid> {
    let (number, places) = if let Some(number) = word.strip_suffix("ms") {
        (number, 0)
    } else {
        (word.strip_suffix('s').unwrap_or(""), 3)
    };
    let delay = crate::credits::scaled(number, places)
        .ok()
        .and_then(|(ms, _)| u64::try_from(ms).ok());
    delay.filter(|ms| *ms <= DELAY_MS_MAX).ok_or_else(|| {
        Invalid::new(
            SCENARIO_HEADER,
            "`delay` must be between 0s and 600s, such as 2s or 250ms",
        )
    })
}

fn outcome(word: &str) -> Result<ScriptedOutcome, Invalid> {
    let words = ScriptedOutcome::ALL.map(ScriptedOutcome::as_str);
    let found = ScriptedOutcome::ALL
        .into_iter()
        .find(|outcome| outcome.as_str() == word);
    found.ok_or_else(|| {
        Invalid::new(
            SCENARIO_HEADER,
            format!("`outcome` must be one of {}", words.join(", ")),
        )
        .allowing(words.to_vec())
    })
}

fn progress(word: &str) -> Result<u32, Invalid> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit());
    let count = if is_plain { word.parse().ok() } else { None };
    count.filter(|count| *count <= PROGRESS_MAX).ok_or_else(|| {
        Invalid::new(
            SCENARIO_HEADER,
            "`progress` must be an integer between 0 and 100",
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_documented_header_is_read() {
        let scenario = Scenario::parse("delay=2s, outcome=rate_limited, progress=5").unwrap();
        assert_eq!(
            scenario,
            Scenario {
                delay_ms: 2_000,
                outcome: ScriptedOutcome::RateLimited,
                progress: 5
            }
        );
        assert_eq!(Scenario::parse("").unwrap(), Scenario::default());
        assert_eq!(Scenario::parse("delay=250ms").unwrap().delay_ms, 250);
        assert_eq!(Scenario::parse("delay=0.5s").unwrap().delay_ms, 500);
        assert_eq!(
            Scenario::parse("delay=600s").unwrap().delay_ms,
            DELAY_MS_MAX
        );
    }

    #[test]
    fn what_is_beyond_the_limits_is_refused() {
        for text in [
            "delay=601s",
            "delay=2",
            "delay=-1s",
            "delay=",
            "delay=1e99s",
            "outcome=maybe",
            "outcome",
            "progress=101",
            "progress=-1",
            "progress=+1",
            "speed=9",
            "delay=1s,delay=1s",
            "progress=",
        ] {
            let refusal = Scenario::parse(text).unwrap_err();
            assert_eq!(refusal.param, SCENARIO_HEADER, "{text}");
        }
        assert!(Scenario::parse("outcome=x").unwrap_err().allowed.is_some());
        assert!(Scenario::parse(&",".repeat(201)).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            let _ = Scenario::parse(&text);
        }
    }
}
