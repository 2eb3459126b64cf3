//! Chat of OpenAI and of everything that speaks its protocol: OpenRouter, DeepSeek, vLLM, Ollama,
//! llama.cpp (openai/openai-openapi, `POST /chat/completions`).
//!
//! Models that make pictures answer them beside the text (`message.images` at OpenRouter).
//!
//! A reply ends the work. Errors are `{"error": {"message", "type", "code"}}`; Ollama says
//! `{"error": "text"}`.

use domain::order::{Modality, Order};
use domain::upstream::{Call, Cursor, Fault, FaultClass, Next, Output, Reply, Request};
use serde_json::Value;

use crate::fault::{fault, nonsense, refusal_class, text_at};
use crate::{Context, Dialect, chat};

/// The protocol.
pub(crate) struct OpenAiChat;

impl Dialect for OpenAiChat {
    fn start(&self, order: &Order, cx: &Context<'_>) -> Result<Call, Fault> {
        let mut body = chat::body(order, cx.fields);
        body.insert("model".to_owned(), Value::from(cx.model));
        let url = format!("{}/chat/completions", cx.base_url);
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
        // OpenRouter may say an error inside a 200.
        if reply.status != 200 || body.get("error").is_some_and(|error| !error.is_null()) {
            return Err(complaint(reply, &body));
        }
        if body
            .pointer("/choices/0/finish_reason")
            .and_then(Value::as_str)
            == Some("content_filter")
        {
            return Err(fault(FaultClass::Moderated, reply, None));
        }
        let output = chat::output(order, &body).ok_or_else(|| nonsense(reply))?;
        if order.modality == Modality::Chat {
            return Ok(Next::Done(output));
        }
        // Of what was to be a picture, the words around it are no part.
        if output.sources.is_empty() {
            let words = output.answer.map(|answer| answer.text);
            let words = words.as_deref().or(Some("an answer without a picture"));
            return Err(fault(FaultClass::Failed, reply, words));
        }
        Ok(Next::Done(Output {
            answer: None,
            ..output
        }))
    }
}

/// What an error of the protocol means.
pub(crate) fn complaint(reply: &Reply, body: &Value) -> Fault {
    let words = text_at(body, &["/error/message", "/error", "/message"]);
    let code = text_at(body, &["/error/code", "/error/type"]).unwrap_or_default();
    let class = match code {
        // An account without funds answers 429 as well; waiting does not help.
        "insufficient_quota"
        | "credit_balance_exhausted"
        | "organization_spend_limit_exceeded"
        | "project_spend_limit_exceeded"
        | "organization_usage_limit_exceeded"
        // Alibaba's, which comes with 400.
        | "Arrearage" => FaultClass::Credential,
        "content_policy_violation"
        | "moderation_blocked"
        | "content_filter"
        | "data_inspection_failed"
        | "DataInspectionFailed" => FaultClass::Moderated,
        "model_not_found" => FaultClass::Unavailable,
        _ => class_of_number(reply, body),
    };
    fault(class, reply, words)
}

/// What an error means whose `code` is a number, as at OpenRouter and llama.cpp, or says nothing.
fn class_of_number(reply: &Reply, body: &Value) -> FaultClass {
    let is_moderated = ["/error/metadata/reasons", "/error/metadata/flagged_input"]
        .iter()
        .any(|place| body.pointer(place).is_some_and(|value| !value.is_null()));
    match body.pointer("/error/code").and_then(Value::as_u64) {
        Some(403) if is_moderated => FaultClass::Moderated,
        // Nobody was there to run it: no provider of the router, or a model that is still loading.
        Some(503) if reply.status == 503 => FaultClass::Unavailable,
        _ => refusal_class(reply.status),
    }
}
