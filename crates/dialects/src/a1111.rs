//! Pictures of AUTOMATIC1111's web UI, of Forge, and of what speaks their API (`modules/api/api.py`).
//!
//! `POST /sdapi/v1/txt2img`, or `/sdapi/v1/img2img` where the route's field `init_images` holds pictures.
//! The call stays open for the whole render, and its reply ends the work: `images[]` in base64. The
//! model's name is a checkpoint; `default` stands for the one that is loaded. A server that was started
//! with `--api-auth` wants its `user:password`.
//!
//! Errors are `{"error", "detail", "errors"}`, those of the validation `{"detail": [{"loc", "msg"}]}`.

use domain::order::Order;
use domain::upstream::{
    Auth, Call, Cursor, Fault, FaultClass, Next, Output, Reply, Request, Source,
};
use serde_json::{Map, Value};

use crate::fault::{fault, nonsense, refusal_class, text_at};
use crate::queue::with_prompt;
use crate::{Context, Dialect};

/// The protocol.
pub(crate) struct A1111;

/// The name of whatever checkpoint is loaded.
const LOADED: &str = "default";

impl Dialect for A1111 {
    fn start(&self, order: &Order, cx: &Context<'_>) -> Result<Call, Fault> {
        check_prompt(order)?;
        let mut fields = with_prompt(order, cx);
        if !matches!(cx.model, "" | LOADED) {
            let settings = fields.entry("override_settings");
            let settings = settings.or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(settings) = settings {
                settings.insert("sd_model_checkpoint".to_owned(), Value::from(cx.model));
            }
        }
        let verb = match fields.contains_key("init_images") {
            true => "img2img",
            false => "txt2img",
        };
        let url = format!("{}/sdapi/v1/{verb}", cx.base_url);
        let request = Request::post(url, Value::Object(fields)).auth(Auth::Basic);
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
        let Some(images) = body.get("images").and_then(Value::as_array) else {
            return Err(nonsense(reply));
        };
        let inline = |image: &Value| image.as_str().map(|text| Source::Inline(bare(text)));
        let sources: Option<Vec<Source>> = images.iter().map(inline).collect();
        match sources {
            Some(sources) if !sources.is_empty() => Ok(Next::Done(Output {
                sources,
                answer: None,
            })),
            // The work is over: what was interrupted comes back without a picture.
            Some(_) => Err(fault(
                FaultClass::Failed,
                reply,
                Some("a success without a file"),
            )),
            None => Err(nonsense(reply)),
        }
    }
}

/// Refuses what stable-diffusion.cpp takes out of a prompt and obeys: settings of the server, which are
/// not the user's to choose.
pub(crate) fn check_prompt(order: &Order) -> Result<(), Fault> {
    match order.prompt.to_lowercase().contains("<sd_cpp_extra_args") {
        true => Err(Fault::new(
            FaultClass::InvalidInput,
            "the prompt must not contain <sd_cpp_extra_args>",
        )),
        false => Ok(()),
    }
}

/// Some builds answer `data:` URLs.
fn bare(image: &str) -> String {
    let base64 = image.split_once(";base64,").map(|(_, base64)| base64);
    base64.unwrap_or(image).to_owned()
}

fn complaint(reply: &Reply, body: &Value) -> Fault {
    let words = text_at(body, &["/detail/0/msg", "/detail", "/errors", "/error"]);
    // The render itself says what stopped it, such as a lack of memory; a proxy on the way does not.
    let is_of_render = body.get("error").is_some_and(Value::is_string);
    let class = match reply.status {
        500 if is_of_render => FaultClass::Failed,
        status => refusal_class(status),
    };
    fault(class, reply, words)
}
