//! Who is connected, and how many.

use super::*;

#[tokio::test]
async fn the_client_is_who_a_trusted_proxy_says() {
    let request = b"GET /ip HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\
        Connection: close\r\n\r\n";
    let server = Server::patient().await;
    assert!(server.say(request).await.ends_with("127.0.0.1"));
    let networks = vec!["127.0.0.0/8".parse().unwrap()];
    let server = Server::start(EdgeSettings {
        proxies: Proxies::new(networks),
        ..EdgeSettings::default()
    })
    .await;
    assert!(server.say(request).await.ends_with("192.0.2.1"));
}

#[tokio::test]
async fn further_connections_wait_for_a_slot() {
    let server = Server::start(EdgeSettings {
        connections_max: 1,
        timers: TIMERS,
        ..EdgeSettings::default()
    })
    .await;
    let _silent = server.connect().await;
    sleep(Duration::from_millis(50)).await;
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert!(server.say(request).await.ends_with("hello"));
}

#[tokio::test]
async fn one_address_has_its_own_limit() {
    let server = Server::start(EdgeSettings {
        connections_per_ip_max: Some(1),
        ..EdgeSettings::default()
    })
    .await;
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert!(server.say(request).await.ends_with("hello"));
    sleep(Duration::from_millis(50)).await;
    let mut first = server.connect().await;
    sleep(Duration::from_millis(50)).await;
    let mut second = server.connect().await;
    let mut none = Vec::new();
    let _ = second.read_to_end(&mut none).await;
    assert!(none.is_empty());
    first.write_all(request).await.unwrap();
    assert!(rest(&mut first).await.ends_with("hello"));
}
