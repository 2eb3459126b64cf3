//! Claude at KIE: Anthropic's messages under a path of their own (docs.kie.ai, `/market/claude/*`). Errors
//! may come as HTTP 200 with `{"code", "msg"}` in place of a message.

use domain::order::Order;
use domain::upstream::{Call, Cursor, Fault, FaultClass, Next, Reply, Request};
use serde_json::Value;

use crate::anthropic::{body, output};
use crate::fault::fault;
use crate::kie::{Asked, opened};
use crate::{Context, Dialect};

/// The protocol.
pub(crate) struct KieClaude;

impl Dialect for KieClaude {
    fn start(&self, order: &Order, cx: &Context<'_>) -> Result<Call, Fault> {
        let url = format!("{}/claude/v1/messages", cx.base_url);
        let body = Value::Object(body(order, cx)?);
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
            && let Some(found) = output(order, reply, &reply.json())
        {
            return found.map(Next::Done);
        }
        opened(reply, Asked::ToCreate)?;
        let words = Some("an answer without a message");
        Err(fault(FaultClass::Failed, reply, words))
    }
}
