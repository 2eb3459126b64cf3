//! What deliveries are verified with: secrets of the operator's, and documents of public keys, which are
//! fetched and kept.

use std::collections::BTreeMap;

use domain::catalogue::Provider;
use domain::upstream::Reply;
use domain::webhook::{Delivery, Scheme};
use tokio::sync::Mutex;
use url::Url;

use crate::clock::Clock;
use crate::net::{CallError, Net, Outgoing, Trust};

/// How long a document of keys is kept, in milliseconds: a day, as fal asks.
const KEPT_MS: i64 = 86_400_000;

/// How old a document must be to be fetched anew for a delivery that it does not verify, in
/// milliseconds: keys are replaced now and then, and forgeries must not make us ask all the time.
const FRESH_MS: i64 = 60_000;

/// Longest time for a document, in milliseconds.
const FETCH_MS: u64 = 5_000;

/// A document of public keys as it was fetched.
struct Document {
    text: String,
    fetched_ms: i64,
}

/// Whether a delivery is the provider's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is signed; or nothing was set up to tell.
    Taken,
    /// It is not signed, or not by the provider.
    Unsigned,
    /// The keys cannot be had now.
    Away,
}

/// The keys of all providers.
pub struct Keys {
    /// By provider.
    secrets: BTreeMap<String, String>,
    net: Net,
    clock: Clock,
    /// By URL.
    documents: Mutex<BTreeMap<String, Document>>,
}

impl Keys {
    /// Secrets by provider; documents are fetched when they are needed.
    #[must_use]
    pub fn new(secrets: BTreeMap<String, String>, net: Net, clock: Clock) -> Self {
        Self {
            secrets,
            net,
            clock,
            documents: Mutex::default(),
        }
    }

    /// Judges a delivery about some work.
    pub(super) async fn judge(
        &self,
        provider: &Provider,
        scheme: Scheme,
        delivery: &Delivery,
        work: &str,
    ) -> Verdict {
        let now_s = self.clock.now_ms().div_euclid(1_000);
        let verdict = |key: &str| match scheme.has_signed(key, delivery, work, now_s) {
            true => Verdict::Taken,
            false => Verdict::Unsigned,
        };
        if let Some(secret) = self.secrets.get(&provider.id) {
            return verdict(secret);
        }
        let Some(url) = &provider.webhook_keys else {
            return Verdict::Taken;
        };
        for oldest_ms in [KEPT_MS, FRESH_MS] {
            match self.document(url, oldest_ms).await {
                Ok(keys) if verdict(&keys) == Verdict::Taken => return Verdict::Taken,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(provider = provider.id, error, "keys of webhooks are away");
                    return Verdict::Away;
                }
            }
        }
        Verdict::Unsigned
    }

    /// A document at most so old, in milliseconds.
    async fn document(&self, url: &str, oldest_ms: i64) -> Result<String, String> {
        let now_ms = self.clock.now_ms();
        let mut documents = self.documents.lock().await;
        if let Some(known) = documents.get(url)
            && now_ms.saturating_sub(known.fetched_ms) < oldest_ms
        {
            return Ok(known.text.clone());
        }
        let reply = self.fetch(url).await?;
        let text = String::from_utf8(reply.body).map_err(|error| error.to_string())?;
        let document = Document {
            text: text.clone(),
            fetched_ms: now_ms,
        };
        documents.insert(url.to_owned(), document);
        Ok(text)
    }

    async fn fetch(&self, url: &str) -> Result<Reply, String> {
        let url = Url::parse(url).map_err(|error| error.to_string())?;
        let read = async {
            let outgoing = Outgoing::get(url, Trust::Outside)?;
            self.net.read(&outgoing, FETCH_MS).await
        };
        let reply = read.await.map_err(|error: CallError| error.to_string())?;
        match reply.status {
            200 => Ok(reply),
            status => Err(format!("status {status}")),
        }
    }
}
