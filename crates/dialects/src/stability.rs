//! Stability AI's pictures (platform.stability.ai, v2beta).
//!
//! `POST {base}/v2beta/stable-image/{model}` (`generate/core`, `generate/ultra`, `generate/sd3`,
//! `upscale/conservative`) takes a form, even where there is no file in it: the field `image` holds a
//! picture as `data:` URL. The reply ends the work: `{"image", "finish_reason", "seed"}` with the picture
//! in base64. A picture that the content rules forbid comes blurred, with the reason
//! `CONTENT_FILTERED`. Problems are `{"id", "name", "errors"}`.

use domain::order::Order;
use domain::upstream::{
    Call, Cursor, Fault, FaultClass, Next, Output, Part, Reply, Request, Source,
};
use serde_json::Value;

use crate::fault::{fault, is_moderation, nonsense, refusal_class, text_at};
use crate::queue::with_prompt;
use crate::{Context, Dialect};

/// The protocol.
pub(crate) struct Stability;

impl Dialect for Stability {
    fn start(&self, order: &Order, cx: &Context<'_>) -> Result<Call, Fault> {
        let fields = with_prompt(order, cx);
        let parts = fields.iter().map(|(name, value)| part(name, value));
        let url = format!("{}/v2beta/stable-image/{}", cx.base_url, cx.model);
        // Without this the reply would be the picture itself, its reason in a header.
        let request = Request::form(url, parts.collect()).header("accept", "application/json");
        Ok(Call::creates(request))
    }

    fn resume(
        &self,
        _order: &Order,
        _cx: &Context<'_>,
        _at: &Cursor,
        reply: &Reply,
    ) -> Result<Next, Fault> {
        let body = reply.json();
        if reply.status != 200 {
            return Err(complaint(reply, &body));
        }
        if text_at(&body, &["/finish_reason"]) == Some("CONTENT_FILTERED") {
            return Err(fault(FaultClass::Moderated, reply, None));
        }
        let image = text_at(&body, &["/image"]).ok_or_else(|| nonsense(reply))?;
        Ok(Next::Done(Output {
            sources: vec![Source::Inline(image.to_owned())],
            answer: None,
        }))
    }
}

fn part(name: &str, value: &Value) -> Part {
    let word = domain::mapping::word(value);
    match name {
        "image" => Part::file(name, name, word),
        _ => Part::text(name, word),
    }
}

fn complaint(reply: &Reply, body: &Value) -> Fault {
    let words = text_at(body, &["/errors/0", "/message"]);
    let is_forbidden =
        text_at(body, &["/name"]) == Some("content_moderation") || words.is_some_and(is_moderation);
    let class = match reply.status {
        400 | 403 if is_forbidden => FaultClass::Moderated,
        status => refusal_class(status),
    };
    fault(class, reply, words)
}
