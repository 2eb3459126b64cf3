//! Whose request it is: the address of the socket, or the one a trusted proxy names.
//!
//! Invariant: what a client writes about itself is never believed. Only the part of the header that
//! trusted proxies added counts: from the right, up to the first address that is not one of theirs.
//! A client that they do not name clearly has no address: never is it taken for one of the proxies,
//! whose own addresses whitelists may well let in.

use std::net::{IpAddr, SocketAddr};

use domain::network;
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
        Self(networks.into_iter().map(network::canonical).collect())
    }

    /// Whether an address is one of theirs.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client behind the other end of a socket; `None` if a proxy does not say clearly who it is.
    /// Where both kinds of header are there and disagree, one of them is the client's own invention.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<ClientIp> {
        let peer = peer.to_canonical();
        if !self.contain(peer) {
            return Some(ClientIp(peer));
        }
        let listed = self.behind(headers, "x-forwarded-for", |item| address(item.trim()));
        let forwarded = self.behind(headers, FORWARDED.as_str(), forwarded_for);
        let client = match (listed, forwarded) {
            // A proxy that is itself the client adds no header.
            (Named::Nobody, Named::Nobody) => Some(peer),
            (Named::One(one), Named::Nobody) | (Named::Nobody, Named::One(one)) => Some(one),
            (Named::One(one), Named::One(other)) if one == other => Some(one),
            _ => None,
        };
        client.map(ClientIp)
    }

    /// The first address from the right that is no proxy's; with only proxies, the leftmost.
    fn behind(
        &self,
        headers: &HeaderMap,
        name: &str,
        read: impl Fn(&str) -> Option<IpAddr>,
    ) -> Named {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        let mut named = Named::Nobody;
        for value in values.into_iter().rev() {
            let Ok(text) = value.to_str() else {
                return Named::Unclear;
            };
            for item in text.rsplit(',') {
                let Some(found) = read(item) else {
                    return Named::Unclear;
                };
                let found = found.to_canonical();
                named = Named::One(found);
                if !self.contain(found) {
                    return named;
                }
            }
        }
        named
    }
}

/// Whom a header names as the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// There is no such header.
    Nobody,
    /// This address.
    One(IpAddr),
    /// What a proxy passed on cannot be read.
    Unclear,
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
        let networks = ["::ffff:10.0.0.0/104", "fd00::/8"].map(|network| network.parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let proxies = Proxies::new(networks.to_vec());
        let client = proxies.client(peer.parse().unwrap(), &map);
        client.map_or("nobody".to_owned(), |ClientIp(ip)| ip.to_string())
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
        // To the left of the client everything is its own invention, whatever it is.
        let junk = "junk, 198.51.100.1, 10.0.0.2";
        assert_eq!(client("10.0.0.1", &[(xff, junk)]), "198.51.100.1");
    }

    #[test]
    fn who_is_not_named_clearly_is_nobody() {
        let xff = "x-forwarded-for";
        for row in [
            "6.6.6.6, junk, 10.0.0.2",
            "junk",
            "unknown",
            "",
            "6.6.6.6,",
            "10.0.0.2, ,",
        ] {
            assert_eq!(client("10.0.0.1", &[(xff, row)]), "nobody", "{row}");
            // From anyone else it is not even read.
            assert_eq!(client("192.0.2.9", &[(xff, row)]), "192.0.2.9", "{row}");
        }
        for row in [
            "for=unknown",
            "for=_hidden",
            "by=10.0.0.1",
            "for=6.6.6.6, proto=https",
        ] {
            assert_eq!(client("10.0.0.1", &[("forwarded", row)]), "nobody", "{row}");
        }
        // A proxy that writes one header passes the other on as the client made it.
        let both = |forwarded| [("forwarded", forwarded), (xff, "198.51.100.1")];
        assert_eq!(client("10.0.0.1", &both("for=6.6.6.6")), "nobody");
        assert_eq!(client("10.0.0.1", &both("for=10.0.0.1")), "nobody");
        assert_eq!(client("10.0.0.1", &both("junk")), "nobody");
        assert_eq!(
            client("10.0.0.1", &both("for=198.51.100.1")),
            "198.51.100.1"
        );
    }

    #[test]
    fn the_standard_header_is_read_too() {
        let row = "for=6.6.6.6, for=\"[2001:db8::1]:4711\";proto=https, for=10.0.0.2";
        assert_eq!(client("10.0.0.1", &[("forwarded", row)]), "2001:db8::1");
    }

    proptest::proptest! {
        #[test]
        fn nothing_a_client_writes_changes_who_it_is(own in "[ -~]{0,40}", hops in 0_usize..3) {
            let real = "198.51.100.1";
            let proxies = ", 10.0.0.2".repeat(hops);
            let row = format!("{own},{real}{proxies}");
            proptest::prop_assert_eq!(client("10.0.0.1", &[("x-forwarded-for", &row)]), real);
            let proxies = ", for=10.0.0.2".repeat(hops);
            let row = format!("{own},for={real}{proxies}");
            proptest::prop_assert_eq!(client("10.0.0.1", &[("forwarded", &row)]), real);
            proptest::prop_assert_eq!(client("192.0.2.9", &[("forwarded", &row)]), "192.0.2.9");
            // In the header that the proxies do not write it can only come to be nobody.
            let both = [("forwarded", own.as_str()), ("x-forwarded-for", real)];
            let named = client("10.0.0.1", &both);
            proptest::prop_assert!(named == real || named == "nobody", "{}", named);
        }
    }
}
