//! Anthropic's Messages API (docs.claude.com, `POST /v1/messages`).
//!
//! The system's words stand beside the messages, pictures are blocks, and `max_tokens` must be there. A
//! reply ends the work: `content[]` with blocks of text, `stop_reason`, `usage`. Errors are
//! `{"type": "error", "error": {"type", "message"}}`.

use std::borrow::Cow;

use domain::order::Order;
use domain::price::Usage;
use domain::upstream::{
    Answer, Auth, Call, Cursor, Fault, FaultClass, Next, Output, Reply, Request,
};
use serde_json::{Map, Value, json};

use crate::conversation::{Piece, Speaker, conversation};
use crate::fault::{fault, nonsense, refusal_class, text_at};
use crate::{Context, Dialect, chat};

/// The protocol.
pub(crate) struct Anthropic;

/// `x-api-key: <secret>`.
const KEY: Auth = Auth::Header(Cow::Borrowed("x-api-key"));

/// The version of the API that is spoken here.
const VERSION: &str = "2023-06-01";

/// Most tokens of an answer where neither client nor route says: the API takes no request without.
const TOKENS_MAX: u32 = 4_096;

impl Dialect for Anthropic {
    fn start(&self, order: &Order, cx: &Context<'_>) -> Result<Call, Fault> {
        let url = format!("{}/v1/messages", cx.base_url);
        let request = Request::post(url, Value::Object(body(order, cx)?));
        let request = request.auth(KEY).header("anthropic-version", VERSION);
        Ok(Call::creates(request))
    }

    fn resume(
        &self,
        order: &Order,
        _cx: &Context<'_>,
        _at: &Cursor,
        reply: &Reply,
    ) -> Result<Next, Fault> {
        let body = reply.json();
        if reply.status != 200 {
            return Err(complaint(reply, &body));
        }
        let found = output(order, reply, &body).unwrap_or_else(|| Err(nonsense(reply)));
        found.map(Next::Done)
    }
}

/// The body of a request that is not streamed: the fields of the route, the conversation.
pub(crate) fn body(order: &Order, cx: &Context<'_>) -> Result<Map<String, Value>, Fault> {
    let said = conversation(order)?;
    let mut body = cx.fields.clone();
    body.insert("model".to_owned(), Value::from(cx.model));
    body.insert("stream".to_owned(), Value::Bool(false));
    let most = body.entry("max_tokens");
    most.or_insert_with(|| Value::from(TOKENS_MAX));
    if !said.system.is_empty() {
        body.insert("system".to_owned(), Value::from(said.system.join("\n\n")));
    }
    let messages = said.turns.iter().map(|turn| {
        let role = match turn.speaker {
            Speaker::User => "user",
            Speaker::Model => "assistant",
        };
        let content: Vec<Value> = turn.pieces.iter().map(block).collect();
        json!({ "role": role, "content": content })
    });
    body.insert("messages".to_owned(), Value::Array(messages.collect()));
    Ok(body)
}

fn block(piece: &Piece) -> Value {
    let source = match piece {
        Piece::Text(text) => return json!({ "type": "text", "text": text }),
        Piece::Link(link) => json!({ "type": "url", "url": link }),
        Piece::Bytes(bytes) => {
            json!({ "type": "base64", "media_type": bytes.mime, "data": bytes.base64 })
        }
    };
    json!({ "type": "image", "source": source })
}

/// What a whole reply answers, or why it does not; `None` where it is no message at all.
pub(crate) fn output(order: &Order, reply: &Reply, body: &Value) -> Option<Result<Output, Fault>> {
    let blocks = body.get("content")?.as_array()?;
    let reason = text_at(body, &["/stop_reason"]).unwrap_or("end_turn");
    // Thinking is a block without `text`.
    let texts = blocks
        .iter()
        .filter_map(|block| block.get("text")?.as_str());
    let text: String = texts.collect();
    let finish_reason = match reason {
        "refusal" => return Some(Err(fault(FaultClass::Moderated, reply, None))),
        "max_tokens" | "model_context_window_exceeded" => "length",
        _ => "stop",
    };
    // Thinking alone may use up all tokens; that is an answer of nothing, and was worked for.
    if text.is_empty() && finish_reason != "length" {
        let words = Some("an answer without a text");
        return Some(Err(fault(FaultClass::Failed, reply, words)));
    }
    let answer = Answer {
        usage: usage(body).unwrap_or_else(|| chat::estimate(order, &text)),
        finish_reason: finish_reason.to_owned(),
        text,
    };
    Some(Ok(Output {
        sources: Vec::new(),
        answer: Some(answer),
    }))
}

/// What was consumed; what went through the cache is counted apart.
fn usage(body: &Value) -> Option<Usage> {
    let usage = body.get("usage")?;
    let count = |name: &str| usage.get(name).and_then(Value::as_u64);
    let cached = ["cache_creation_input_tokens", "cache_read_input_tokens"];
    let cached = cached.into_iter().filter_map(count);
    Some(Usage {
        input_tokens: cached.fold(count("input_tokens")?, u64::saturating_add),
        output_tokens: count("output_tokens")?,
    })
}

/// What an error of the API means.
fn complaint(reply: &Reply, body: &Value) -> Fault {
    let words = text_at(body, &["/error/message"]);
    let is_about = |sign: &str| words.is_some_and(|words| words.to_lowercase().contains(sign));
    let kind = text_at(body, &["/error/type"]).unwrap_or_default();
    let class = match (reply.status, kind) {
        // An account without funds, and a limit it has set itself, have no status of their own.
        (400, _) if is_about("credit balance") || is_about("usage limit") => FaultClass::Credential,
        (429, _) if text_at(body, SPENT) == Some("enforced_spend_limit_reached") => {
            FaultClass::Credential
        }
        // Turned away for want of room.
        (529, "overloaded_error") => FaultClass::Unavailable,
        (status, _) => refusal_class(status),
    };
    fault(class, reply, words)
}

/// Where a reply with status 429 tells a spending limit apart.
const SPENT: &[&str] = &["/error/details/error_code"];
