//! A conversation in the form of the OpenAI API, taken apart for protocols that write it otherwise.
//!
//! Invariant: nothing is dropped silently. What those protocols have no word for here, such as the
//! call of a tool, is refused before anything is sent.

use domain::order::Order;
use domain::upstream::{Fault, FaultClass};
use serde_json::Value;

/// A conversation.
#[derive(Debug, PartialEq)]
pub(crate) struct Conversation {
    /// What the model is told beforehand, one paragraph per message.
    pub(crate) system: Vec<String>,
    /// What was said, in its order.
    pub(crate) turns: Vec<Turn>,
}

/// What one side said at once.
#[derive(Debug, PartialEq)]
pub(crate) struct Turn {
    /// Who said it.
    pub(crate) speaker: Speaker,
    /// What.
    pub(crate) pieces: Vec<Piece>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaker {
    /// The person who asks.
    User,
    /// The model that answers.
    Model,
}

/// A piece of a turn.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece {
    /// A text.
    Text(String),
    /// The bytes of a picture.
    Bytes(Bytes),
    /// A link to a picture.
    Link(String),
}

/// What a `data:` URL holds.
#[derive(Debug, PartialEq)]
pub(crate) struct Bytes {
    /// Its media type: `image/png`.
    pub(crate) mime: String,
    /// The bytes in base64.
    pub(crate) base64: String,
}

/// What a `data:` URL in base64 holds; `None` for anything else.
pub(crate) fn bytes_of(url: &str) -> Option<Bytes> {
    let (head, base64) = url.strip_prefix("data:")?.split_once(";base64,")?;
    // What follows the type are its parameters, which the protocols have no place for.
    let mime = head.split(';').next().unwrap_or_default();
    Some(Bytes {
        mime: mime.to_owned(),
        base64: base64.to_owned(),
    })
}

/// The conversation of an order; its prompt is one of a single turn.
///
/// # Errors
/// A message cannot be said in another form.
pub(crate) fn conversation(order: &Order) -> Result<Conversation, Fault> {
    let mut conversation = Conversation {
        system: Vec::new(),
        turns: Vec::new(),
    };
    let Some(Value::Array(messages)) = &order.messages else {
        conversation.turns.push(Turn {
            speaker: Speaker::User,
            pieces: vec![Piece::Text(order.prompt.clone())],
        });
        return Ok(conversation);
    };
    for (position, message) in messages.iter().enumerate() {
        let refuse = |wrong: &str| unsayable(position, wrong);
        if message
            .get("tool_calls")
            .is_some_and(|calls| !calls.is_null())
        {
            return Err(refuse("calls a tool, which is not possible here"));
        }
        let pieces = pieces(message.get("content")).map_err(refuse)?;
        let speaker = match message.get("role").and_then(Value::as_str) {
            Some("system" | "developer") => {
                conversation.system.extend(texts(pieces).map_err(refuse)?);
                continue;
            }
            Some("user") => Speaker::User,
            Some("assistant") => Speaker::Model,
            _ => return Err(refuse("has a role that is not possible here")),
        };
        // Some protocols refuse a turn that says nothing.
        if !pieces.is_empty() {
            conversation.turns.push(Turn { speaker, pieces });
        }
    }
    Ok(conversation)
}

fn unsayable(position: usize, wrong: &str) -> Fault {
    Fault::new(
        FaultClass::InvalidInput,
        format!("messages[{position}] {wrong}"),
    )
}

/// The pieces of a content: a text, or a list of parts.
fn pieces(content: Option<&Value>) -> Result<Vec<Piece>, &'static str> {
    let said = |text: &str| match text.is_empty() {
        true => None,
        false => Some(Piece::Text(text.to_owned())),
    };
    match content {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(said(text).into_iter().collect()),
        Some(Value::Array(parts)) => {
            let read = parts.iter().map(|part| {
                if let Some(text) = part.get("text").and_then(Value::as_str) {
                    return Ok(said(text));
                }
                picture(part).map(Some)
            });
            let read: Result<Vec<Option<Piece>>, _> = read.collect();
            Ok(read?.into_iter().flatten().collect())
        }
        Some(_) => Err("has a content that is not possible here"),
    }
}

/// `{"type": "image_url", "image_url": {"url"}}`; the link may stand there by itself.
fn picture(part: &Value) -> Result<Piece, &'static str> {
    let place = part.get("image_url");
    let url = place.and_then(|place| place.get("url").unwrap_or(place).as_str());
    let url = url.ok_or("has a part that is neither a text nor a picture")?;
    if url.starts_with("data:") {
        let bytes = bytes_of(url).ok_or("has a `data:` URL that is not in base64")?;
        return Ok(Piece::Bytes(bytes));
    }
    Ok(Piece::Link(url.to_owned()))
}

/// The texts, where there is nothing else.
fn texts(pieces: Vec<Piece>) -> Result<Vec<String>, &'static str> {
    let texts = pieces.into_iter().map(|piece| match piece {
        Piece::Text(text) => Ok(text),
        Piece::Bytes(_) | Piece::Link(_) => Err("tells the model a picture, not a text"),
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use domain::order::Modality;
    use serde_json::{Map, json};

    use super::*;

    fn of(messages: Value) -> Result<Conversation, Fault> {
        conversation(&Order {
            model: "catalogue.id".to_owned(),
            modality: Modality::Chat,
            prompt: String::new(),
            messages: Some(messages),
            params: Map::new(),
            scenario: None,
        })
    }

    #[test]
    fn texts_and_pictures_are_told_apart() {
        let found = of(json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                {"type": "image_url", "image_url": "data:image/png;base64,AAAA"},
            ]},
            {"role": "assistant", "content": ""},
        ]));
        let found = found.expect("it can be said");
        assert_eq!(found.system, ["Be brief."]);
        assert_eq!(found.turns.len(), 1);
        let bytes = Bytes {
            mime: "image/png".to_owned(),
            base64: "AAAA".to_owned(),
        };
        let pieces = [
            Piece::Text("What is this?".to_owned()),
            Piece::Link("https://example.com/a.png".to_owned()),
            Piece::Bytes(bytes),
        ];
        assert_eq!(
            found.turns.first().map(|turn| &turn.pieces[..]),
            Some(&pieces[..])
        );
    }

    #[test]
    fn what_cannot_be_said_is_refused_with_its_place() {
        for message in [
            json!({"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]}),
            json!({"role": "tool", "content": "42"}),
            json!({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}),
            json!({"role": "user", "content": [{"image_url": {"url": "data:text/plain,a"}}]}),
            json!({"role": "system", "content": [{"image_url": "https://example.com/a.png"}]}),
        ] {
            let fault = of(json!([{"role": "user", "content": "x"}, message])).unwrap_err();
            assert_eq!(fault.class, FaultClass::InvalidInput);
            assert!(fault.public.starts_with("messages[1] "), "{}", fault.public);
        }
    }
}
