//! Whose request it is: the address of the socket, or the one a trusted proxy names.
//!
//! Invariant: what a client writes about itself is never believed. Only the part of the header that
//! trusted proxies added counts: from the right, up to the first address that is not one of theirs.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::FORWARDED;
use ipnet::IpNet;

/// Address of the client, as an extension of the request; an IPv4 one is never written as IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientIp(pub IpAddr);

/// The networks of the proxies in front.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    /// Proxies in these networks.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether an address is one of theirs.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client behind the other end of a socket. Where both kinds of header are there and
    /// disagree, one of them is the client's own invention, and neither counts.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> ClientIp {
        let peer = peer.to_canonical();
        if !self.contain(peer) {
            return ClientIp(peer);
        }
        let listed = self.behind(peer, headers, "x-forwarded-for", |item| {
            address(item.trim())
        });
        let forwarded = self.behind(peer, headers, FORWARDED.as_str(), forwarded_for);
        match (listed, forwarded) {
            (Some(one), Some(other)) if one != other => ClientIp(peer),
            (one, other) => ClientIp(one.or(other).unwrap_or(peer)),
        }
    }

    /// The first address from the right that is no proxy's; with only proxies, the leftmost. `None`
    /// without the header. What cannot be read ends the walk at the proxy that passed it on.
    fn behind(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        name: &str,
        read: impl Fn(&str) -> Option<IpAddr>,
    ) -> Option<IpAddr> {
        let mut values = headers.get_all(name).iter().peekable();
        values.peek()?;
        let mut nearest = peer;
        let values: Vec<_> = values.collect();
        for value in values.into_iter().rev() {
            let Ok(text) = value.to_str() else {
                return Some(nearest);
            };
            for item in text.rsplit(',') {
                let Some(found) = read(item) else {
                    return Some(nearest);
                };
                nearest = found.to_canonical();
                if !self.contain(nearest) {
                    return Some(nearest);
                }
            }
        }
        Some(nearest)
    }
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some(socket.ip());
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner.parse().ok()
}

/// The `for` of one element of a `Forwarded` header (RFC 7239).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    address(value.trim().trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let proxies = Proxies::new(networks.to_vec());
        proxies.client(peer.parse().unwrap(), &map).0.to_string()
    }

    #[test]
    fn only_a_trusted_proxy_names_a_client() {
        let xff = "x-forwarded-for";
        assert_eq!(client("192.0.2.9", &[(xff, "198.51.100.1")]), "192.0.2.9");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[(xff, "198.51.100.1")]), "198.51.100.1");
        assert_eq!(
            client("::ffff:10.0.0.1", &[(xff, "2001:db8::1")]),
            "2001:db8::1"
        );
        assert_eq!(
            client("fd00::1", &[(xff, "::ffff:198.51.100.1")]),
            "198.51.100.1"
        );
    }

    #[test]
    fn what_the_client_wrote_is_left_of_what_the_proxies_wrote() {
        let xff = "x-forwarded-for";
        let row = "6.6.6.6, 198.51.100.1:5, 10.0.0.2";
        assert_eq!(client("10.0.0.1", &[(xff, row)]), "198.51.100.1");
        let rows = [(xff, "6.6.6.6"), (xff, "198.51.100.1"), (xff, "10.0.0.2")];
        assert_eq!(client("10.0.0.1", &rows), "198.51.100.1");
        assert_eq!(
            client("10.0.0.1", &[(xff, "10.0.0.3, 10.0.0.2")]),
            "10.0.0.3"
        );
        assert_eq!(
            client("10.0.0.1", &[(xff, "6.6.6.6, junk, 10.0.0.2")]),
            "10.0.0.2"
        );
        assert_eq!(client("10.0.0.1", &[(xff, "")]), "10.0.0.1");
    }

    #[test]
    fn the_standard_header_is_read_too() {
        let row = "for=6.6.6.6, for=\"[2001:db8::1]:4711\";proto=https, for=10.0.0.2";
        assert_eq!(client("10.0.0.1", &[("forwarded", row)]), "2001:db8::1");
        assert_eq!(
            client("10.0.0.1", &[("forwarded", "for=unknown")]),
            "10.0.0.1"
        );
        let both = [
            ("forwarded", "for=6.6.6.6"),
            ("x-forwarded-for", "198.51.100.1"),
        ];
        assert_eq!(client("10.0.0.1", &both), "10.0.0.1");
    }
}
