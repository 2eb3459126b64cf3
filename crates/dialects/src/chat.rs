//! Chat in the form of the OpenAI API (`POST /chat/completions`), which many providers speak.

use domain::order::Order;
use domain::price::Usage;
use domain::upstream::{Answer, Output, Source};
use serde_json::{Map, Value, json};

/// The body of a chat request that is not streamed: the fields of the route, the conversation. The field
/// `image` of a route holds pictures that go with the prompt.
pub(crate) fn body(order: &Order, fields: &Map<String, Value>) -> Map<String, Value> {
    let mut body = fields.clone();
    let content = match body.remove("image") {
        Some(Value::Array(images)) => with_images(&order.prompt, &images),
        _ => Value::from(order.prompt.as_str()),
    };
    let messages = order.messages.clone();
    let messages = messages.unwrap_or_else(|| json!([{ "role": "user", "content": content }]));
    body.insert("messages".to_owned(), messages);
    body.insert("stream".to_owned(), Value::Bool(false));
    body
}

/// What a whole reply to an order answers; `None` where it has no answer.
pub(crate) fn output(order: &Order, reply: &Value) -> Option<Output> {
    let choice = reply.pointer("/choices/0")?;
    let message = choice.get("message")?;
    let text = text(message.get("content"));
    let sources = pictures(message);
    if text.is_none() && sources.is_empty() {
        return None;
    }
    let finish_reason = choice.get("finish_reason").and_then(Value::as_str);
    let answer = text.map(|text| Answer {
        usage: usage(reply).unwrap_or_else(|| estimate(order, &text)),
        finish_reason: finish_reason.unwrap_or("stop").to_owned(),
        text,
    });
    Some(Output { sources, answer })
}

/// A prompt with pictures.
fn with_images(prompt: &str, images: &[Value]) -> Value {
    let image = |url| json!({ "type": "image_url", "image_url": { "url": url } });
    let text = json!({ "type": "text", "text": prompt });
    std::iter::once(text)
        .chain(images.iter().map(image))
        .collect()
}

/// The text of a message: a string, or the text parts of a list.
fn text(content: Option<&Value>) -> Option<String> {
    match content? {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
            Some(texts.collect::<Vec<_>>().join(""))
        }
        _ => None,
    }
}

/// Pictures beside the text, as OpenRouter gives them: `images[].image_url.url`, `data:` URLs or links.
fn pictures(message: &Value) -> Vec<Source> {
    let images = message.get("images").and_then(Value::as_array);
    let urls = images.into_iter().flatten();
    let urls = urls.filter_map(|image| image.pointer("/image_url/url")?.as_str());
    urls.map(|url| match url.split_once(";base64,") {
        Some((_, base64)) => Source::Inline(base64.to_owned()),
        None => Source::Link(url.to_owned()),
    })
    .collect()
}

/// What was consumed; `None` where the provider does not say.
fn usage(reply: &Value) -> Option<Usage> {
    let count = |name: &str| reply.pointer(name).and_then(Value::as_u64);
    Some(Usage {
        input_tokens: count("/usage/prompt_tokens")?,
        output_tokens: count("/usage/completion_tokens")?,
    })
}

/// What was consumed where nobody says: an answer is never free because its usage got lost.
pub(crate) fn estimate(order: &Order, answer: &str) -> Usage {
    let tokens = |text: &str| u64::try_from(text.len().div_ceil(TOKEN_BYTES)).unwrap_or(u64::MAX);
    Usage {
        input_tokens: tokens(&order.prompt_text()),
        output_tokens: tokens(answer),
    }
}

/// Bytes of a token, as a rule of thumb for English.
const TOKEN_BYTES: usize = 4;
