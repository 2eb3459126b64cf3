//! Text and pictures of Google's Gemini API (ai.google.dev/api/generate-content).
//!
//! `POST {base}/models/{model}:generateContent` with `contents` and the route's fields, which are
//! `generationConfig` and the like; the field `images` of a route holds pictures as `data:` URLs and
//! becomes parts of the prompt. A reply ends the work: parts with `text` or `inlineData` in the first
//! candidate. A blocked prompt is a 200 with `promptFeedback.blockReason`, a blocked answer one with a
//! `finishReason`. Errors are `{"error": {"code", "message", "status", "details"}}`.

use std::borrow::Cow;

use domain::order::{Modality, Order};
use domain::price::Usage;
use domain::upstream::{
    Answer, Auth, Call, Cursor, Fault, FaultClass, Next, Output, Reply, Request, Source,
};
use serde_json::{Map, Value, json};
use url::Url;

use crate::conversation::{Bytes, Conversation, Piece, Speaker, bytes_of, conversation};
use crate::fault::{fault, nonsense, pause_ms, refusal_class, text_at};
use crate::{Context, Dialect, chat};

/// The protocol.
pub(crate) struct Gemini;

/// `x-goog-api-key: <secret>`.
pub(crate) const KEY: Auth = Auth::Header(Cow::Borrowed("x-goog-api-key"));

impl Dialect for Gemini {
    fn start(&self, order: &Order, cx: &Context<'_>) -> Result<Call, Fault> {
        let mut body = cx.fields.clone();
        let images = body.remove("images");
        let said = conversation(order)?;
        let mut pieces = said.turns.iter().flat_map(|turn| &turn.pieces);
        if !pieces.all(|piece| is_outside(piece, cx.base_url)) {
            let wrong = "a link of the messages is not one to a file on the web";
            return Err(Fault::new(FaultClass::InvalidInput, wrong));
        }
        write(&mut body, &said, images.as_ref());
        let url = format!("{}/models/{}:generateContent", cx.base_url, cx.model);
        let request = Request::post(url, Value::Object(body));
        Ok(Call::creates(request.auth(KEY)))
    }

    fn resume(
        &self,
        order: &Order,
        _cx: &Context<'_>,
        _at: &Cursor,
        reply: &Reply,
    ) -> Result<Next, Fault> {
        let body = reply.json();
        if reply.status != 200 || body.get("error").is_some_and(|error| !error.is_null()) {
            return Err(complaint(reply, &body));
        }
        if let Some(reason) = text_at(&body, &["/promptFeedback/blockReason"]) {
            return Err(fault(FaultClass::Moderated, reply, None).because(reason));
        }
        let candidate = body
            .pointer("/candidates/0")
            .ok_or_else(|| nonsense(reply))?;
        output(order, &body, candidate).map_or_else(
            || Err(unmade(reply, candidate)),
            |made| Ok(Next::Done(made)),
        )
    }
}

/// Whether what a link leads to is none of Google's: files that the same key has stored there, such as
/// the films of others, can be read by their links.
fn is_outside(piece: &Piece, base_url: &str) -> bool {
    let Piece::Link(link) = piece else {
        return true;
    };
    let (Ok(link), Ok(base)) = (Url::parse(link), Url::parse(base_url)) else {
        return false;
    };
    matches!(link.scheme(), "http" | "https") && link.host() != base.host()
}

/// Puts a conversation into a body; the pictures come before the prompt.
fn write(body: &mut Map<String, Value>, said: &Conversation, images: Option<&Value>) {
    let images = images.and_then(Value::as_array).into_iter().flatten();
    let images = images.filter_map(|image| bytes_of(image.as_str()?));
    let images: Vec<Value> = images.map(|image| inline(&image)).collect();
    let turn = |(position, turn): (usize, &crate::conversation::Turn)| {
        let role = match turn.speaker {
            Speaker::User => "user",
            Speaker::Model => "model",
        };
        let mut parts = if position == 0 {
            images.clone()
        } else {
            Vec::new()
        };
        parts.extend(turn.pieces.iter().map(part));
        json!({ "role": role, "parts": parts })
    };
    let contents = said.turns.iter().enumerate().map(turn).collect();
    body.insert("contents".to_owned(), Value::Array(contents));
    if !said.system.is_empty() {
        let parts: Vec<Value> = said
            .system
            .iter()
            .map(|text| json!({ "text": text }))
            .collect();
        body.insert("systemInstruction".to_owned(), json!({ "parts": parts }));
    }
}

fn part(piece: &Piece) -> Value {
    match piece {
        Piece::Text(text) => json!({ "text": text }),
        Piece::Bytes(bytes) => inline(bytes),
        Piece::Link(link) => json!({ "fileData": { "mimeType": mime_of(link), "fileUri": link } }),
    }
}

fn inline(bytes: &Bytes) -> Value {
    json!({ "inlineData": { "mimeType": bytes.mime, "data": bytes.base64 } })
}

/// The media type a link ends like; what a link cannot tell is taken for the most frequent one.
fn mime_of(link: &str) -> &'static str {
    let path = link.split(['?', '#']).next().unwrap_or_default();
    let ending = path.rsplit('.').next().unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "webp" => "image/webp",
        "heic" => "image/heic",
        "heif" => "image/heif",
        _ => "image/jpeg",
    }
}

