//! Networks of IP addresses, each in one spelling.
//!
//! Invariant: an IPv4 address that is mapped into IPv6 (`::ffff:192.0.2.1`) is the IPv4 address, alone
//! and in a network, so that two spellings of one place are never compared as two.

use core::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// Length of the prefix that maps IPv4 into IPv6: `::ffff:0:0/96` (RFC 4291, section 2.5.5.2).
const MAPPED: u8 = 96;

/// The network that an address or a CIDR names: `192.0.2.1`, `2001:db8::/32`, `::ffff:10.0.0.0/104`.
/// Bits behind the prefix are dropped.
#[must_use]
pub fn parse(text: &str) -> Option<IpNet> {
    // The standard library reads addresses strictly: `010.0.0.1` may be octal elsewhere, so it is none.
    let Some((address, prefix)) = text.split_once('/') else {
        return text.parse().ok().map(|one: IpAddr| canonical(one.into()));
    };
    let is_number = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = prefix.parse().ok().filter(|_| is_number)?;
    let network = IpNet::new(address.parse().ok()?, prefix).ok()?;
    Some(canonical(network))
}

/// The same network in its one spelling.
#[must_use]
pub fn canonical(network: IpNet) -> IpNet {
    let network = network.trunc();
    let IpNet::V6(six) = network else {
        return network;
    };
    let four = six.addr().to_ipv4_mapped();
    let length = six.prefix_len().checked_sub(MAPPED);
    let four = four
        .zip(length)
        .and_then(|(four, length)| Ipv4Net::new(four, length).ok());
    four.map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        parse(text).map(|network| network.to_string())
    }

    #[test]
    fn one_place_has_one_spelling() {
        for (text, canonical) in [
            ("192.0.2.1", "192.0.2.1/32"),
            ("192.0.2.1/24", "192.0.2.0/24"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("::ffff:c000:201", "192.0.2.1/32"),
            ("::ffff:192.0.2.1/120", "192.0.2.0/24"),
            ("::FFFF:0:0/96", "0.0.0.0/0"),
            ("2001:DB8::0:1", "2001:db8::1/128"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::/0", "::/0"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(canonical), "{text}");
        }
    }

    #[test]
    fn what_names_no_network_is_refused() {
        for text in [
            "",
            "/",
            "/8",
            "10.0.0",
            "010.0.0.1",
            "10.0.0.1/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "010.0.0.0/8",
            "::1/129",
            "fe80::1%eth0",
            " 10.0.0.1",
            "10.0.0.1:80",
            "[::1]",
            "example.com",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
