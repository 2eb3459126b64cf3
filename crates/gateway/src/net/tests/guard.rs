use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use proptest::prelude::*;
use url::Url;

use super::super::{Egress, Net, NetError, NetSettings, Trust, UNREACHABLE};
use super::Names;

/// Hostile spellings. A name here resolves to a public address, so that its form is what refuses it.
const HOSTILE: &[&str] = &[
    // Loopback, in every notation that a browser understands.
    "http://127.0.0.1/",
    "http://127.0.0.1:8080/",
    "http://127.1/",
    "http://127.0.1/",
    "http://127.255.255.254/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://0x7f.0.0.1/",
    "http://0x7F.0x0.0x0.0x1/",
    "http://017700000001/",
    "http://0177.0.0.1/",
    "http://0177.0.1/",
    "http://0177.1/",
    "http://00000177.1/",
    "http://127.0x1/",
    "http://127.0.0.1./",
    "http://%31%32%37.0.0.1/",
    "http://%3127.0.0.1/",
    "http://127。0。0。1/",
    "http://１２７.０.０.１/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127.0.0.1\\@example.com/",
    "http:127.0.0.1",
    "http:///127.0.0.1/",
    "http:\\\\127.0.0.1\\",
    "ht\ntp://127.0.0.1/",
    "http://\t127.0.0.1/",
    "http://127.0.0.1#@example.com/",
    "http://127.0.0.1?@example.com/",
    "http://256.256.256.256/",
    "http://4294967297/",
    "http://0x100000001/",
    "http://127.0.0.1.1/",
    "http://127.0.0.09/",
    // This network and other ranges that are not global.
    "http://0/",
    "http://0.0.0.0/",
    "http://0.0.0.0:80/",
    "http://00/",
    "http://0x0/",
    "http://0.1.2.3/",
    "http://10.0.0.1/",
    "http://10.255.255.255/",
    "http://167772161/",
    "http://0xa000001/",
    "http://012.0.0.1/",
    "http://100.64.0.1/",
    "http://100.127.255.255/",
    "http://100.100.100.200/",
    "http://169.254.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.170.2/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://0xA9.0xFE.0xA9.0xFE/",
    "http://169.254.43518/",
    "http://169.16689662/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.0.0.1/",
    "http://192.0.0.192/",
    "http://192.0.2.1/",
    "http://192.88.99.1/",
    "http://192.168.0.1/",
    "http://192.168.65535/",
    "http://3232235521/",
    "http://198.18.0.1/",
    "http://198.19.255.255/",
    "http://198.51.100.1/",
    "http://203.0.113.1/",
    "http://224.0.0.1/",
    "http://239.255.255.250/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://4294967295/",
    // IPv6 that is not global, or is IPv4 in disguise.
    "http://[::]/",
    "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[0000:0000:0000:0000:0000:0000:0000:0001]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:8.8.8.8]/",
    "http://[0:0:0:0:0:ffff:a9fe:a9fe]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[::127.0.0.1]/",
    "http://[::8.8.8.8]/",
    "http://[::7f00:1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b::169.254.169.254]/",
    "http://[64:ff9b::8.8.8.8]/",
    "http://[64:ff9b:1::a00:1]/",
    "http://[64:ff9b:1:ffff::10.0.0.1]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[2002:808:808::]/",
    "http://[2001::1]/",
    "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "http://[2001:10::1]/",
    "http://[2001:20::1]/",
    "http://[2001:1ff:ffff::1]/",
    "http://[2001:db8::1]/",
    "http://[3fff::1]/",
    "http://[3fff:fff::1]/",
    "http://[2606:4700::5efe:7f00:1]/",
    "http://[2606:4700::200:5efe:10.0.0.1]/",
    "http://[100::1]/",
    "http://[100:0:0:1::1]/",
    "http://[5f00::1]/",
    "http://[fc00::1]/",
    "http://[fd00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[fd20:ce::254]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[::1%25lo]/",
    "http://[febf::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[ff0e::1]/",
    "http://[4000::1]/",
    "http://[1fff::1]/",
    "http://[::1/",
    "http://[127.0.0.1]/",
    // Names that are nobody's on the internet, and tricks with dots.
    "http://localhost/",
    "http://LOCALHOST/",
    "http://LocalHost:8080/",
    "http://localhost./",
    "http://localhost../",
    "http://ｌｏｃａｌｈｏｓｔ/",
    "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
    "http://loc\u{ad}alhost/",
    "http://lo%63alhost/",
    "http://a.localhost/",
    "http://localhost.localdomain/",
    "http://printer/",
    "http://redis:80/",
    "http://printer.local/",
    "http://metadata.google.internal/",
    "http://metadata.google.internal./",
    "http://sandbox.internal/",
    "http://router.home.arpa/",
    "http://home.arpa/",
    "http://1.0.0.127.in-addr.arpa/",
    "http://nas.lan/",
    "http://example.com./",
    "http://example..com/",
    "http://.example.com/",
    "http://./",
    "http://a b.example.com/",
    "http://example.com%00.evil.com/",
    "http://exa*mple.com/",
    // Credentials, schemes, ports.
    "http://user@example.com/",
    "http://user:pass@example.com/",
    "http://:pass@example.com/",
    "http://example.com@127.0.0.1/",
    "http://127.0.0.1@example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://example.com:6379/_x",
    "data:text/plain,x",
    "javascript:alert(1)",
    "unix:///var/run/docker.sock",
    "ws://example.com/",
    "dict://example.com/",
    "//example.com/",
    "",
    "http://",
    "http://:80/",
    "http://example.com:0/",
    "http://example.com:22/",
    "http://example.com:25/",
    "http://example.com:53/",
    "http://example.com:445/",
    "http://example.com:65536/",
    "http://example.com:2375/",
    "http://example.com:3306/",
    "http://example.com:5432/",
    "http://example.com:6379/",
    "http://example.com:9200/",
    "http://example.com:11211/",
    "http://example.com:27017/",
    "http://8.8.8.8:22/",
    "http://[2606:4700::1111]:6379/",
];

