//! Pictures of ModelArk (docs.byteplus.com, ModelArk, image generation API).
//!
//! `POST /images/generations` looks like OpenAI's, but pictures to start from are in the same request,
//! as links or `data:` URLs in `image`. A reply ends the work: `data[]` has a `url`, `b64_json` or an
//! `error` for each picture. Errors are those of the video tasks.

use domain::order::Order;
use domain::upstream::{Call, Cursor, Fault, Next, Output, Reply, Request, Source};
use serde_json::{Value, json};

use crate::ark::{complaint, failure_class, refused};
use crate::fault::nonsense;
use crate::openai_images::source;
use crate::queue::with_prompt;
use crate::{Context, Dialect};

/// The protocol.
pub(crate) struct ArkImages;

impl Dialect for ArkImages {
    fn start(&self, order: &Order, cx: &Context<'_>) -> Result<Call, Fault> {
        let mut body = with_prompt(order, cx);
        body.insert("model".to_owned(), json!(cx.model));
        let url = format!("{}/images/generations", cx.base_url);
        Ok(Call::creates(Request::post(url, Value::Object(body))))
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
            return Err(refused(reply, &body));
        }
        let items = body.get("data").and_then(Value::as_array);
        let items = items.into_iter().flatten();
        // Of several pictures some may fail.
        let sources: Vec<Source> = items.clone().filter_map(source).collect();
        if !sources.is_empty() {
            return Ok(Next::Done(Output {
                sources,
                answer: None,
            }));
        }
        let mut errors = items.chain([&body]);
        let failed = errors.find(|item| item.get("error").is_some_and(Value::is_object));
        Err(match failed {
            Some(item) => complaint(reply, item, failure_class(item)),
            None => nonsense(reply),
        })
    }
}
