//! The send procedure: connect, commit intent, write, read one reply, commit its class.
//!
//! Invariant: no byte of a creating call leaves before its intent is committed, nor after the moment
//! to send has passed, nor when the lease is in doubt. After intent, silence means unknown.

use dialects::Context;
use domain::catalogue::SANDBOX;
use domain::ids::{AttemptId, TaskId};
use domain::order::Order;
use domain::signing::attempt_token;
use domain::task::{Attempt, Outcome, Task};
use domain::upstream::{Call, Fault, FaultClass, Kind, Next};
use serde_json::{Map, Value};
use tokio::sync::SemaphorePermit;

use super::Worker;
use super::admit::verdict;
use super::converse::followed;
use super::inputs::Prepared;
use super::step::Upstream;
use crate::clock::Moment;
use crate::net::{Connection, Outgoing, SendError};
use crate::store::work::Claim;
use crate::traffic::{Pass, Verdict};

/// No first byte leaves later than this after intent, in milliseconds. Well below a lease, so that
/// nobody else can be at work on the task by then.
const SEND_BY_MS: i64 = 5_000;

/// Most calls that prepare a creating one, such as uploads.
const PREPARATIONS_MAX: u32 = 20;

/// What came of a send, and what it says about the provider and the credential.
struct Sent {
    outcome: Outcome,
    /// `None` when it says nothing about either.
    verdict: Option<Verdict>,
}

impl Sent {
    fn silent(outcome: Outcome) -> Self {
        Self {
            outcome,
            verdict: None,
        }
    }

    fn with(verdict: Verdict, outcome: Outcome) -> Self {
        Self {
            outcome,
            verdict: Some(verdict),
        }
    }

    fn judged(fault: &Fault, outcome: Outcome) -> Self {
        Self::with(verdict(fault), outcome)
    }
}

impl Worker {
    /// Starts a queued task the way it was let in. `None` when the task is no longer ours.
    pub(super) async fn start(&self, claim: &mut Claim, mut pass: Pass) -> Option<Outcome> {
        let id = AttemptId::mint(&self.entropy.bytes());
        let began_ms = self.clock.now_ms();
        let secret = self.secret.as_bytes();
        let token = attempt_token(secret, claim.task.id.as_str(), id.as_str());
        let attempt = Attempt {
            id,
            route: pass.route,
            credential: pass.credential.clone(),
            token,
            began_ms,
            send_by_ms: began_ms.saturating_add(SEND_BY_MS),
            sends: 1,
            lookups: 0,
            is_dirty: false,
            prompt: None,
        };
        let sent = self.send(claim, attempt, Some(&mut pass)).await?;
        match &sent.verdict {
            Some(verdict) => pass.judged(verdict, self.clock.now_ms()),
            None => drop(pass),
        }
        Some(sent.outcome)
    }

    /// Sends an unanswered attempt again with the same key, to a provider that honours it.
    pub(super) async fn resend(&self, claim: &mut Claim, attempt: Attempt) -> Option<Outcome> {
        let attempt = Attempt {
            sends: attempt.sends.saturating_add(1),
            ..attempt
        };
        let sent = self.send(claim, attempt, None).await?;
        if let Some(verdict) = &sent.verdict {
            self.learn(&claim.task, verdict);
        }
        Some(sent.outcome)
    }

    async fn send(
        &self,
        claim: &mut Claim,
        mut attempt: Attempt,
        pass: Option<&mut Pass>,
    ) -> Option<Sent> {
        let mut task = claim.task.clone();
        if let Err(fault) = self.translate(&mut task, &mut attempt).await {
            return Some(Sent::silent(Outcome::Unsent(fault)));
        }
        let upstream = match self.upstream_of(&task, &attempt) {
            Ok(upstream) => upstream,
            Err(fault) => return Some(Sent::silent(Outcome::Unsent(fault))),
        };
        // The room of the files is kept until they are sent.
        let (call, _room) = match self.ready(&task, &upstream, &attempt).await {
            Ok(ready) => ready,
            Err(sent) => return Some(sent),
        };
        let outgoing = match upstream.outgoing(&call.request) {
            Ok(outgoing) => outgoing,
            Err(refused) => return Some(Sent::silent(Outcome::Unsent(unusable(&refused)))),
        };
        let timeout_ms = u64::try_from(upstream.provider.connect_timeout_ms).unwrap_or(0);
        let connection = self
            .net
            .connect(outgoing.url(), outgoing.trust(), timeout_ms);
        let connection = match connection.await {
            Ok(connection) => connection,
            Err(error) => {
                let outcome = Outcome::Unsent(unusable(&error.detail()));
                return Some(Sent::with(Verdict::Unreachable, outcome));
            }
        };
        let intended = self.clock.moment();
        attempt.began_ms = if attempt.sends == 1 {
            intended.now_ms
        } else {
            attempt.began_ms
        };
        attempt.send_by_ms = intended.now_ms.saturating_add(SEND_BY_MS);
        self.commit(claim, Outcome::Intended(attempt.clone()))
            .await?;
        if let Some(pass) = pass {
            pass.opened();
        }
        let reply = self
            .exchange(connection, &outgoing, intended, &upstream)
            .await;
        let reply = match reply {
            Ok(reply) => reply,
            Err(SendError::NotSent(detail)) => {
                return Some(Sent::silent(Outcome::Refused(unusable(&detail))));
            }
            Err(SendError::Unanswered(detail)) => {
                tracing::info!(task = %task.id, detail, "a creating call went unanswered");
                return Some(Sent::with(Verdict::Faulty, Outcome::Unanswered));
            }
        };
        let cx = upstream.context(&attempt.token);
        let next = upstream.dialect.resume(&task.order, &cx, &call.at, &reply);
        Some(match &next {
            Ok(_) => Sent::with(Verdict::Served, created(next)),
            Err(fault) => Sent::judged(&fault.clone(), created(next)),
        })
    }

