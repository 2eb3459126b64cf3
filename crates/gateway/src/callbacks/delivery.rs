//! One delivery: the task object, signed, POSTed once, and what came of it recorded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use domain::ids::AccountId;
use domain::signing::signatures;
use http::{HeaderMap, HeaderValue};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::Callbacks;
use super::schedule::{Ended, JITTER_END, retry_after_ms, verdict};
use super::slots::Health;
use crate::net::{Blocked, CallError, CallbackReply, UNREACHABLE};
use crate::store::StoreError;
use crate::store::notices::{Delivery, Notice, Verdict};
use crate::store::tasks::NoticeState;
use crate::view::TaskView;

/// How much of a reply is kept, in bytes.
const NOTE_BYTES_MAX: usize = 1 << 10;

/// How often recording is tried, a second apart; the lease lasts longer.
const RECORDS_MAX: u32 = 10;

/// What was POSTed, and what came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Posted {
    pub at_ms: i64,
    pub took_ms: i64,
    pub status: Option<u16>,
    /// The start of the reply, or why there is none; safe to show to the account.
    pub note: String,
    pub retry_after_ms: Option<i64>,
}

impl Posted {
    fn end_ms(&self) -> i64 {
        self.at_ms.saturating_add(self.took_ms)
    }
}

/// What is signed and sent.
pub(super) struct Message<'a> {
    /// The `webhook-id`.
    pub id: &'a str,
    /// Whose secrets sign it.
    pub account: &'a AccountId,
    pub body: Bytes,
}

impl Callbacks {
    /// Delivers a claimed notice once.
    pub(super) async fn deliver(
        self: Arc<Self>,
        notice: Notice,
        stop: CancellationToken,
    ) -> Health {
        self.attempt(&notice, &stop).await.unwrap_or_else(|error| {
            // The lease ends by itself, and so the notice is tried again when the store is back.
            tracing::warn!(notice = %notice.id, %error, "a callback waits for the store");
            Health::Untold
        })
    }

    async fn attempt(
        &self,
        notice: &Notice,
        stop: &CancellationToken,
    ) -> Result<Health, StoreError> {
        let url = match self.judge(&notice.url) {
            Ok(url) => url,
            Err(reason) => {
                tracing::warn!(notice = %notice.id, reason, "a callback's URL is refused");
                return self.give_up(notice, "blocked", UNREACHABLE).await;
            }
        };
        let Some(read) = self.store.task(&notice.account, &notice.task).await? else {
            return self.give_up(notice, "exhausted", "The task is gone.").await;
        };
        // As it was at the end, so that every delivery carries the same bytes.
        let state = NoticeState {
            state: "pending".to_owned(),
            attempts: 0,
            last_status: None,
        };
        let message = Message {
            id: notice.id.as_str(),
            account: &notice.account,
            body: json(&TaskView::new(&read.task, Some(&state), &self.public_url))?,
        };
        let signed = self.sign(&message).await?;
        if stop.is_cancelled() {
            self.store.any_unclaim_notice(notice).await?;
            return Ok(Health::Untold);
        }
        let posted = self.post(&url, signed, message.body).await;
        let ended = Ended {
            at_ms: posted.end_ms(),
            status: posted.status,
            retry_after_ms: posted.retry_after_ms,
        };
        let attempts = notice.attempts.saturating_sub(notice.attempts_before);
        let jitter = self.entropy.below(JITTER_END);
        let verdict = verdict(ended, attempts.saturating_add(1), jitter);
        let health = posted.status.map_or(Health::Down, Health::of);
        self.record(notice, posted, verdict).await?;
        Ok(health)
    }

