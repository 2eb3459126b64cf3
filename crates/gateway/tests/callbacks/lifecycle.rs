//! Replays, stops and restarts.

use std::time::Duration;

use crate::receiver::{Play, Receiver, reply};
use crate::scenarios;
use crate::world::{World, eventually};

scenarios!(
    a_replay_starts_a_schedule_of_its_own,
    a_replay_during_a_post_is_not_lost,
    a_stop_waits_for_what_is_under_way,
    a_stop_breaks_off_what_takes_too_long_and_gives_it_back,
    what_a_crash_held_is_sent_again,
);

async fn a_replay_starts_a_schedule_of_its_own(world: World) {
    let receiver = Receiver::new(|n| {
        let status = [410, 500, 500, 200][n % 4];
        Play::Say(reply(status, "", ""))
    })
    .await;
    let running = world.run();
    let id = world.end(&receiver.url()).await;
    assert_eq!(world.attempts(&id, 1).await.0.state, "gone");
    let replayed = world
        .store
        .replay_notice(&world.account, &id, world.clock.now_ms());
    assert_eq!(replayed.await, Ok(true));
    // The second POST of all is the first of a schedule: five seconds follow it.
    let (notice, deliveries) = world.attempts(&id, 2).await;
    assert_eq!(notice.state, "pending");
    let wait_ms = notice.due_ms - deliveries[1].at_ms - deliveries[1].took_ms;
    assert!((4_000..=6_000).contains(&wait_ms), "{wait_ms}");
    world.pass(10_000);
    world.attempts(&id, 3).await;
    world.pass(60_000);
    let (notice, deliveries) = world.attempts(&id, 4).await;
    assert_eq!(notice.state, "delivered");
    let numbers: Vec<i64> = deliveries.iter().map(|delivery| delivery.n).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    let seen = receiver.seen();
    assert!(seen.iter().all(|post| post.body == seen[0].body));
    running.stop().await;
}

async fn a_replay_during_a_post_is_not_lost(world: World) {
    let receiver = Receiver::new(|n| match n {
        0 => Play::Say(reply(500, "", "")),
        1 => Play::Late(Duration::from_millis(400), reply(410, "", "")),
        _ => Play::Say(reply(200, "", "")),
    })
    .await;
    let running = world.run();
    let id = world.end(&receiver.url()).await;
    world.attempts(&id, 1).await;
    world.pass(10_000);
    eventually("the second POST", async || receiver.seen().len() == 2).await;
    let replayed = world
        .store
        .replay_notice(&world.account, &id, world.clock.now_ms());
    assert_eq!(replayed.await, Ok(true));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(receiver.seen().len(), 2);
    let (notice, deliveries) = world.attempts(&id, 3).await;
    assert_eq!(notice.state, "delivered");
    assert_eq!(deliveries[1].status, Some(410));
    running.stop().await;
}

async fn a_stop_waits_for_what_is_under_way(world: World) {
    let late = Play::Late(Duration::from_millis(500), reply(200, "", ""));
    let receiver = Receiver::new(move |_| late.clone()).await;
    let ids = world.end_all(&receiver.url(), 8).await;
    let running = world.run();
    eventually("four POSTs", async || receiver.seen().len() == 4).await;
    running.stop().await;
    assert_eq!(receiver.seen().len(), 4);
    let mut states = Vec::new();
    for id in &ids {
        states.push(world.state(id).await);
    }
    states.sort();
    assert_eq!(states[..4], ["delivered"; 4]);
    assert_eq!(states[4..], ["pending"; 4]);
    // What is left is anybody's at once.
    let now_ms = world.clock.now_ms();
    let lanes = world.store.any_lanes("", 10, now_ms).await.unwrap();
    let wanted = [(lanes[0].clone(), 10)];
    let left = world.store.any_claim_lanes(&wanted, now_ms);
    assert_eq!(left.await.unwrap().len(), 4);
}

async fn a_stop_breaks_off_what_takes_too_long_and_gives_it_back(mut world: World) {
    world.set(|settings| {
        settings.timeout_ms = 10_000;
        settings.drain_ms = 100;
    });
    let late = Play::Late(Duration::from_secs(8), reply(200, "", ""));
    let receiver = Receiver::new(move |_| late.clone()).await;
    let id = world.end(&receiver.url()).await;
    let running = world.run();
    eventually("a POST", async || receiver.seen().len() == 1).await;
    running.stop().await;
    assert_eq!(world.notice(&id).await.0.attempts, 0);
    let now_ms = world.clock.now_ms();
    let lanes = world.store.any_lanes("", 10, now_ms).await.unwrap();
    assert!(lanes[0].due_ms.is_some());
}

async fn what_a_crash_held_is_sent_again(world: World) {
    let receiver = Receiver::saying(200).await;
    let id = world.end(&receiver.url()).await;
    let now_ms = world.clock.now_ms();
    let lanes = world.store.any_lanes("", 10, now_ms).await.unwrap();
    let wanted = [(lanes[0].clone(), 10)];
    let held = world.store.any_claim_lanes(&wanted, now_ms);
    assert_eq!(held.await.unwrap().len(), 1);
    let running = world.run();
    if world.store.is_shared() {
        // Another node may hold it: its lease has to end.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(receiver.seen().is_empty());
        world.pass(60_001);
    }
    let (notice, _) = world.attempts(&id, 1).await;
    assert_eq!(notice.state, "delivered");
    running.stop().await;
}
