//! One receiver's trouble is not another's.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::receiver::{Play, Receiver, reply};
use crate::scenarios;
use crate::world::{World, eventually};

scenarios!(
    a_dead_host_delays_nobody,
    a_slow_host_gets_four_at_a_time_and_delays_nobody,
    a_breaker_opens_and_closes,
    an_account_with_many_hosts_delays_nobody,
    more_hosts_than_a_page_all_get_their_turn,
    two_nodes_send_everything_once,
);

async fn a_dead_host_delays_nobody(mut world: World) {
    let free = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let dead = format!("http://{}/", free.local_addr().unwrap());
    drop(free);
    let dead = world.end_all(&dead, 2_000).await;
    let first = world.account.clone();
    world.other_account("second").await;
    let healthy = Receiver::saying(200).await;
    let running = world.run();
    let began = Instant::now();
    let ids = world.end_all(&healthy.url(), 40).await;
    for id in &ids {
        eventually("delivered", async || world.state(id).await == "delivered").await;
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    // The breaker is open: the rest waits without being tried.
    let mut tried = 0;
    for id in &dead {
        let (notice, _) = world.store.notice(&first, id).await.unwrap().unwrap();
        assert_eq!(notice.state, "pending");
        tried += notice.attempts;
    }
    assert!((10..=16).contains(&tried), "{tried}");
    running.stop().await;
}

async fn a_slow_host_gets_four_at_a_time_and_delays_nobody(world: World) {
    let late = Play::Late(Duration::from_millis(200), reply(200, "", ""));
    let slow = Receiver::on("127.0.0.2", move |_| late.clone()).await;
    let slow_ids = world.end_all(&slow.url(), 30).await;
    let healthy = Receiver::saying(200).await;
    let running = world.run();
    let ids = world.end_all(&healthy.url(), 30).await;
    for id in &ids {
        eventually("delivered", async || world.state(id).await == "delivered").await;
    }
    assert!(slow.seen().len() < 30);
    for id in &slow_ids {
        eventually("delivered", async || world.state(id).await == "delivered").await;
    }
    assert_eq!(slow.busiest(), 4);
    assert_eq!(slow.seen().len(), 30);
    running.stop().await;
}

async fn a_breaker_opens_and_closes(mut world: World) {
    world.set(|settings| settings.per_host_max = 1);
    let receiver = Receiver::new(|n| {
        let status = if n < 11 { 503 } else { 200 };
        Play::Say(reply(status, "", ""))
    })
    .await;
    let ids = world.end_all(&receiver.url(), 20).await;
    let running = world.run();
    let count = async |count| {
        let what = format!("{count} POSTs");
        eventually(&what, async || receiver.seen().len() >= count).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(receiver.seen().len(), count);
    };
    count(10).await;
    world.pass(50_000);
    tokio::time::sleep(Duration::from_millis(100)).await;
    count(10).await;
    world.pass(10_000);
    count(11).await;
    world.pass(60_000);
    for id in &ids {
        eventually("delivered", async || world.state(id).await == "delivered").await;
    }
    for id in &ids {
        assert!(world.notice(id).await.0.attempts <= 2);
    }
    running.stop().await;
}

async fn an_account_with_many_hosts_delays_nobody(mut world: World) {
    world.set(|settings| {
        settings.in_flight_max = 8;
        settings.timeout_ms = 15_000;
        settings.drain_ms = 100;
    });
    let mut tarpits = Vec::new();
    for n in 1..=20 {
        let late = Play::Late(Duration::from_secs(20), reply(200, "", ""));
        let host = format!("127.0.1.{n}");
        let tarpit = Receiver::on(&host, move |_| late.clone()).await;
        world.end(&tarpit.url()).await;
        tarpits.push(tarpit);
    }
    world.other_account("second").await;
    let healthy = Receiver::saying(200).await;
    let running = world.run();
    let began = Instant::now();
    let ids = world.end_all(&healthy.url(), 10).await;
    for id in &ids {
        eventually("delivered", async || world.state(id).await == "delivered").await;
    }
    assert!(began.elapsed() < Duration::from_secs(10));
    let tried = tarpits.iter().filter(|tarpit| !tarpit.seen().is_empty());
    assert_eq!(tried.count(), 4);
    running.stop().await;
}

async fn more_hosts_than_a_page_all_get_their_turn(world: World) {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let hosts = (0..1_200).map(|n| format!("http://127.2.{}.{}:{port}/", n / 200, n % 200 + 1));
    let ids = world.end_each(&hosts.collect::<Vec<_>>()).await;
    let running = world.run();
    for id in &ids {
        world.attempts(id, 1).await;
    }
    for id in &ids {
        assert_eq!(world.notice(id).await.0.attempts, 1);
    }
    running.stop().await;
}

async fn two_nodes_send_everything_once(world: World) {
    if !world.store.is_shared() {
        return;
    }
    let receiver = Receiver::saying(200).await;
    let (one, other) = (world.run(), world.run());
    let ids = world.end_all(&receiver.url(), 200).await;
    for id in &ids {
        eventually("delivered", async || world.state(id).await == "delivered").await;
    }
    one.stop().await;
    other.stop().await;
    let mut seen: Vec<String> = receiver
        .seen()
        .iter()
        .map(|post| post.header("webhook-id").to_owned())
        .collect();
    seen.sort();
    let mut expected: Vec<String> = ids.iter().map(ToString::to_string).collect();
    expected.sort();
    assert_eq!(seen, expected);
}
