//! Upstream wire protocols as pure translators: an order becomes a request, a reply becomes the next
//! step.
//!
//! Invariant: no input or output, no secrets, no retries, no clocks. All of that lives once, in the
//! engine.

mod a1111;
mod anthropic;
mod ark;
mod ark_images;
mod bfl;
mod chat;
mod comfyui;
mod conversation;
mod dashscope;
mod dashscope_images;
mod fal;
mod fault;
mod gemini;
mod gemini_veo;
mod hook;
mod kie;
mod kie_4o;
mod kie_chat;
mod kie_claude;
mod kie_files;
mod kie_kontext;
mod kie_responses;
mod kie_runway;
mod kie_veo;
mod kling;
mod luma;
mod luma_agents;
mod minimax;
mod minimax_images;
mod openai_chat;
mod openai_images;
mod openrouter_video;
mod queue;
mod replicate;
mod runway;
mod sandbox;
mod stability;

use std::sync::LazyLock;

use domain::order::Order;
use domain::upstream::{Call, Cursor, Fault, Next, Reply, Wait};
use serde_json::{Map, Value};

pub use hook::Hook;
use kie_files::Kie;

/// What a dialect may know about the attempt it speaks for.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// Start of every URL, without a slash at the end.
    pub base_url: &'a str,
    /// The model's name at the provider.
    pub model: &'a str,
    /// The attempt's token: our own reference, put wherever the provider takes one.
    pub token: &'a str,
    /// Where the provider may tell us of the work; only where work is started, and only where it can
    /// reach us.
    pub webhook: Option<&'a str>,
    /// The order's parameters in the provider's words, as the catalogue's route says them; only where
    /// work is started.
    pub fields: &'a Map<String, Value>,
}

/// A file of ours that a provider is to have.
#[derive(Debug, Clone, Copy)]
pub struct InputFile<'a> {
    /// Start of the URLs of the provider's upload, without a slash at the end.
    pub upload_url: &'a str,
    /// A name that no other file has, with its ending.
    pub name: &'a str,
    /// Its size.
    pub bytes: u64,
    /// The file as a `data:` URL in base64.
    pub content: &'a str,
}

/// No fields: the context of every call after the first.
pub static NOTHING: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

/// One wire protocol.
pub trait Dialect: Send + Sync {
    /// The first call for an order.
    ///
    /// # Errors
    /// The order cannot be said in this protocol.
    fn start(&self, order: &Order, cx: &Context<'_>) -> Result<Call, Fault>;

    /// What follows the reply to the call that carried `at`.
    ///
    /// # Errors
    /// What the provider complains about; `Ambiguous` when the reply makes no sense.
    fn resume(
        &self,
        order: &Order,
        cx: &Context<'_>,
        at: &Cursor,
        reply: &Reply,
    ) -> Result<Next, Fault>;

    /// A call that asks for the work of this attempt by our reference; `None` where that is not
    /// possible. Its reply goes to [`Dialect::resume`], which says `NotFound` if there is none.
    fn find(&self, _order: &Order, _cx: &Context<'_>) -> Option<Call> {
        None
    }

    /// A call that cancels the work `at` stands for; `None` where that is not possible. A reply with
    /// status 2xx confirms that nothing will be charged.
    fn cancel(&self, _order: &Order, _cx: &Context<'_>, _at: &Cursor) -> Option<Call> {
        None
    }

    /// A call that gives the provider a file of ours before work is started; `None` where it takes
    /// none. It may be made again: it only reads, as far as money is concerned.
    fn upload(&self, _file: &InputFile<'_>, _cx: &Context<'_>) -> Option<Call> {
        None
    }

    /// The link that the provider knows the file by.
    ///
    /// # Errors
    /// What the provider complains about; `Ambiguous` when the reply makes no sense.
    fn uploaded(&self, reply: &Reply) -> Result<String, Fault> {
        Err(fault::nonsense(reply))
    }

    /// How the provider tells us of its work; `None` where it does not. Its URL is in
    /// [`Context::webhook`].
    fn hook(&self) -> Option<&'static Hook> {
        None
    }

    /// Goes on with work whose acceptance was lost, by the provider's id that its webhook named.
    fn adopt(&self, _order: &Order, _cx: &Context<'_>, _work: &str) -> Option<Wait> {
        None
    }
}

/// The dialect of a name in a provider file.
#[must_use]
pub fn dialect(name: &str) -> Option<&'static dyn Dialect> {
    let found = DIALECTS.iter().find(|(known, _)| *known == name);
    found.map(|(_, dialect)| *dialect)
}

/// Every dialect by name; one line each.
pub const DIALECTS: &[(&str, &dyn Dialect)] = &[
    ("a1111", &a1111::A1111),
    ("anthropic", &anthropic::Anthropic),
    ("ark", &queue::Queue(&ark::ARK)),
    ("ark_images", &ark_images::ArkImages),
    ("bfl", &queue::Queue(&bfl::BFL)),
    ("comfyui", &comfyui::ComfyUi),
    ("dashscope", &queue::Queue(&dashscope::DASHSCOPE)),
    ("dashscope_images", &dashscope_images::DashscopeImages),
    ("fal", &queue::Queue(&fal::FAL)),
    ("gemini", &gemini::Gemini),
    ("gemini_veo", &queue::Queue(&gemini_veo::VEO)),
    ("kie", &Kie(queue::Queue(&kie::MARKET))),
    ("kie_4o", &Kie(queue::Queue(&kie_4o::PICTURES))),
    ("kie_chat", &Kie(kie_chat::KieChat)),
    ("kie_claude", &Kie(kie_claude::KieClaude)),
    ("kie_kontext", &Kie(queue::Queue(&kie_kontext::KONTEXT))),
    ("kie_responses", &Kie(kie_responses::KieResponses)),
    ("kie_runway", &Kie(queue::Queue(&kie_runway::RUNWAY))),
    ("kie_veo", &Kie(queue::Queue(&kie_veo::VEO))),
    ("kling", &queue::Queue(&kling::KLING)),
    ("luma", &queue::Queue(&luma::LUMA)),
    ("luma_agents", &queue::Queue(&luma_agents::AGENTS)),
    ("minimax", &queue::Queue(&minimax::MINIMAX)),
    ("minimax_images", &minimax_images::MinimaxImages),
    ("openai_chat", &openai_chat::OpenAiChat),
    ("openai_images", &openai_images::OpenAiImages),
    ("openrouter_video", &queue::Queue(&openrouter_video::VIDEO)),
    ("replicate", &queue::Queue(&replicate::REPLICATE)),
    ("runway", &queue::Queue(&runway::TASKS)),
    ("sandbox", &sandbox::Sandbox),
    ("stability", &stability::Stability),
];