fn public() -> SocketAddr {
    "93.184.215.14:80".parse().unwrap()
}

fn over(names: &Arc<Names>, allow: &[&str]) -> Net {
    let settings = NetSettings {
        allow: allow.iter().map(|net| net.parse().unwrap()).collect(),
        ..NetSettings::default()
    };
    Net::over(Arc::clone(names) as _, settings, None).unwrap()
}

#[tokio::test]
async fn hostile_urls_are_refused_before_anything_is_dialed() {
    let names = Arc::new(Names {
        answers: vec![public()],
        ..Names::default()
    });
    let net = over(&names, &[]);
    assert!(HOSTILE.len() >= 160, "{}", HOSTILE.len());
    for hostile in HOSTILE {
        let Ok(url) = Url::parse(hostile) else {
            continue;
        };
        let quick = net.egress().check_url(&url);
        assert!(quick.is_err(), "{hostile} passes at save time");
        let refused = net.connect(&url, Trust::Outside, 1_000).await.unwrap_err();
        assert!(matches!(refused, NetError::Blocked(_)), "{hostile}");
        assert_eq!(refused.to_string(), UNREACHABLE);
    }
    assert!(names.dialed.lock().unwrap().is_empty());
    assert!(names.resolved.lock().unwrap().is_empty());
}

#[test]
fn ordinary_urls_pass() {
    let egress = Egress::default();
    for url in [
        "https://example.com/hook?x=1#y",
        "http://example.com:8080/",
        "https://EXAMPLE.com:8443/",
        "https://bücher.example/",
        "https://under_score.example.com/",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]/",
        "https://[2a00:1450:4001:800::200e]/",
        "https://172.32.0.1/",
        "https://100.128.0.1/",
        "https://localhost.example.com/",
        "https://notlocal.example/",
    ] {
        let url = Url::parse(url).unwrap();
        assert_eq!(egress.check_url(&url), Ok(()), "{url}");
    }
}

#[test]
fn one_bad_answer_spoils_the_set() {
    let egress = Egress::default();
    let url = Url::parse("http://rebind.example.com/").unwrap();
    let answers = |list: &[&str]| -> Vec<SocketAddr> {
        list.iter().map(|answer| answer.parse().unwrap()).collect()
    };
    assert_eq!(egress.admit(&url, &[public()]), Ok(()));
    for bad in [
        &["93.184.215.14:80", "127.0.0.1:80"][..],
        &["10.0.0.1:80", "93.184.215.14:80"],
        &["93.184.215.14:80", "[::1]:80"],
        &["93.184.215.14:80", "[::ffff:93.184.215.14]:80"],
        &["[2606:4700::1111]:80", "[64:ff9b::1]:80"],
        &["169.254.169.254:80"],
        &[],
    ] {
        assert!(egress.admit(&url, &answers(bad)).is_err(), "{bad:?}");
    }
}

