//! The egress guard: which addresses outsiders may make this process talk to.
//!
//! Invariant: the verdict is about the address that is connected to, never about its spelling. A name
//! is resolved once, every answer is judged, and the connection goes to a judged answer, so neither
//! a rebinding resolver nor an odd notation of an internal address gets past it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use url::{Host, Url};

/// The one sentence that everyone outside reads about an address that cannot be used. It is the same
/// for a forbidden, a dead and an unknown address: a difference would turn us into a port scanner.
pub const UNREACHABLE: &str =
    "The URL must be an http or https address that can be reached on the public internet.";

/// Who chose a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The operator configured it: not judged.
    Operator,
    /// Anyone else: callback URLs, inputs, result links and every redirect.
    Outside,
}

/// A URL or address that outsiders may not make us use. It displays as [`UNREACHABLE`].
#[derive(Clone, PartialEq, Eq)]
pub struct Blocked(&'static str);

impl Blocked {
    /// Why, for the operator's log alone.
    #[must_use]
    pub fn detail(&self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(UNREACHABLE)
    }
}

impl fmt::Debug for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Blocked").field(&self.0).finish()
    }
}

impl std::error::Error for Blocked {}

/// The guard with the operator's exemptions.
#[derive(Debug, Clone, Default)]
pub struct Egress {
    allow: Vec<IpNet>,
}

impl Egress {
    /// A guard that exempts these networks. Cloud metadata addresses and IPv4-mapped IPv6 stay denied.
    #[must_use]
    pub fn new(allow: Vec<IpNet>) -> Self {
        Self { allow }
    }

    /// Judges a URL without resolving its name, for quick feedback when somebody saves it.
    ///
    /// # Errors
    /// When it would be refused whatever its name resolves to. Where exemptions exist, a name that
    /// only they could make acceptable passes here and is judged when it is connected to.
    pub fn check_url(&self, url: &Url) -> Result<(), Blocked> {
        check_form(url)?;
        let port = url.port_or_known_default().ok_or(Blocked("no port"))?;
        match literal(url) {
            Some(address) => self.judge(address, port),
            None if self.allow.is_empty() => name(url).and_then(check_name).and(check_port(port)),
            None => name(url).map(drop),
        }
    }

    /// Judges a URL together with everything that its host resolved to.
    ///
    /// # Errors
    /// When the URL or any one of the answers is refused, or when there is no answer.
    pub fn admit(&self, url: &Url, answers: &[SocketAddr]) -> Result<(), Blocked> {
        check_form(url)?;
        if answers.is_empty() {
            return Err(Blocked("the name has no address"));
        }
        for answer in answers {
            self.judge(answer.ip(), answer.port())?;
        }
        if literal(url).is_some() {
            return Ok(());
        }
        let name = name(url)?;
        if answers.iter().all(|answer| self.is_exempt(answer.ip())) {
            return Ok(());
        }
        check_name(name)
    }

    fn judge(&self, address: IpAddr, port: u16) -> Result<(), Blocked> {
        if is_metadata(address) {
            return Err(Blocked("a cloud metadata address"));
        }
        if self.is_exempt(address) {
            return Ok(());
        }
        if !is_public(address) {
            return Err(Blocked("not a public address"));
        }
        check_port(port)
    }

    fn is_exempt(&self, address: IpAddr) -> bool {
        // A mapped address never counts as exempt: nobody who means an IPv4 address writes it so.
        let is_mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        !is_mapped && self.allow.iter().any(|net| net.contains(&address))
    }
}

/// Refuses what no URL of ours may have, whoever chose it: other schemes and credentials.
pub(super) fn check_form(url: &Url) -> Result<(), Blocked> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Blocked("neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Blocked("credentials in the URL"));
    }
    if url.host().is_none() || url.port() == Some(0) {
        return Err(Blocked("no host or port"));
    }
    Ok(())
}

/// The address that the URL itself spells out.
pub(super) fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(IpAddr::V4(address)),
        Host::Ipv6(address) => Some(IpAddr::V6(address)),
        Host::Domain(_) => None,
    }
}

fn name(url: &Url) -> Result<&str, Blocked> {
    let name = url.domain().ok_or(Blocked("no host name"))?;
    let is_plain = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    // A trailing dot would slip past comparisons of names while resolving to the same address.
    if name.len() > 253 || name.split('.').any(str::is_empty) || !name.bytes().all(is_plain) {
        return Err(Blocked("a malformed host name"));
    }
    Ok(name)
}

/// Suffixes that never belong to the public internet.
const INTERNAL_SUFFIXES: [&str; 15] = [
    "localhost",
    "local",
    "localdomain",
    "internal",
    "home.arpa",
    "in-addr.arpa",
    "ip6.arpa",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
    "test",
    "invalid",
    "onion",
];

