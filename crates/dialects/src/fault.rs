//! What a reply that is no success means.

use domain::upstream::{Fault, FaultClass, Reply};
use serde_json::Value;

/// Most characters of a provider's own words that are passed on.
const WORDS_MAX: usize = 500;

/// Longest pause a provider may ask for, in milliseconds: ten minutes.
const PAUSE_MS_MAX: u64 = 600_000;

/// The first text among some places of a JSON document, each a JSON pointer.
pub(crate) fn text_at<'v>(value: &'v Value, places: &[&str]) -> Option<&'v str> {
    let texts = places
        .iter()
        .filter_map(|place| value.pointer(place)?.as_str());
    texts.into_iter().find(|text| !text.trim().is_empty())
}

/// What the status of a reply to a creating call means. Only what a provider documents as refused
/// before acceptance is a refusal; a server error may have created something.
pub(crate) fn refusal_class(status: u16) -> FaultClass {
    match status {
        400 | 413 | 415 | 422 => FaultClass::InvalidInput,
        401..=403 => FaultClass::Credential,
        // The model is not there: another provider may have it.
        404 | 405 => FaultClass::Unavailable,
        429 => FaultClass::Throttled,
        _ => FaultClass::Ambiguous,
    }
}

/// What the status of a reply to a read means: nothing about the work, except that it is not known.
pub(crate) fn read_class(status: u16) -> FaultClass {
    match status {
        404 => FaultClass::NotFound,
        429 => FaultClass::Throttled,
        _ => FaultClass::Ambiguous,
    }
}

/// Whether words speak of the content rules, for providers that have no code for it.
pub(crate) fn is_moderation(words: &str) -> bool {
    let signs = [
        "content policy",
        "content policies",
        "sensitive",
        "moderation",
        "nsfw",
        "prohibited",
    ];
    speaks_of(words, &signs)
}

/// Whether words say that the account has no funds left, for providers that have no code for it.
pub(crate) fn is_out_of_funds(words: &str) -> bool {
    let signs = [
        "enough credits",
        "insufficient credits",
        "insufficient balance",
    ];
    speaks_of(words, &signs)
}

fn speaks_of(words: &str, signs: &[&str]) -> bool {
    let words = words.to_lowercase();
    signs.iter().any(|sign| words.contains(sign))
}

/// A fault of a class. The provider's own words are shown to the end user only where they are about
/// the user's request; the operator reads them always.
pub(crate) fn fault(class: FaultClass, reply: &Reply, words: Option<&str>) -> Fault {
    let words = words.map(shortened);
    let public = match class {
        FaultClass::InvalidInput => words
            .clone()
            .unwrap_or_else(|| "the provider does not take this request".to_owned()),
        FaultClass::Moderated => words
            .clone()
            .unwrap_or_else(|| "the provider's content rules forbid this".to_owned()),
        FaultClass::Failed => "the provider could not make a result".to_owned(),
        FaultClass::NotFound => "the provider no longer knows the work".to_owned(),
        _ => "the provider is not available".to_owned(),
    };
    let detail = format!("status {}: {}", reply.status, words.unwrap_or_default());
    Fault {
        retry_after_ms: retry_after_ms(reply),
        ..Fault::new(class, public).because(detail)
    }
}

/// The reply makes no sense.
pub(crate) fn nonsense(reply: &Reply) -> Fault {
    fault(
        FaultClass::Ambiguous,
        reply,
        Some("the reply makes no sense"),
    )
}

/// The pause a reply asks for, in milliseconds (`Retry-After` in seconds, `retry-after-ms`).
fn retry_after_ms(reply: &Reply) -> Option<u64> {
    let number = |name: &str| reply.header(name)?.trim().parse::<f64>().ok();
    let ms = number("retry-after-ms").map(|ms| ms / 1_000.0);
    pause_ms(ms.or_else(|| number("retry-after"))?)
}

/// A pause in milliseconds, within what is believed.
pub(crate) fn pause_ms(seconds: f64) -> Option<u64> {
    let pause = std::time::Duration::try_from_secs_f64(seconds).ok()?;
    let ms = u64::try_from(pause.as_millis()).ok()?;
    Some(ms.min(PAUSE_MS_MAX))
}

/// One line of printable text, shortened.
pub(crate) fn shortened(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(WORDS_MAX).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, headers: &[(&str, &str)]) -> Reply {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Reply {
            status,
            headers: headers.collect(),
            body: Vec::new(),
        }
    }

    #[test]
    fn pauses_are_read_and_bounded() {
        let pause = |headers| retry_after_ms(&reply(429, headers));
        assert_eq!(pause(&[]), None);
        assert_eq!(pause(&[("retry-after", "2")]), Some(2_000));
        assert_eq!(
            pause(&[("retry-after-ms", "250"), ("retry-after", "9")]),
            Some(250)
        );
        assert_eq!(pause(&[("retry-after", "1e30")]), None);
        assert_eq!(pause(&[("retry-after", "-1")]), None);
        assert_eq!(pause(&[("retry-after", "999999")]), Some(PAUSE_MS_MAX));
    }

    #[test]
    fn only_words_about_the_request_are_shown_to_the_user() {
        let words = Some("key sk-1\nof account 7");
        for class in [
            FaultClass::Credential,
            FaultClass::Throttled,
            FaultClass::Failed,
            FaultClass::Ambiguous,
        ] {
            assert!(
                !fault(class, &reply(500, &[]), words)
                    .public
                    .contains("sk-1"),
                "{class:?}"
            );
        }
        let invalid = fault(
            FaultClass::InvalidInput,
            &reply(422, &[]),
            Some("prompt\ntoo long"),
        );
        assert_eq!(invalid.public, "prompt too long");
    }
}
