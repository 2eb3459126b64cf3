//! The conversation about an attempt: reads, lookups, cancels. Every call here may be repeated.

use domain::task::{Outcome, Task};
use domain::upstream::{Call, Fault, FaultClass, Kind, Next, Reply, Wait};

use super::Worker;
use super::admit::verdict;
use super::step::Upstream;
use crate::net::CallError;

impl Worker {
    /// Makes a call that may be repeated.
    pub(super) async fn call(&self, upstream: &Upstream<'_>, call: &Call) -> Result<Reply, Fault> {
        let request = upstream.outgoing(&call.request);
        let request = request.map_err(|refused| {
            Fault::new(FaultClass::Ambiguous, "the provider could not be asked")
                .because(refused.to_string())
        })?;
        let reply = self.net.read_within(&request, upstream.limits()).await;
        reply.map_err(|error| unreadable(&error))
    }

    pub(super) async fn read(&self, task: &Task, call: &Call) -> Outcome {
        let next = async {
            let upstream = self.upstream(task)?;
            let reply = self.call(&upstream, call).await?;
            let cx = upstream.context(token(task));
            upstream.dialect.resume(&task.order, &cx, &call.at, &reply)
        };
        let next = next.await;
        if let Err(fault) = &next
            && fault.class == FaultClass::Credential
        {
            self.learn(task, &verdict(fault));
        }
        match next {
            Ok(next) => followed(next),
            Err(fault) => match fault.class {
                FaultClass::Failed
                | FaultClass::Moderated
                | FaultClass::InvalidInput
                | FaultClass::NotFound => Outcome::Failed(fault),
                _ => Outcome::Missed(fault),
            },
        }
    }

    pub(super) async fn find(&self, task: &Task) -> Outcome {
        let found = async {
            let upstream = self.upstream(task)?;
            let cx = upstream.context(token(task));
            let Some(call) = upstream.dialect.find(&task.order, &cx) else {
                return Err(Fault::new(
                    FaultClass::Ambiguous,
                    "the provider cannot be asked",
                ));
            };
            let reply = self.call(&upstream, &call).await?;
            upstream.dialect.resume(&task.order, &cx, &call.at, &reply)
        };
        match found.await {
            Ok(next) => followed(next),
            Err(fault) => match fault.class {
                FaultClass::NotFound => Outcome::NotFound,
                FaultClass::Failed | FaultClass::Moderated => Outcome::Failed(fault),
                _ => Outcome::Missed(fault),
            },
        }
    }

    pub(super) async fn cancel(&self, task: &Task, next: &Call) -> Outcome {
        let confirmed = async {
            let upstream = self.upstream(task)?;
            let cx = upstream.context(token(task));
            let Some(call) = upstream.dialect.cancel(&task.order, &cx, &next.at) else {
                return Ok(false);
            };
            let reply = self.call(&upstream, &call).await?;
            Ok::<bool, Fault>((200..300).contains(&reply.status))
        };
        match confirmed.await {
            Ok(true) => Outcome::Cancelled,
            Ok(false) => Outcome::CancelDenied,
            Err(fault) => Outcome::Missed(fault),
        }
    }
}

/// Our reference for the attempt that is under way.
fn token(task: &Task) -> &str {
    let attempt = task.phase.attempt();
    attempt.map_or("", |attempt| attempt.token.as_str())
}

/// What an accepted attempt's conversation does next.
pub(super) fn followed(next: Next) -> Outcome {
    match next {
        Next::Done(output) => Outcome::Finished(output),
        Next::Wait(wait) if wait.then.kind == Kind::Reads => Outcome::Waiting(wait),
        Next::Call(call) if call.kind == Kind::Reads => Outcome::Waiting(Wait {
            ms: 0,
            then: call,
            upstream_id: None,
            progress: None,
        }),
        // A second creating call would be a second purchase; no dialect may ask for one.
        Next::Wait(_) | Next::Call(_) => Outcome::Missed(Fault::new(
            FaultClass::Ambiguous,
            "the conversation with the provider went wrong",
        )),
    }
}

pub(super) fn unreadable(error: &CallError) -> Fault {
    let detail = match error {
        CallError::Connect(error) => error.detail().to_owned(),
        other => other.to_string(),
    };
    Fault::new(FaultClass::Ambiguous, "the provider did not answer").because(detail)
}