fn check_name(name: &str) -> Result<(), Blocked> {
    if !name.contains('.') {
        return Err(Blocked("a name of a single label"));
    }
    let is_internal = INTERNAL_SUFFIXES.iter().any(|suffix| {
        let rest = name.strip_suffix(suffix);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    });
    if is_internal {
        return Err(Blocked("an internal name"));
    }
    Ok(())
}

/// Unprivileged ports where something other than a web server usually listens: consoles and stores
/// that obey whoever reaches them.
const FORBIDDEN_PORTS: [u16; 56] = [
    1080, 1099, 1433, 1521, 1883, 2049, 2181, 2375, 2376, 2379, 2380, 3128, 3306, 3389, 4369, 4444,
    5432, 5433, 5601, 5671, 5672, 5900, 5901, 5984, 5985, 5986, 6000, 6001, 6379, 6380, 6432, 6443,
    6660, 6666, 6667, 6668, 6669, 6697, 7000, 7001, 8086, 8500, 9042, 9092, 9160, 9200, 9300,
    10250, 10255, 11211, 15672, 26379, 27017, 27018, 27019, 61616,
];

fn check_port(port: u16) -> Result<(), Blocked> {
    let is_usual = matches!(port, 80 | 443 | 1024..) && !FORBIDDEN_PORTS.contains(&port);
    if is_usual {
        Ok(())
    } else {
        Err(Blocked("a port that is not for web servers"))
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

/// Everything in IPv4 that is not global unicast.
const DENIED_V4: [Ipv4Net; 15] = [
    v4(0, 0, 0, 0, 8),       // this network; Linux takes 0.0.0.0 for loopback
    v4(10, 0, 0, 0, 8),      // private
    v4(100, 64, 0, 0, 10),   // carrier-grade NAT
    v4(127, 0, 0, 0, 8),     // loopback
    v4(169, 254, 0, 0, 16),  // link-local, metadata
    v4(172, 16, 0, 0, 12),   // private
    v4(192, 0, 0, 0, 24),    // protocol assignments
    v4(192, 0, 2, 0, 24),    // documentation
    v4(192, 88, 99, 0, 24),  // 6to4 relays
    v4(192, 168, 0, 0, 16),  // private
    v4(198, 18, 0, 0, 15),   // benchmarking
    v4(198, 51, 100, 0, 24), // documentation
    v4(203, 0, 113, 0, 24),  // documentation
    v4(224, 0, 0, 0, 4),     // multicast
    v4(240, 0, 0, 0, 4),     // reserved, broadcast
];

const fn v6(a: u16, b: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix)
}

/// The only unicast space of IPv6 that is handed out. Mapped, compatible, NAT64, unique local,
/// link-local, site-local, multicast and discard addresses are all outside it.
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 3);

/// What is denied within [`GLOBAL_V6`].
const DENIED_V6: [Ipv6Net; 4] = [
    v6(0x2001, 0, 23),      // protocol assignments: Teredo, ORCHID
    v6(0x2001, 0x0db8, 32), // documentation
    v6(0x2002, 0, 16),      // 6to4: an IPv4 address in disguise
    v6(0x3fff, 0, 20),      // documentation
];

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !DENIED_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            let denied = DENIED_V6.iter().any(|net| net.contains(&address));
            GLOBAL_V6.contains(&address) && !denied && !is_isatap(address)
        }
    }
}

/// ISATAP carries an IPv4 address behind an interface id that says so.
fn is_isatap(address: Ipv6Addr) -> bool {
    let [_, _, _, _, high, low, _, _] = address.segments();
    matches!(high, 0x0000 | 0x0200) && low == 0x5efe
}

/// Addresses where clouds hand credentials to whoever asks. An operator who exempts the network
/// around one of them means the neighbours, so they stay denied.
fn is_metadata(address: IpAddr) -> bool {
    const METADATA_V4: [Ipv4Addr; 5] = [
        Ipv4Addr::new(169, 254, 169, 254),
        Ipv4Addr::new(169, 254, 170, 2),
        Ipv4Addr::new(169, 254, 170, 23),
        Ipv4Addr::new(100, 100, 100, 200),
        Ipv4Addr::new(192, 0, 0, 192),
    ];
    const METADATA_V6: [Ipv6Addr; 3] = [
        Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254),
        Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x23),
        Ipv6Addr::new(0xfd20, 0x0ce, 0, 0, 0, 0, 0, 0x254),
    ];
    match address {
        IpAddr::V4(address) => METADATA_V4.contains(&address),
        IpAddr::V6(address) => METADATA_V6.contains(&address),
    }
}
