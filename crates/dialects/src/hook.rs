//! Webhooks of providers: where our URL goes in a creating request, where a delivery names the work, and
//! how it is signed.
//!
//! Invariant: a delivery names work and nothing more. How the work stands is only ever read.

use domain::mapping::word;
use domain::upstream::{Body, Request};
use domain::webhook::Scheme;
use serde_json::{Value, json};
use url::form_urlencoded::byte_serialize;

/// Longest id of work that is taken from a delivery, in bytes.
const ID_BYTES_MAX: usize = 200;

/// The webhooks of one protocol.
#[derive(Debug, PartialEq, Eq)]
pub struct Hook {
    /// Where our URL goes.
    pub(crate) place: Place,
    /// Where a delivery may name the work: JSON pointers, the first that is there counts.
    pub(crate) id: &'static [&'static str],
    /// The form of an id that becomes part of a path, in which `*` is any one name; without one, every id
    /// will do. What has another form does not name the work.
    pub(crate) form: Option<&'static str>,
    /// How deliveries are signed, where the provider can.
    pub scheme: Option<Scheme>,
    /// The field of a first delivery whose value has to be sent back, where there is such a delivery.
    pub(crate) challenge: Option<&'static str>,
}

/// A place in a creating request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A field of the body.
    Field(&'static str),
    /// A list of URLs, the second name, in an object of the body, the first.
    List(&'static str, &'static str),
    /// A parameter of the URL.
    Query(&'static str),
}

impl Hook {
    /// Unsigned, in a field of the body.
    pub(crate) const fn field(name: &'static str, id: &'static [&'static str]) -> Self {
        Self {
            place: Place::Field(name),
            id,
            form: None,
            scheme: None,
            challenge: None,
        }
    }

    /// The same, signed.
    pub(crate) const fn signed(mut self, scheme: Scheme) -> Self {
        self.scheme = Some(scheme);
        self
    }

    /// The request with our URL in it.
    pub(crate) fn placed(&self, mut request: Request, url: &str) -> Request {
        match (&self.place, &mut request.body) {
            (Place::Field(name), Some(Body::Json(Value::Object(fields)))) => {
                fields.insert((*name).to_owned(), Value::from(url));
            }
            (Place::List(name, list), Some(Body::Json(Value::Object(fields)))) => {
                fields.insert((*name).to_owned(), json!({ *list: [url] }));
            }
            (Place::Field(_) | Place::List(..), _) => {}
            (Place::Query(name), _) => {
                let mark = if request.url.contains('?') { '&' } else { '?' };
                let value: String = byte_serialize(url.as_bytes()).collect();
                request.url = format!("{}{mark}{name}={value}", request.url);
            }
        }
        request
    }

    /// The provider's id of the work a delivery is about: visible ASCII of at most 200 bytes.
    #[must_use]
    pub fn work(&self, delivery: &Value) -> Option<String> {
        let named = self.id.iter().find_map(|place| delivery.pointer(place))?;
        let id = word(named);
        let is_sound = !id.is_empty()
            && id.len() <= ID_BYTES_MAX
            && id.bytes().all(|byte| byte.is_ascii_graphic())
            && self.form.is_none_or(|form| has_form(&id, form));
        (is_sound && (named.is_string() || named.is_number())).then_some(id)
    }

    /// The reply to a delivery that only asks whether anybody is there.
    #[must_use]
    pub fn echo(&self, delivery: &Value) -> Option<Value> {
        let name = self.challenge?;
        let value = delivery.get(name)?;
        Some(json!({ name: value }))
    }
}

/// Whether a path has a form; a step up or none is no name.
fn has_form(path: &str, form: &str) -> bool {
    let (mut names, mut wanted) = (path.split('/'), form.split('/'));
    let is_name = |name: &str| !matches!(name, "" | "." | "..");
    wanted.all(|wanted| {
        let name = names.next().filter(|name| is_name(name));
        name.is_some_and(|name| wanted == "*" || name == wanted)
    }) && names.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOOK: Hook = Hook {
        challenge: Some("challenge"),
        ..Hook::field("callback_url", &["/data/id", "/id"])
    };

    #[test]
    fn work_is_named_by_the_first_place_with_a_sound_id() {
        let work = |delivery| HOOK.work(&delivery);
        assert_eq!(work(json!({ "id": "b" })), Some("b".to_owned()));
        let both = json!({ "data": { "id": 7 }, "id": "b" });
        assert_eq!(work(both), Some("7".to_owned()));
        for unsound in [
            json!(""),
            json!("a b"),
            json!("a\u{0}"),
            json!(null),
            json!(["x"]),
        ] {
            assert_eq!(work(json!({ "id": unsound })), None);
        }
        assert_eq!(work(json!({ "id": "x".repeat(201) })), None);
        assert_eq!(work(json!("id")), None);
    }

    #[test]
    fn an_id_that_becomes_a_path_has_the_form_of_one() {
        let hook = Hook {
            form: Some("models/*/operations/*"),
            ..HOOK
        };
        let work = |id: &str| hook.work(&json!({ "id": id }));
        let named = "models/veo-3.1/operations/op1";
        assert_eq!(work(named), Some(named.to_owned()));
        for other in [
            "op1",
            "operations/op1",
            "models/veo-3.1/operations/",
            "models//operations/op1",
            "models/../operations/op1",
            "models/veo-3.1/operations/..",
            "models/veo-3.1/operations/op1/x",
            "/models/veo-3.1/operations/op1",
            "files/veo-3.1/operations/op1",
        ] {
            assert_eq!(work(other), None, "{other}");
        }
    }

    #[test]
    fn the_url_goes_where_the_protocol_has_it() {
        let request = || Request::post("https://p.test/v1?a=1", json!({ "prompt": "a fox" }));
        let placed = HOOK.placed(request(), "https://us.test/h");
        assert_eq!(placed.json().unwrap()["callback_url"], "https://us.test/h");
        let query = Hook {
            place: Place::Query("fal_webhook"),
            ..HOOK
        };
        let placed = query.placed(request(), "https://us.test/h");
        let expected = "https://p.test/v1?a=1&fal_webhook=https%3A%2F%2Fus.test%2Fh";
        assert_eq!(placed.url, expected);
        let list = Hook {
            place: Place::List("webhookConfig", "uris"),
            ..HOOK
        };
        let placed = list.placed(request(), "https://us.test/h");
        let expected =
            json!({ "prompt": "a fox", "webhookConfig": { "uris": ["https://us.test/h"] } });
        assert_eq!(placed.json(), Some(&expected));
    }

    #[test]
    fn a_challenge_is_sent_back() {
        let asked = json!({ "challenge": "abc", "more": 1 });
        assert_eq!(HOOK.echo(&asked), Some(json!({ "challenge": "abc" })));
        assert_eq!(HOOK.echo(&json!({ "id": "b" })), None);
        let silent = Hook::field("callback_url", &["/id"]);
        assert_eq!(silent.echo(&asked), None);
    }
}