    /// Reads a URL and refuses one that no resolver could make acceptable.
    pub(super) fn judge(&self, url: &str) -> Result<Url, &'static str> {
        let url = Url::parse(url).map_err(|_| "malformed")?;
        self.net
            .egress()
            .check_url(&url)
            .map_err(|blocked: Blocked| blocked.detail())?;
        let own = Url::parse(&self.public_url).ok();
        if own.is_some_and(|own| own.origin() == url.origin()) {
            return Err("the gateway itself");
        }
        Ok(url)
    }

    /// The headers that make a message a signed one, as of now.
    pub(super) async fn sign(&self, message: &Message<'_>) -> Result<HeaderMap, StoreError> {
        let now_ms = self.clock.now_ms();
        let secrets = self.store.callback_secrets(message.account, now_ms).await?;
        if secrets.is_empty() {
            return Err(StoreError::Broken("no secret to sign with".to_owned()));
        }
        // Receivers compare it with their own clocks, and refuse what is too old.
        let now_s = self.clock.machine_ms().div_euclid(1_000);
        let signature = signatures(&secrets, message.id, now_s, &message.body);
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("webhook-id", message.id),
            ("webhook-timestamp", &now_s.to_string()),
            ("webhook-signature", &signature),
        ] {
            let value = HeaderValue::try_from(value)
                .map_err(|_| StoreError::Broken(format!("{name} does not fit a header")))?;
            headers.insert(name, value);
        }
        Ok(headers)
    }

    /// POSTs once.
    pub(super) async fn post(&self, url: &Url, headers: HeaderMap, body: Bytes) -> Posted {
        let at_ms = self.clock.now_ms();
        let began = Instant::now();
        let timeout_ms = self.settings.timeout_ms;
        let reply = self.net.post_callback(url, headers, body, timeout_ms);
        let reply = reply.await;
        let took_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let mut posted = Posted {
            at_ms,
            took_ms,
            status: None,
            note: String::new(),
            retry_after_ms: None,
        };
        match reply {
            Ok(reply) => posted.read(&reply),
            Err(error) => posted.note = reason(&error, took_ms, timeout_ms),
        }
        posted
    }

    /// Ends a notice that is not worth a POST.
    async fn give_up(
        &self,
        notice: &Notice,
        state: &'static str,
        note: &str,
    ) -> Result<Health, StoreError> {
        let at_ms = self.clock.now_ms();
        let posted = Posted {
            at_ms,
            took_ms: 0,
            status: None,
            note: note.to_owned(),
            retry_after_ms: None,
        };
        let verdict = Verdict {
            state,
            due_ms: at_ms,
        };
        self.record(notice, posted, verdict).await?;
        Ok(Health::Untold)
    }

    /// Records, and insists: what is not recorded is sent again.
    async fn record(
        &self,
        notice: &Notice,
        posted: Posted,
        verdict: Verdict,
    ) -> Result<(), StoreError> {
        // Before it is recorded: that may fail, and is not what was POSTed.
        self.metrics.callback(match verdict.state {
            "pending" => "retry",
            state => state,
        });
        let delivery = Delivery {
            n: notice.attempts.saturating_add(1),
            at_ms: posted.at_ms,
            took_ms: posted.took_ms,
            status: posted.status.map(i64::from),
            note: posted.note,
        };
        let mut tries = 1;
        loop {
            let recorded = self
                .store
                .any_record_delivery(notice, delivery.clone(), verdict.clone())
                .await;
            match recorded {
                Err(
                    StoreError::Unavailable(_) | StoreError::Unclear(_) | StoreError::Overloaded,
                ) if tries < RECORDS_MAX => {
                    tries += 1;
                    sleep(Duration::from_secs(1)).await;
                }
                recorded => return recorded,
            }
        }
    }
}

impl Posted {
    fn read(&mut self, reply: &CallbackReply) {
        let header = reply.retry_after.as_deref();
        let end_ms = self.end_ms();
        self.retry_after_ms = header.and_then(|header| retry_after_ms(header, end_ms));
        self.status = Some(reply.status);
        self.note = clean(&reply.excerpt);
    }
}

/// Compact JSON.
pub(super) fn json(view: &TaskView) -> Result<Bytes, StoreError> {
    let body = serde_json::to_vec(view).map_err(|error| StoreError::Broken(error.to_string()))?;
    Ok(Bytes::from(body))
}

/// Why there is no reply, for the account. It says no more about the network than the guard does.
fn reason(error: &CallError, took_ms: i64, timeout_ms: u64) -> String {
    match error {
        CallError::Refused(_) | CallError::Connect(_) => UNREACHABLE.to_owned(),
        CallError::Send(_) if took_ms.unsigned_abs() >= timeout_ms => {
            format!("The receiver did not answer within {timeout_ms} ms.")
        }
        CallError::Send(_) => "The receiver ended the connection without an answer.".to_owned(),
    }
}

/// Text that PostgreSQL stores and a terminal survives: no control characters, at most 1 KiB.
fn clean(excerpt: &str) -> String {
    let mut clean = String::new();
    for c in excerpt.chars() {
        let c = match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() => continue,
            c => c,
        };
        if clean.len() + c.len_utf8() > NOTE_BYTES_MAX {
            break;
        }
        clean.push(c);
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_text_of_at_most_one_kibibyte() {
        assert_eq!(clean("a\0b\u{1b}[31mc\r\nd\u{7f}\u{85}e"), "ab[31mc  de");
        let replaced = "\u{fffd}".repeat(1_024);
        assert_eq!(clean(&replaced).len(), 1_023);
    }
}