/// What a candidate holds of what was ordered; `None` where it does not.
fn output(order: &Order, body: &Value, candidate: &Value) -> Option<Output> {
    let parts = candidate
        .pointer("/content/parts")
        .and_then(Value::as_array);
    // Thoughts are no part of the answer, and nor are pictures drawn on the way to it.
    let is_thought = |part: &&Value| part.get("thought").and_then(Value::as_bool) == Some(true);
    let parts: Vec<&Value> = parts
        .into_iter()
        .flatten()
        .filter(|part| !is_thought(part))
        .collect();
    let pictures = parts.iter().filter_map(|part| {
        let data = part.pointer("/inlineData/data")?.as_str()?;
        Some(Source::Inline(data.to_owned()))
    });
    let sources: Vec<Source> = pictures.collect();
    let reason = text_at(candidate, &["/finishReason"]).unwrap_or("STOP");
    if order.modality != Modality::Chat {
        return (!sources.is_empty()).then_some(Output {
            sources,
            answer: None,
        });
    }
    let texts: Vec<&str> = parts
        .iter()
        .filter_map(|part| part.get("text")?.as_str())
        .collect();
    let finish_reason = match reason {
        "STOP" => "stop",
        "MAX_TOKENS" => "length",
        // What was said before an answer was cut off for its content is no answer.
        _ => return None,
    };
    // Thinking alone may use up all tokens; that is an answer of nothing, and was worked for.
    if texts.is_empty() && sources.is_empty() && finish_reason != "length" {
        return None;
    }
    let text = texts.concat();
    let answer = Answer {
        usage: usage(body).unwrap_or_else(|| chat::estimate(order, &text)),
        finish_reason: finish_reason.to_owned(),
        text,
    };
    Some(Output {
        sources,
        answer: Some(answer),
    })
}

/// What was consumed; thinking is billed as output and counted apart from it.
fn usage(body: &Value) -> Option<Usage> {
    let usage = body.get("usageMetadata")?;
    let count = |name: &str| usage.get(name).and_then(Value::as_u64);
    let output = count("candidatesTokenCount").unwrap_or(0);
    Some(Usage {
        input_tokens: count("promptTokenCount")?,
        output_tokens: output.saturating_add(count("thoughtsTokenCount").unwrap_or(0)),
    })
}

/// Why a candidate is no result.
fn unmade(reply: &Reply, candidate: &Value) -> Fault {
    let reason = text_at(candidate, &["/finishReason"]).unwrap_or_default();
    let class = match reason {
        "SAFETY"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "RECITATION"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => FaultClass::Moderated,
        _ => FaultClass::Failed,
    };
    let words = text_at(candidate, &["/finishMessage"]);
    fault(class, reply, words).because(format!(
        "finished as {reason}: {}",
        words.unwrap_or_default()
    ))
}

/// What an error of the API means.
fn complaint(reply: &Reply, body: &Value) -> Fault {
    match (reply.status, text_at(body, &["/error/status"])) {
        // What failed so is documented as not charged for.
        (503, Some("UNAVAILABLE")) => {
            let words = text_at(body, &["/error/message"]);
            fault(FaultClass::Unavailable, reply, words)
        }
        _ => refusal(reply, body),
    }
}

/// What an error of any of Google's calls that create means.
pub(crate) fn refusal(reply: &Reply, body: &Value) -> Fault {
    let words = text_at(body, &["/error/message"]);
    let details = body.pointer("/error/details").and_then(Value::as_array);
    let details: Vec<&Value> = details.into_iter().flatten().collect();
    let has_reason = |reason: &str| {
        details
            .iter()
            .any(|detail| text_at(detail, &["/reason"]) == Some(reason))
    };
    let class = match (reply.status, text_at(body, &["/error/status"])) {
        (400, _) if has_reason("API_KEY_INVALID") => FaultClass::Credential,
        // The account is not set up for it: no billing, or the country.
        (400, Some("FAILED_PRECONDITION")) => FaultClass::Credential,
        // Waiting for the quota of a day is waiting too long.
        (429, _) if details.iter().any(|detail| is_daily(detail)) => FaultClass::Credential,
        _ => refusal_class(reply.status),
    };
    let mut fault = fault(class, reply, words);
    let delay = details
        .iter()
        .find_map(|detail| text_at(detail, &["/retryDelay"]));
    let seconds = delay.and_then(|delay| delay.strip_suffix('s')?.parse().ok());
    fault.retry_after_ms = seconds.and_then(pause_ms).or(fault.retry_after_ms);
    fault
}

/// Whether a quota that was used up is one per day.
fn is_daily(detail: &Value) -> bool {
    let violations = detail.get("violations").and_then(Value::as_array);
    let mut ids = violations
        .into_iter()
        .flatten()
        .filter_map(|one| one.get("quotaId")?.as_str());
    ids.any(|id| id.contains("PerDay"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_that_lead_away_from_the_api_are_passed_on() {
        let base = "https://generativelanguage.googleapis.com/v1beta";
        let is_outside = |link: &str| is_outside(&Piece::Link(link.to_owned()), base);
        assert!(is_outside("https://example.com/a.png"));
        for link in [
            "https://generativelanguage.googleapis.com/v1beta/files/abc",
            "https://x@GenerativeLanguage.googleapis.com:443/v1beta/files/abc",
            "gs://bucket/a.png",
            "files/abc",
        ] {
            assert!(!is_outside(link), "{link}");
        }
        assert!(super::is_outside(&Piece::Text("a fox".to_owned()), base));
    }
}
