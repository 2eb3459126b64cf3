//! Who makes a call, and whether it may.
//!
//! Invariant: an endpoint that names [`Caller`] among its arguments runs only for a living key with
//! the scope, from an allowed address. Every cause of a refusal looks the same.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, request::Parts};
use domain::key::{ApiKey, Scope};
use ipnet::IpNet;

use super::{Api, ApiError};
use crate::client_ip::ClientIp;
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

needs!(Run, Read, Keys, Billing);

/// Who makes a call, with a scope it has.
pub(super) struct Caller<N>(pub(super) Principal, PhantomData<N>);

impl<N: Need> FromRequestParts<Arc<Api>> for Caller<N> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api>) -> Result<Self, ApiError> {
        let key = bearer(&parts.headers).ok_or_else(ApiError::unauthorized)?;
        let found = api.store.authenticate(&key, api.clock.now_ms()).await?;
        let principal = found.ok_or_else(ApiError::unauthorized)?;
        let ip = parts.extensions.get::<ClientIp>();
        let grant = &principal.grant;
        if !grant.has(N::SCOPE) || !may_come_from(&grant.ip_whitelist, ip.copied()) {
            return Err(ApiError::unauthorized());
        }
        Ok(Self(principal, PhantomData))
    }
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

/// Whether a whitelist lets an address through; an empty one lets everyone.
fn may_come_from(whitelist: &[String], ip: Option<ClientIp>) -> bool {
    if whitelist.is_empty() {
        return true;
    }
    let Some(ClientIp(ip)) = ip else {
        return false;
    };
    let ip = ip.to_canonical();
    let networks = whitelist.iter().filter_map(|entry| network(entry));
    networks.into_iter().any(|network| network.contains(&ip))
}

/// The network that an entry of a whitelist names: an address or a CIDR. An IPv4 address mapped into
/// IPv6 is the IPv4 address.
pub(super) fn network(entry: &str) -> Option<IpNet> {
    if let Ok(ip) = entry.parse::<IpAddr>() {
        return Some(IpNet::from(ip.to_canonical()));
    }
    entry.parse::<IpNet>().ok().map(|network| network.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(whitelist: &[&str], ip: &str) -> bool {
        let whitelist: Vec<String> = whitelist.iter().map(ToString::to_string).collect();
        may_come_from(&whitelist, Some(ClientIp(ip.parse().unwrap())))
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
    }

    #[test]
    fn without_an_address_a_whitelist_lets_nobody_through() {
        assert!(may_come_from(&[], None));
        assert!(!may_come_from(&["0.0.0.0/0".to_owned()], None));
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
            (key.reveal(), false),
            ("Bearer".to_owned(), false),
        ] {
            headers.insert(AUTHORIZATION, text.parse().unwrap());
            assert_eq!(bearer(&headers).is_some(), is_one, "{text}");
        }
        headers.append(AUTHORIZATION, "Bearer x".parse().unwrap());
        assert_eq!(bearer(&headers), None);
    }
}
