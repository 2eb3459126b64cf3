//! Pictures of Alibaba's Model Studio that are answered at once (alibabacloud.com/help/en/model-studio,
//! Qwen-Image and Wan 2.7 image).
//!
//! `POST /services/aigc/multimodal-generation/generation` with one message of a user, whose content is
//! pictures and a text, ends the work: `output.choices[].message.content[].image`. The field `image` of a
//! route holds the pictures as links or `data:` URLs. Errors are those of the videos.

use domain::order::Order;
use domain::upstream::{Call, Cursor, Fault, Next, Reply, Request};
use serde_json::{Value, json};

use crate::dashscope::refused;
use crate::fault::{nonsense, text_at};
use crate::queue::made;
use crate::{Context, Dialect};

/// The protocol.
pub(crate) struct DashscopeImages;

impl Dialect for DashscopeImages {
    fn start(&self, order: &Order, cx: &Context<'_>) -> Result<Call, Fault> {
        let mut body = cx.fields.clone();
        let mut content = Vec::new();
        if let Some(Value::Array(images)) = body.remove("image") {
            content.extend(images.into_iter().map(|image| json!({ "image": image })));
        }
        content.push(json!({ "text": order.prompt }));
        let input = json!({ "messages": [{ "role": "user", "content": content }] });
        body.insert("input".to_owned(), input);
        body.insert("model".to_owned(), json!(cx.model));
        let base = cx.base_url;
        let url = format!("{base}/services/aigc/multimodal-generation/generation");
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
        if reply.status != 200 || text_at(&body, &["/code"]).is_some() {
            return Err(refused(reply, &body));
        }
        let choices = body.pointer("/output/choices").and_then(Value::as_array);
        let contents = choices.into_iter().flatten();
        let contents = contents.filter_map(|choice| choice.pointer("/message/content")?.as_array());
        let parts = contents.flatten();
        let links: Vec<&str> = parts
            .filter_map(|part| part.get("image")?.as_str())
            .collect();
        if links.is_empty() {
            return Err(nonsense(reply));
        }
        made(reply, links).map(Next::Done)
    }
}
