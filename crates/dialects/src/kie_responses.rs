//! Chat at KIE in the form of OpenAI's responses (docs.kie.ai, `/market/chat/gpt-5-4`, `/market/grok/*`).
//!
//! Each family has a path of its own, so a route's `model` is `<path>/<model>`: `codex/gpt-5-5` is asked
//! for at `POST {base}/codex/v1/responses`. A reply ends the work: messages among `output[]`, `status`,
//! `usage`. Errors may come as HTTP 200 with `{"code", "msg"}` in its place.

use domain::order::Order;
use domain::price::Usage;
use domain::upstream::{Answer, Call, Cursor, Fault, FaultClass, Next, Output, Reply, Request};
use serde_json::{Value, json};

use crate::conversation::{Bytes, Conversation, Piece, Speaker, Turn, conversation};
use crate::fault::{fault, text_at};
use crate::kie::{Asked, opened};
use crate::{Context, Dialect, chat};

/// The protocol.
pub(crate) struct KieResponses;

impl Dialect for KieResponses {
    fn start(&self, order: &Order, cx: &Context<'_>) -> Result<Call, Fault> {
        let (path, model) = cx.model.split_once('/').unwrap_or(("codex", cx.model));
        let mut body = cx.fields.clone();
        body.insert("model".to_owned(), Value::from(model));
        body.insert("input".to_owned(), input(&conversation(order)?));
        body.insert("stream".to_owned(), Value::Bool(false));
        // Chat at KIE says `max_tokens` everywhere else.
        if let Some(most) = body.remove("max_tokens") {
            body.insert("max_output_tokens".to_owned(), most);
        }
        let url = format!("{}/{path}/v1/responses", cx.base_url);
        Ok(Call::creates(Request::post(url, Value::Object(body))))
    }

    fn resume(
        &self,
        order: &Order,
        _cx: &Context<'_>,
        _at: &Cursor,
        reply: &Reply,
    ) -> Result<Next, Fault> {
        let body = reply.json();
        if reply.status == 200 && body.get("output").is_some_and(Value::is_array) {
            return output(order, reply, &body).map(Next::Done);
        }
        opened(reply, Asked::ToCreate)?;
        let words = Some("an answer without an output");
        Err(fault(FaultClass::Failed, reply, words))
    }
}

/// The conversation as items of an input.
fn input(said: &Conversation) -> Value {
    let told = said.system.iter().map(
        |text| json!({ "role": "system", "content": [{ "type": "input_text", "text": text }] }),
    );
    Value::Array(told.chain(said.turns.iter().map(item)).collect())
}

fn item(turn: &Turn) -> Value {
    let (role, text_type) = match turn.speaker {
        Speaker::User => ("user", "input_text"),
        Speaker::Model => ("assistant", "output_text"),
    };
    let content = turn.pieces.iter().map(|piece| match piece {
        Piece::Text(text) => json!({ "type": text_type, "text": text }),
        Piece::Link(link) => json!({ "type": "input_image", "image_url": link }),
        Piece::Bytes(Bytes { mime, base64 }) => {
            let url = format!("data:{mime};base64,{base64}");
            json!({ "type": "input_image", "image_url": url })
        }
    });
    json!({ "role": role, "content": content.collect::<Vec<_>>() })
}

/// What a whole reply answers.
fn output(order: &Order, reply: &Reply, body: &Value) -> Result<Output, Fault> {
    let items = body.get("output").and_then(Value::as_array);
    // Thinking is an item without `content`, or one of another type.
    let is_message = |item: &&Value| text_at(item, &["/type"]) == Some("message");
    let messages = items.into_iter().flatten().filter(is_message);
    let parts = messages.filter_map(|item| item.get("content")?.as_array());
    let parts: Vec<&Value> = parts.flatten().collect();
    let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
    let text: String = texts.collect();
    let is_cut = text_at(body, &["/status"]) == Some("incomplete");
    let reason = text_at(body, &["/incomplete_details/reason"]);
    if reason == Some("content_filter") {
        return Err(fault(FaultClass::Moderated, reply, None));
    }
    // Thinking alone may use up all tokens; that is an answer of nothing, and was worked for.
    if text.is_empty() && reason != Some("max_output_tokens") {
        let refusal = parts.iter().find_map(|part| text_at(part, &["/refusal"]));
        let words = text_at(body, &["/error/message"]);
        return Err(match refusal {
            Some(words) => fault(FaultClass::Moderated, reply, Some(words)),
            None => fault(FaultClass::Failed, reply, words),
        });
    }
    let count = |name: &str| body.pointer(name).and_then(Value::as_u64);
    let usage = count("/usage/input_tokens").zip(count("/usage/output_tokens"));
    let usage = usage.map(|(input_tokens, output_tokens)| Usage {
        input_tokens,
        output_tokens,
    });
    let answer = Answer {
        usage: usage.unwrap_or_else(|| chat::estimate(order, &text)),
        finish_reason: if is_cut { "length" } else { "stop" }.to_owned(),
        text,
    };
    Ok(Output {
        sources: Vec::new(),
        answer: Some(answer),
    })
}
