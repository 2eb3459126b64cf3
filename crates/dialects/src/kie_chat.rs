//! Chat at KIE: the protocol of OpenAI with the model in the path (docs.kie.ai, `/market/gemini/*`,
//! `/market/chat/gpt-5-2`). Errors may come as HTTP 200 with `{"code", "msg"}` in place of an answer.

use domain::order::Order;
use domain::upstream::{Call, Cursor, Fault, FaultClass, Next, Reply, Request};
use serde_json::Value;

use crate::fault::fault;
use crate::kie::{Asked, opened};
use crate::{Context, Dialect, chat};

/// The protocol.
pub(crate) struct KieChat;

impl Dialect for KieChat {
    fn start(&self, order: &Order, cx: &Context<'_>) -> Result<Call, Fault> {
        let body = Value::Object(chat::body(order, cx.fields));
        let url = format!("{}/{}/v1/chat/completions", cx.base_url, cx.model);
        Ok(Call::creates(Request::post(url, body)))
    }

    fn resume(
        &self,
        order: &Order,
        _cx: &Context<'_>,
        _at: &Cursor,
        reply: &Reply,
    ) -> Result<Next, Fault> {
        if reply.status == 200
            && let Some(output) = chat::output(order, &reply.json())
        {
            return Ok(Next::Done(output));
        }
        opened(reply, Asked::ToCreate)?;
        // An answer without a text is no answer, but it was worked for.
        Err(fault(
            FaultClass::Failed,
            reply,
            Some("an answer without a text"),
        ))
    }
}
