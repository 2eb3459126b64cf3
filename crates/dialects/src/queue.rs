//! The helper for protocols of the form "POST, get an id, GET its state, read the result".
//!
//! Invariant: a profile says where things stand and what words mean; when to ask again, and what a
//! silence means, is said here, once.

use domain::order::Order;
use domain::upstream::{
    Call, Cursor, Fault, FaultClass, Kind, Next, Output, Reply, Request, Source, Wait,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::form_urlencoded::byte_serialize;

use crate::fault::{fault, nonsense};
use crate::hook::Hook;
use crate::{Context, Dialect};

/// What one protocol of the kind has of its own.
pub(crate) struct Profile {
    /// The creating request.
    pub(crate) submit: fn(&Order, &Context<'_>) -> Result<Request, Fault>,
    /// Reads the reply to it.
    pub(crate) created: fn(&Reply) -> Result<Ticket, Fault>,
    /// The request that asks how the work stands.
    pub(crate) poll: fn(&Context<'_>, &Ticket) -> Request,
    /// Reads the reply to it.
    pub(crate) state: fn(&Reply) -> Result<State, Fault>,
    /// The ticket of work under our own reference, where the provider takes that in place of its id.
    pub(crate) find: Option<fn(&Context<'_>) -> Ticket>,
    /// The request that cancels, where there is one whose success means that nothing is charged.
    pub(crate) cancel: Option<fn(&Context<'_>, &Ticket) -> Request>,
    /// How a result that is not in the state itself is asked for and read.
    pub(crate) result: Option<ResultStep>,
    /// How the provider tells us of its work, where it does.
    pub(crate) hook: Option<Hook>,
    /// Time between two polls, in milliseconds.
    pub(crate) pause_ms: u64,
    /// How many polls in a row may not find the work before that is believed: some providers answer
    /// so just after they have accepted it.
    pub(crate) grace: u32,
}

/// The read of a result apart from the state.
pub(crate) struct ResultStep {
    /// The request for it.
    pub(crate) request: fn(&Context<'_>, &Ticket) -> Request,
    /// Reads the reply to it.
    pub(crate) read: fn(&Reply) -> Result<Output, Fault>,
}

/// What is remembered of accepted work.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Ticket {
    /// The upstream's id.
    pub(crate) id: String,
    /// Where its state is, where the provider names the place.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) state_url: String,
    /// Where its result is, where the provider names the place.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) result_url: String,
    /// The id of its result, where that is not the id of the work.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) result_id: String,
    /// Whether the state said that the result is there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_ready: bool,
    /// Polls in a row that did not find it.
    #[serde(default, skip_serializing_if = "is_zero")]
    missing: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Ticket {
    /// The ticket of an id.
    pub(crate) fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            ..Self::default()
        }
    }
}

/// How the work stands.
pub(crate) enum State {
    /// Not finished; how far, 0 to 1, where the provider tells.
    Working(Option<f64>),
    /// Finished.
    Done(Output),
    /// Finished; the result has to be asked for.
    Ready,
    /// Finished; the result has to be asked for by this id.
    ReadyAs(String),
}

/// A protocol by its profile.
pub(crate) struct Queue(pub(crate) &'static Profile);

impl Queue {
    fn read(&self, cx: &Context<'_>, ticket: &Ticket) -> Call {
        let request = match &self.0.result {
            Some(result) if ticket.is_ready => (result.request)(cx, ticket),
            _ => (self.0.poll)(cx, ticket),
        };
        Call {
            request,
            at: Cursor(serde_json::to_value(ticket).unwrap_or_default()),
            kind: Kind::Reads,
        }
    }

    fn ready(&self, cx: &Context<'_>, mut ticket: Ticket) -> Next {
        ticket.is_ready = true;
        Next::Call(self.read(cx, &ticket))
    }

    fn wait(&self, cx: &Context<'_>, ticket: &Ticket, progress: Option<f64>) -> Wait {
        Wait {
            ms: self.0.pause_ms,
            then: self.read(cx, ticket),
            upstream_id: None,
            progress,
        }
    }
}

impl Dialect for Queue {
    fn start(&self, order: &Order, cx: &Context<'_>) -> Result<Call, Fault> {
        let request = (self.0.submit)(order, cx)?;
        Ok(Call::creates(match (&self.0.hook, cx.webhook) {
            (Some(hook), Some(url)) => hook.placed(request, url),
            _ => request,
        }))
    }

    fn resume(
        &self,
        _order: &Order,
        cx: &Context<'_>,
        at: &Cursor,
        reply: &Reply,
    ) -> Result<Next, Fault> {
        if at.0.is_null() {
            let ticket = (self.0.created)(reply)?;
            if ticket.id.is_empty() {
                return Err(nonsense(reply));
            }
            let mut wait = self.wait(cx, &ticket, None);
            wait.upstream_id = Some(ticket.id);
            return Ok(Next::Wait(wait));
        }
        let ticket: Ticket = serde_json::from_value(at.0.clone()).map_err(|_| nonsense(reply))?;
        if let (true, Some(result)) = (ticket.is_ready, &self.0.result) {
            return (result.read)(reply).map(Next::Done);
        }
        let found = Ticket {
            missing: 0,
            ..ticket.clone()
        };
        match (self.0.state)(reply) {
            Ok(State::Done(output)) => Ok(Next::Done(output)),
            Ok(State::Working(progress)) => Ok(Next::Wait(self.wait(cx, &found, progress))),
            Ok(State::Ready) => Ok(self.ready(cx, found)),
            Ok(State::ReadyAs(result_id)) => Ok(self.ready(cx, Ticket { result_id, ..found })),
            Err(fault) if fault.class == FaultClass::NotFound && ticket.missing < self.0.grace => {
                let missing = ticket.missing.saturating_add(1);
                Ok(Next::Wait(self.wait(
                    cx,
                    &Ticket { missing, ..ticket },
                    None,
                )))
            }
            Err(fault) => Err(fault),
        }
    }

    fn find(&self, _order: &Order, cx: &Context<'_>) -> Option<Call> {
        let find = self.0.find?;
        // Nobody said that it was accepted, so that it is missing is told at once.
        let ticket = Ticket {
            missing: self.0.grace,
            ..find(cx)
        };
        Some(self.read(cx, &ticket))
    }

    fn cancel(&self, _order: &Order, cx: &Context<'_>, at: &Cursor) -> Option<Call> {
        let cancel = self.0.cancel?;
        let ticket: Ticket = serde_json::from_value(at.0.clone()).ok()?;
        Some(Call {
            request: cancel(cx, &ticket),
            at: at.clone(),
            kind: Kind::Reads,
        })
    }

    fn hook(&self) -> Option<&'static Hook> {
        self.0.hook.as_ref()
    }

    fn adopt(&self, _order: &Order, cx: &Context<'_>, work: &str) -> Option<Wait> {
        self.0.hook.as_ref()?;
        Some(Wait {
            ms: 0,
            upstream_id: Some(work.to_owned()),
            ..self.wait(cx, &Ticket::new(work), None)
        })
    }
}

/// The route's fields with the prompt among them, unless the route says `prompt = { constant = false }`:
/// what only enlarges a picture has no place for one.
pub(crate) fn with_prompt(order: &Order, cx: &Context<'_>) -> Map<String, Value> {
    let mut fields = cx.fields.clone();
    if fields.get("prompt") == Some(&Value::Bool(false)) {
        fields.remove("prompt");
        return fields;
    }
    if !order.prompt.is_empty() && !fields.contains_key("prompt") {
        fields.insert("prompt".to_owned(), Value::from(order.prompt.as_str()));
    }
    fields
}

/// Links as what was made.
///
/// # Errors
/// There is none: the work is over and has come to nothing.
pub(crate) fn made<'v>(
    reply: &Reply,
    links: impl IntoIterator<Item = &'v str>,
) -> Result<Output, Fault> {
    let link = |link: &str| Source::Link(link.to_owned());
    let sources: Vec<Source> = links.into_iter().map(link).collect();
    if sources.is_empty() {
        return Err(fault(
            FaultClass::Failed,
            reply,
            Some("a success without a file"),
        ));
    }
    Ok(Output {
        sources,
        answer: None,
    })
}

/// An id as part of a URL.
pub(crate) fn escaped(id: &str) -> String {
    byte_serialize(id.as_bytes()).collect()
}
