//! Receivers that are slow, huge, dead or forbidden.

use std::time::Duration;

use gateway::net::UNREACHABLE;
use tokio::net::TcpListener;

use crate::receiver::{Play, Receiver, reply};
use crate::scenarios;
use crate::world::World;

scenarios!(
    a_slow_receiver_is_left,
    a_huge_reply_is_cut,
    a_refused_connection_is_retried_to_the_end,
    a_forbidden_url_is_blocked_at_once,
    a_name_is_tried_again,
    a_receiver_that_hangs_up_is_retried,
);

async fn a_slow_receiver_is_left(mut world: World) {
    world.set(|settings| settings.timeout_ms = 300);
    let late = Play::Late(Duration::from_secs(20), reply(200, "", ""));
    let receiver = Receiver::new(move |_| late.clone()).await;
    let running = world.run();
    let id = world.end(&receiver.url()).await;
    let (notice, deliveries) = world.attempts(&id, 1).await;
    assert_eq!(
        (notice.state.as_str(), notice.last_status),
        ("pending", None)
    );
    assert!((300..2_000).contains(&deliveries[0].took_ms));
    assert!(deliveries[0].note.contains("did not answer within 300 ms"));
    running.stop().await;
}

async fn a_huge_reply_is_cut(world: World) {
    let receiver = Receiver::new(|_| Play::Flood).await;
    let running = world.run();
    let id = world.end(&receiver.url()).await;
    let (notice, deliveries) = world.attempts(&id, 1).await;
    assert_eq!(notice.state, "delivered");
    assert_eq!(deliveries[0].note, "x".repeat(1_024));
    assert!(deliveries[0].took_ms < 2_000);
    running.stop().await;
}

async fn a_receiver_that_hangs_up_is_retried(world: World) {
    let receiver = Receiver::new(|_| Play::HangUp).await;
    let running = world.run();
    let id = world.end(&receiver.url()).await;
    let (notice, deliveries) = world.attempts(&id, 1).await;
    assert_eq!(notice.state, "pending");
    assert!(deliveries[0].note.contains("without an answer"));
    running.stop().await;
}

async fn a_refused_connection_is_retried_to_the_end(mut world: World) {
    // Each attempt is the only notice of its host: the breaker's probes do not come into it.
    world.set(|settings| settings.probe_ms = 0);
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", free.local_addr().unwrap());
    drop(free);
    let running = world.run();
    let id = world.end(&url).await;
    for attempt in 1..=12 {
        let (notice, deliveries) = world.attempts(&id, attempt).await;
        let last = deliveries.last().unwrap();
        assert_eq!((last.n, last.status), (attempt, None));
        assert_eq!(last.note, UNREACHABLE);
        let state = if attempt < 12 { "pending" } else { "exhausted" };
        assert_eq!(notice.state, state);
        world.pass(30 * 3_600_000);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.notice(&id).await.0.attempts, 12);
    running.stop().await;
}

async fn a_forbidden_url_is_blocked_at_once(world: World) {
    let running = world.run();
    for url in [
        "http://10.0.0.1/hook",
        "http://169.254.169.254/latest/",
        "http://[::1]/",
        "http://user@example.com/",
        "https://gateway.example/api/v1/run",
        "file:///etc/passwd",
    ] {
        let id = world.end(url).await;
        let (notice, deliveries) = world.attempts(&id, 1).await;
        assert_eq!(notice.state, "blocked", "{url}");
        assert_eq!(deliveries[0].note, UNREACHABLE);
    }
    running.stop().await;
}

async fn a_name_is_tried_again(world: World) {
    let running = world.run();
    let id = world.end("http://does-not-exist.invalid/").await;
    let (notice, deliveries) = world.attempts(&id, 1).await;
    assert_eq!(notice.state, "pending");
    assert_eq!(deliveries[0].note, UNREACHABLE);
    running.stop().await;
}
