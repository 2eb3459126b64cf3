//! Where clients and providers reach the gateway, and what receives providers' webhooks.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;

use super::Parts;
use crate::hooks::{self, Hooks, Keys};

/// Where a client on this machine finds an address; nobody can call 0.0.0.0.
pub(super) fn local(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        tracing::warn!("server.public_url is not set: links to results lead to this machine");
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    format!("http://{address}")
}

impl Parts {
    /// What receives webhooks.
    pub(super) fn hooks(&self) -> Router {
        let secrets = self.catalogue.providers().filter_map(|provider| {
            let name = provider.webhook_secret_env.as_deref()?;
            let secret = self.config.secrets.get(name)?;
            Some((provider.id.clone(), secret.to_owned()))
        });
        hooks::router(Hooks {
            keys: Keys::new(secrets.collect(), self.net.clone(), self.clock.clone()),
            store: self.store.clone(),
            catalogue: Arc::clone(&self.catalogue),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            secret: self.secret.clone(),
        })
    }

    /// Where providers reach us: over TLS alone, as the tokens are in the URLs. A machine without a public
    /// URL is not told of anything, and polls.
    pub(super) fn webhooks(&self) -> Option<String> {
        let base = self.config.server.public_url.clone();
        base.filter(|url| url.starts_with("https://"))
    }
}
