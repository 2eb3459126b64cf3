//! Shutting down.

use super::*;

#[tokio::test]
async fn requests_under_way_are_answered_and_idle_connections_closed() {
    let server = Server::patient().await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    until(&mut idle, "hello").await;
    let mut racing = server.connect().await;
    racing
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    until(&mut racing, "hello").await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    sleep(Duration::from_millis(100)).await;
    server.shutdown.cancel();
    sleep(Duration::from_millis(100)).await;
    assert!(TcpStream::connect(server.address).await.is_err());
    // Sent before the client could know: answered once, then closed.
    racing
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let reply = rest(&mut racing).await;
    assert!(
        reply.contains("connection: close") && reply.ends_with("hello"),
        "{reply}"
    );
    assert_eq!(rest(&mut idle).await, "");
    assert!(rest(&mut busy).await.ends_with("slow"));
    let ended = timeout(Duration::from_secs(1), server.task).await;
    ended.expect("the edge ends").unwrap();
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut_off() {
    let server = Server::start(EdgeSettings {
        drain_ms: 300,
        drain_idle_ms: 100,
        ..EdgeSettings::default()
    })
    .await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    sleep(Duration::from_millis(100)).await;
    server.shutdown.cancel();
    let ended = timeout(Duration::from_millis(1_000), server.task).await;
    ended.expect("the edge ends").unwrap();
    let mut all = Vec::new();
    let _ = busy.read_to_end(&mut all).await;
    assert!(all.is_empty());
}
