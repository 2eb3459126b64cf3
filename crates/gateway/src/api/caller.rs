//! Who makes a call, and whether it may.
//!
//! Invariant: an endpoint that names [`Caller`] among its arguments runs only for a living key with
//! the scope, from an allowed address. One that names [`Presumed`] runs for a key that was so when it
//! was read, and does nothing for it that does not check it again. Every cause of a refusal looks the
//! same.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, request::Parts};
use domain::key::{ApiKey, Grant, Scope};
use ipnet::IpNet;

use super::front::RequestId;
use super::{Api, ApiError};
use crate::client_ip::ClientIp;
use crate::store::audit::{Act, Actor};
use crate::store::keyring;
use crate::store::keys::Principal;

/// A scope as a type, so that no endpoint can forget to ask for one.
pub(super) trait Need: Send + Sync {
    const SCOPE: Scope;
}

macro_rules! needs {
    ($($name:ident),*) => {$(
        pub(super) enum $name {}

        impl Need for $name {
            const SCOPE: Scope = Scope::$name;
        }
    )*};
}

needs!(Run, Read, Keys, Billing, Admin);

/// Who makes a call, with a scope it has.
pub(super) struct Caller<N>(pub(super) Principal, PhantomData<N>);

impl<N: Need> FromRequestParts<Arc<Api>> for Caller<N> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let key = bearer(&parts.headers).ok_or_else(ApiError::unauthorized)?;
        let found = api.store.authenticate(&key, api.clock.now_ms()).await?;
        let principal = found.ok_or_else(ApiError::unauthorized)?;
        if !may_call::<N>(&principal, parts.extensions.get().copied()) {
            return Err(ApiError::unauthorized());
        }
        Ok(Self(principal, PhantomData))
    }
}

/// Who makes a call of the kind there are most of, as the key was when it was last read. It is good
/// only for what checks that, or once it is [confirmed](Self::confirmed).
pub(super) struct Presumed<N> {
    pub(super) found: keyring::Presumed,
    key: ApiKey,
    ip: Option<ClientIp>,
    need: PhantomData<N>,
}

impl<N: Need> FromRequestParts<Arc<Api>> for Presumed<N> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let key = bearer(&parts.headers).ok_or_else(ApiError::unauthorized)?;
        let found = api.store.presume(&key, api.clock.now_ms()).await?;
        let presumed = Self {
            found: found.ok_or_else(ApiError::unauthorized)?,
            key,
            ip: parts.extensions.get().copied(),
            need: PhantomData,
        };
        if may_call::<N>(&presumed.found.principal, presumed.ip) {
            return Ok(presumed);
        }
        // Only what is so now is a reason to refuse.
        presumed.confirmed(api).await
    }
}

impl<N: Need> Presumed<N> {
    /// The same as the key is now.
    pub(super) async fn confirmed(mut self, api: &Api) -> Result<Self, ApiError> {
        if !self.found.is_fresh {
            let found = api.store.confirm(&self.key, api.clock.now_ms()).await?;
            self.found = found.ok_or_else(ApiError::unauthorized)?;
        }
        match may_call::<N>(&self.found.principal, self.ip) {
            true => Ok(self),
            false => Err(ApiError::unauthorized()),
        }
    }
}

/// Whether somebody has the scope, and calls from where they may.
fn may_call<N: Need>(principal: &Principal, ip: Option<ClientIp>) -> bool {
    principal.grant.has(N::SCOPE) && may_come_from(&principal.grant, ip)
}

fn bearer(headers: &HeaderMap) -> Option<ApiKey> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let text = given.next()?.to_str().ok()?;
    if given.next().is_some() {
        return None;
    }
    let (scheme, key) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    ApiKey::parse(key.trim())
}

/// Whether a key may be used from an address. Without one, a whitelist lets nobody through.
fn may_come_from(grant: &Grant, ip: Option<ClientIp>) -> bool {
    let one = ip.map(|ClientIp(ip)| IpNet::from(ip.to_canonical()));
    grant.ip_whitelist.is_empty() || one.is_some_and(|one| grant.may_come_from(&one))
}

/// How a call is found again in the audit log.
pub(super) struct Trace {
    ip: Option<IpAddr>,
    request_id: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Trace {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let id = parts.extensions.get::<RequestId>();
        let id = id.and_then(|RequestId(id)| id.to_str().ok());
        Ok(Self {
            ip: parts.extensions.get().map(|ClientIp(ip)| *ip),
            request_id: id.unwrap_or_default().to_owned(),
        })
    }
}

impl Api {
    /// What a caller does now, as the audit log keeps it.
    pub(super) fn act(&self, caller: &Principal, trace: Trace) -> Act {
        let actor = Actor::Key {
            key: caller.key.clone(),
            account: caller.account.clone(),
            ip: trace.ip.map(|ip| ip.to_string()),
            request_id: trace.request_id,
        };
        Act::new(actor, self.clock.now_ms(), &self.entropy.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(whitelist: &[&str]) -> Grant {
        Grant {
            ip_whitelist: whitelist.iter().map(ToString::to_string).collect(),
            ..Grant::account("test")
        }
    }

    fn passes(whitelist: &[&str], ip: &str) -> bool {
        may_come_from(&grant(whitelist), Some(ClientIp(ip.parse().unwrap())))
    }

    #[test]
    fn a_whitelist_names_addresses_and_networks() {
        assert!(passes(&[], "203.0.113.9"));
        assert!(passes(&["203.0.113.9"], "203.0.113.9"));
        assert!(passes(&["203.0.113.9"], "::ffff:203.0.113.9"));
        assert!(passes(&["::ffff:203.0.113.9"], "203.0.113.9"));
        assert!(passes(&["10.0.0.0/8", "2001:db8::/32"], "2001:db8::7"));
        assert!(!passes(&["10.0.0.0/8", "2001:db8::/32"], "11.0.0.1"));
        assert!(!passes(&["2001:db8::1"], "2001:db8::2"));
        assert!(passes(&["::ffff:203.0.113.0/120"], "203.0.113.9"));
        assert!(passes(&["203.0.113.0/24"], "::ffff:203.0.113.9"));
        assert!(!passes(&["::ffff:203.0.113.0/120"], "203.0.114.9"));
        assert!(!passes(&["::/0"], "203.0.113.9"));
        assert!(!passes(&["nonsense"], "203.0.113.9"));
    }

    #[test]
    fn without_an_address_a_whitelist_lets_nobody_through() {
        assert!(may_come_from(&grant(&[]), None));
        assert!(!may_come_from(&grant(&["0.0.0.0/0"]), None));
    }

    #[test]
    fn there_is_one_key_in_one_header() {
        let key = ApiKey::mint(&[1; 10], &[2; 24]);
        let mut headers = HeaderMap::new();
        assert_eq!(bearer(&headers), None);
        for (text, is_one) in [
            (format!("Bearer {}", key.reveal()), true),
            (format!("bearer  {} ", key.reveal()), true),
            (format!("Basic {}", key.reveal()), false),
            (key.reveal().to_owned(), false),
            ("Bearer".to_owned(), false),
        ] {
            headers.insert(AUTHORIZATION, text.parse().unwrap());
            assert_eq!(bearer(&headers).is_some(), is_one, "{text}");
        }
        headers.append(AUTHORIZATION, "Bearer x".parse().unwrap());
        assert_eq!(bearer(&headers), None);
    }
}