#[test]
fn exempt_networks_open_only_themselves() {
    let allow = ["127.0.0.0/8", "169.254.0.0/16", "fd00::/8", "::/96"];
    let egress = Egress::new(allow.iter().map(|net| net.parse().unwrap()).collect());
    let check = |url: &str| egress.check_url(&Url::parse(url).unwrap()).is_ok();
    assert!(check("http://127.0.0.1:9999/"));
    assert!(check("http://127.0.0.1:6379/"), "any port within them");
    assert!(check("http://127.0.0.1:22/"));
    assert!(check("http://localhost:9999/"), "judged when connected to");
    assert!(check("http://[fd00::7]/"));
    assert!(check("http://169.254.1.1/"));
    assert!(!check("http://169.254.169.254/"), "metadata stays denied");
    assert!(!check("http://[fd00:ec2::254]/"), "metadata stays denied");
    assert!(!check("http://[::ffff:127.0.0.1]/"), "mapped stays denied");
    assert!(!check("http://10.0.0.1/"));
    assert!(!check("http://localhost.:9999/"));
    assert!(!check("http://me@127.0.0.1/"));

    let admit = |url: &str, answer: &str| {
        let url = Url::parse(url).unwrap();
        egress.admit(&url, &[answer.parse().unwrap()]).is_ok()
    };
    assert!(admit("http://localhost:9999/", "127.0.0.1:9999"));
    assert!(admit("http://db.internal:5432/", "127.0.0.2:5432"));
    assert!(!admit("http://localhost:9999/", "93.184.215.14:9999"));
    assert!(!admit("http://db.internal/", "10.0.0.1:80"));
    assert!(!admit("http://example.com:22/", "93.184.215.14:22"));
    let url = Url::parse("http://localhost/").unwrap();
    let mixed = [public(), "127.0.0.1:80".parse().unwrap()];
    assert!(egress.admit(&url, &mixed).is_err());
}

#[tokio::test]
async fn blocked_unknown_and_dead_addresses_read_the_same() {
    let names = Arc::new(Names::default());
    let net = over(&names, &[]);
    let unknown = Url::parse("http://unknown.example.com/").unwrap();
    let unknown = net.connect(&unknown, Trust::Outside, 1_000).await;
    let dead = Url::parse("http://93.184.215.14/").unwrap();
    let dead = net.connect(&dead, Trust::Outside, 1_000).await;
    let blocked = Url::parse("http://10.0.0.1/").unwrap();
    let blocked = net.connect(&blocked, Trust::Outside, 1_000).await;
    for error in [unknown, dead, blocked] {
        assert_eq!(error.unwrap_err().to_string(), UNREACHABLE);
    }
}

#[tokio::test]
async fn a_connection_to_another_address_than_the_judged_is_dropped() {
    let server = super::Server::saying(super::ok("x"));
    let names = Arc::new(Names {
        answers: vec![public()],
        leads_to: Some(server.address),
        peer: Some(server.address),
        ..Names::default()
    });
    let url = Url::parse("http://example.com/").unwrap();
    let refused = over(&names, &[]).connect(&url, Trust::Outside, 1_000).await;
    assert!(matches!(refused, Err(NetError::Unreachable(_))));
    assert_eq!(*names.dialed.lock().unwrap(), vec![public()]);
    assert!(server.seen().is_empty());
}

proptest! {
    #[test]
    fn only_global_unicast_v6_passes(bits: u128) {
        let address = Ipv6Addr::from(bits);
        let is_global = bits >> 125 == 1;
        let url = Url::parse(&format!("http://[{address}]/")).unwrap();
        let passes = Egress::default().check_url(&url).is_ok();
        prop_assert!(is_global || !passes);
    }

    #[test]
    fn nothing_that_std_calls_special_passes(bits: u32) {
        let address = Ipv4Addr::from(bits);
        let is_special = address.is_private()
            || address.is_loopback()
            || address.is_link_local()
            || address.is_broadcast()
            || address.is_documentation()
            || address.is_multicast()
            || address.is_unspecified();
        let url = Url::parse(&format!("http://{address}/")).unwrap();
        let by_literal = Egress::default().check_url(&url);
        let name = Url::parse("http://example.com/").unwrap();
        let answer = SocketAddr::new(IpAddr::V4(address), 80);
        let by_name = Egress::default().admit(&name, &[answer]);
        prop_assert_eq!(&by_literal, &by_name);
        prop_assert!(!is_special || by_literal.is_err());
    }
}