    /// The creating call with the files that it carries, and the room of those.
    async fn ready<'a>(
        &'a self,
        task: &'a Task,
        upstream: &Upstream<'_>,
        attempt: &Attempt,
    ) -> Result<(Call, Option<SemaphorePermit<'a>>), Sent> {
        let delivered = self.delivered(upstream, &task.order, attempt).await;
        let Prepared { order, room } = delivered.map_err(undelivered)?;
        let call = self.prepare(&task.id, &order, upstream, attempt).await;
        let call = call.map_err(|fault| Sent::judged(&fault.clone(), Outcome::Unsent(fault)))?;
        Ok((call, room))
    }

    /// The calls before the creating one; they create nothing and may be made again.
    async fn prepare(
        &self,
        id: &TaskId,
        order: &Order,
        upstream: &Upstream<'_>,
        attempt: &Attempt,
    ) -> Result<Call, Fault> {
        let fields = self.fields(upstream, order)?;
        let webhook = self.webhooks.as_ref().map(|base| {
            let (provider, token) = (&upstream.provider.id, &attempt.token);
            format!("{base}/hooks/{provider}/{id}/{}/{token}", attempt.id)
        });
        let cx = Context {
            fields: &fields,
            webhook: webhook.as_deref(),
            ..upstream.context(&attempt.token)
        };
        let mut call = upstream.dialect.start(order, &cx)?;
        for _ in 0..PREPARATIONS_MAX {
            if call.kind == Kind::Creates {
                return Ok(call);
            }
            let reply = self.call(upstream, &call).await?;
            call = match upstream.dialect.resume(order, &cx, &call.at, &reply)? {
                Next::Call(call) => call,
                Next::Wait(_) | Next::Done(_) => break,
            };
        }
        Err(Fault::new(
            FaultClass::Unavailable,
            "the provider could not be prepared for the work",
        ))
    }

    /// The order's parameters in the provider's words. The sandbox reads the order itself.
    pub(super) fn fields(
        &self,
        upstream: &Upstream<'_>,
        order: &Order,
    ) -> Result<Map<String, Value>, Fault> {
        if upstream.provider.id == SANDBOX {
            return Ok(Map::new());
        }
        let listing = self.catalogue.listing(upstream.route, order);
        let listing =
            listing.ok_or_else(|| unusable(&"the catalogue has no such route any more"))?;
        Ok(listing.send.fields(&order.params))
    }

    /// Looks once more, without yielding in between, and sends.
    async fn exchange(
        &self,
        connection: Connection,
        outgoing: &Outgoing<'_>,
        intended: Moment,
        upstream: &Upstream<'_>,
    ) -> Result<domain::upstream::Reply, SendError> {
        // A machine that was frozen after the intent may find that out by either clock.
        let now_ms = self.clock.latest_ms(intended);
        if now_ms >= intended.now_ms.saturating_add(SEND_BY_MS) {
            return Err(SendError::NotSent(
                "the moment to send has passed".to_owned(),
            ));
        }
        if now_ms >= self.leased_until_ms() {
            return Err(SendError::NotSent("the lease may have run out".to_owned()));
        }
        connection.send(outgoing, upstream.limits()).await
    }
}

/// What the reply to a creating call means.
fn created(next: Result<Next, Fault>) -> Outcome {
    match next {
        Ok(next) => match followed(next) {
            // What cannot be followed may still have created something.
            Outcome::Missed(_) => Outcome::Unanswered,
            outcome => outcome,
        },
        Err(fault) => match fault.class {
            FaultClass::InvalidInput
            | FaultClass::Moderated
            | FaultClass::Throttled
            | FaultClass::Credential
            | FaultClass::Unavailable => Outcome::Refused(fault),
            FaultClass::Failed => Outcome::Failed(fault),
            FaultClass::NotFound | FaultClass::Ambiguous => Outcome::Unanswered,
        },
    }
}

/// Files that cannot be brought along say something about the provider only where its upload refused
/// them: what else goes wrong is the client's, or that of somebody else's server.
fn undelivered(fault: Fault) -> Sent {
    match fault.class {
        FaultClass::Credential | FaultClass::Throttled => {
            Sent::judged(&fault.clone(), Outcome::Unsent(fault))
        }
        _ => Sent::silent(Outcome::Unsent(fault)),
    }
}

fn unusable(detail: &dyn std::fmt::Display) -> Fault {
    Fault::new(FaultClass::Unavailable, "the provider could not be reached")
        .because(detail.to_string())
}
