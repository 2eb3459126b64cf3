//! Chat of OpenAI and of everything that speaks its protocol: OpenRouter, DeepSeek, vLLM, Ollama,
//! llama.cpp (openai/openai-openapi, `POST /chat/completions`).
//!
//! A reply ends the work. Errors are `{"error": {"message", "type", "code"}}`; Ollama says
//! `{"error": "text"}`.

use domain::order::Order;
use domain::upstream::{Call, Cursor, Fault, FaultClass, Next, Reply, Request};
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
        chat::output(order, &body)
            .map(Next::Done)
            .ok_or_else(|| nonsense(reply))
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
        _ => refusal_class(reply.status),
    };
    fault(class, reply, words)
}
