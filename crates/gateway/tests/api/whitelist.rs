//! Whitelists over the wire: the real edge, behind proxies and not.

use std::net::SocketAddr;
use std::sync::Arc;

use domain::key::Grant;
use gateway::api::router;
use gateway::client_ip::Proxies;
use gateway::edge::{EdgeSettings, serve};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::client::Call;
use crate::world::{World, hooks, results};

/// A gateway behind the real edge, which every test reaches from 127.0.0.1.
struct Edged {
    world: World,
    address: SocketAddr,
    closing: CancellationToken,
}

impl Drop for Edged {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

impl Edged {
    async fn behind(proxies: &[&str]) -> Self {
        let world = World::new().await;
        let networks = proxies.iter().map(|proxy| proxy.parse().unwrap());
        let settings = EdgeSettings {
            proxies: Proxies::new(networks.collect()),
            ..EdgeSettings::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let closing = CancellationToken::new();
        let app = router(Arc::clone(&world.api), results(), hooks(&world.api));
        tokio::spawn(serve(listener, app, settings, closing.clone()));
        Self {
            world,
            address,
            closing,
        }
    }

    /// Whether a key with a whitelist is let in with these headers.
    async fn lets_in(&self, whitelist: &[&str], headers: &[(&'static str, &str)]) -> bool {
        let grant = Grant {
            ip_whitelist: whitelist.iter().map(ToString::to_string).collect(),
            ..Grant::account("whitelisted")
        };
        let key = self.world.new_key(&self.world.account, grant).await;
        let mut call = Call::new(self.address, "GET", "/api/v1/billing/balance").key(&key);
        for (name, value) in headers {
            call = call.header(name, value);
        }
        let reply = call.send().await;
        match reply.status {
            200 => true,
            _ => {
                reply.refusal(401, "unauthorized");
                false
            }
        }
    }
}

const XFF: &str = "x-forwarded-for";
const FORWARDED: &str = "forwarded";

#[tokio::test]
async fn without_proxies_only_the_socket_counts() {
    let edged = Edged::behind(&[]).await;
    for own in [
        "127.0.0.1",
        "127.0.0.0/8",
        "0.0.0.0/0",
        "::ffff:127.0.0.1",
        "::ffff:127.0.0.1/120",
        "::ffff:7f00:1",
    ] {
        assert!(edged.lets_in(&[own], &[]).await, "{own}");
        assert!(edged.lets_in(&["192.0.2.1", own], &[]).await, "{own}");
        let spoofed = [(XFF, "192.0.2.1"), (FORWARDED, "for=192.0.2.1")];
        assert!(edged.lets_in(&[own], &spoofed).await, "{own}");
    }
    for other in [
        "192.0.2.1",
        "::/0",
        "::1",
        "::ffff:127.0.1.0/120",
        "126.0.0.0/8",
    ] {
        assert!(!edged.lets_in(&[other], &[]).await, "{other}");
    }
    for header in [
        (XFF, "192.0.2.1"),
        (XFF, "192.0.2.1, 127.0.0.1"),
        (FORWARDED, "for=192.0.2.1"),
        ("x-real-ip", "192.0.2.1"),
        ("x-client-ip", "192.0.2.1"),
        ("true-client-ip", "192.0.2.1"),
        ("cf-connecting-ip", "192.0.2.1"),
    ] {
        let is_let_in = edged.lets_in(&["192.0.2.1"], &[header]).await;
        assert!(!is_let_in, "{header:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_trusted_names_nobody() {
    let edged = Edged::behind(&["10.0.0.0/8", "2001:db8::/32"]).await;
    for header in [(XFF, "192.0.2.1"), (FORWARDED, "for=192.0.2.1")] {
        assert!(!edged.lets_in(&["192.0.2.1"], &[header]).await);
        assert!(edged.lets_in(&["127.0.0.1"], &[header]).await);
    }
}

#[tokio::test]
async fn trusted_proxies_name_the_client_over_several_hops() {
    let edged = Edged::behind(&["127.0.0.0/8", "::ffff:10.0.0.0/104", "fd00::/8"]).await;
    for (row, client) in [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1, 10.0.0.9", "192.0.2.1"),
        ("192.0.2.1:4711, 10.0.0.9, fd00::7, 127.0.0.3", "192.0.2.1"),
        ("2001:db8::1, [fd00::7]:80", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        // The client may write what it likes to the left of what the proxies wrote.
        ("198.51.100.1, 192.0.2.1, 10.0.0.9", "192.0.2.1"),
        ("10.0.0.1, 192.0.2.1", "192.0.2.1"),
        ("garbage, ,;=\", 192.0.2.1", "192.0.2.1"),
        // Only proxies: the first of them is the client.
        ("10.0.0.5, 10.0.0.6", "10.0.0.5"),
    ] {
        assert!(edged.lets_in(&[client], &[(XFF, row)]).await, "{row}");
        let prefix = if client.contains(':') { 128 } else { 32 };
        let network = format!("{client}/{prefix}");
        assert!(edged.lets_in(&[&network], &[(XFF, row)]).await, "{row}");
        let others = ["198.51.100.1", "127.0.0.1", "10.0.0.9", "10.0.0.1"];
        assert!(!edged.lets_in(&others, &[(XFF, row)]).await, "{row}");
    }
    let rows = [(XFF, "198.51.100.1"), (XFF, "192.0.2.1"), (XFF, "10.0.0.9")];
    assert!(
        edged.lets_in(&["192.0.2.1"], &rows).await,
        "one header a hop"
    );
    let standard = "for=198.51.100.1, for=\"[2001:db8::1]:443\";proto=https, For=10.0.0.9";
    assert!(
        edged
            .lets_in(&["2001:db8::/64"], &[(FORWARDED, standard)])
            .await
    );
}

/// The proxies' own networks are often whitelisted: nobody may come to be taken for one of them.
#[tokio::test]
async fn whom_the_proxies_do_not_name_clearly_is_not_taken_for_one_of_them() {
    let edged = Edged::behind(&["127.0.0.0/8", "10.0.0.0/8"]).await;
    let everyone = ["0.0.0.0/0", "::/0"];
    let proxies = ["127.0.0.0/8", "10.0.0.0/8"];
    for headers in [
        vec![(XFF, "unknown")],
        vec![(XFF, "")],
        vec![(XFF, "192.0.2.1, what, 10.0.0.9")],
        vec![(XFF, "10.0.0.9,")],
        vec![(FORWARDED, "for=_hidden")],
        vec![(FORWARDED, "proto=https")],
        vec![(XFF, "192.0.2.1"), (FORWARDED, "for=10.0.0.9")],
        vec![(XFF, "192.0.2.1"), (FORWARDED, "nonsense")],
        vec![(XFF, "300.0.0.1")],
        vec![(XFF, "10.0.0.1%eth0")],
    ] {
        for whitelist in [&everyone, &proxies] {
            let is_let_in = edged.lets_in(whitelist, &headers).await;
            assert!(!is_let_in, "{headers:?} {whitelist:?}");
        }
        assert!(
            edged.lets_in(&[], &headers).await,
            "no whitelist, no matter"
        );
    }
    // A proxy that calls for itself adds no header.
    assert!(edged.lets_in(&["127.0.0.1"], &[]).await);
}
