//! Pictures of OpenAI and of servers that speak its protocol, such as stable-diffusion.cpp
//! (openai/openai-openapi, `POST /images/generations` and, with pictures to start from,
//! `POST /images/edits` as a form).
//!
//! The field `image` of a route holds the pictures as `data:` URLs. A reply ends the work:
//! `data[].b64_json`, or `data[].url` on servers that give links.

use domain::order::Order;
use domain::upstream::{Call, Cursor, Fault, Next, Output, Part, Reply, Request, Source};
use serde_json::{Map, Value};

use crate::a1111::check_prompt;
use crate::fault::nonsense;
use crate::openai_chat::complaint;
use crate::queue::with_prompt;
use crate::{Context, Dialect};

/// The protocol.
pub(crate) struct OpenAiImages;

impl Dialect for OpenAiImages {
    fn start(&self, order: &Order, cx: &Context<'_>) -> Result<Call, Fault> {
        check_prompt(order)?;
        let mut fields = with_prompt(order, cx);
        fields.insert("model".to_owned(), Value::from(cx.model));
        let request = match fields.remove("image") {
            Some(Value::Array(images)) => Request::form(
                format!("{}/images/edits", cx.base_url),
                form(&fields, &images),
            ),
            _ => Request::post(
                format!("{}/images/generations", cx.base_url),
                Value::Object(fields),
            ),
        };
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
        let items = body.get("data").and_then(Value::as_array);
        let sources: Option<Vec<Source>> = items.into_iter().flatten().map(source).collect();
        match sources {
            Some(sources) if !sources.is_empty() => Ok(Next::Done(Output {
                sources,
                answer: None,
            })),
            _ => Err(nonsense(reply)),
        }
    }
}

fn form(fields: &Map<String, Value>, images: &[Value]) -> Vec<Part> {
    let text = |(name, value): (&String, &Value)| Part::text(name, domain::mapping::word(value));
    let mut parts: Vec<Part> = fields.iter().map(text).collect();
    for (n, image) in images.iter().filter_map(Value::as_str).enumerate() {
        parts.push(Part::file("image[]", format!("image-{n}"), image));
    }
    parts
}

/// What one item of `data` holds.
pub(crate) fn source(item: &Value) -> Option<Source> {
    let text = |name: &str| item.get(name)?.as_str().map(str::to_owned);
    let inline = text("b64_json").map(Source::Inline);
    inline.or_else(|| text("url").map(Source::Link))
}
