//! What a receiver gets, and what its reply leads to.

use std::time::Duration;

use domain::signing::Secret;
use gateway::net::UNREACHABLE;

use crate::receiver::{Play, Receiver, reply};
use crate::scenarios;
use crate::world::{PUBLIC_URL, World, eventually};

scenarios!(
    the_task_object_comes_signed,
    a_failed_task_is_told_too,
    a_retry_has_the_same_id_and_the_same_bytes,
    gone_stops,
    a_redirect_is_not_followed,
    retry_after_is_waited_for,
    a_rotation_signs_with_both,
    the_first_attempt_is_immediate,
    a_test_is_sent_at_once,
);

async fn the_task_object_comes_signed(world: World) {
    let receiver = Receiver::saying(204).await;
    let running = world.run();
    let id = world.end(&receiver.url()).await;
    let (notice, deliveries) = world.attempts(&id, 1).await;
    assert_eq!(notice.state, "delivered");
    assert_eq!(notice.last_status, Some(204));
    assert_eq!((deliveries[0].n, deliveries[0].status), (1, Some(204)));

    let seen = receiver.seen().remove(0);
    assert_eq!(seen.line, "POST /hook?a=1 HTTP/1.1");
    assert_eq!(seen.header("content-type"), "application/json");
    assert!(seen.header("user-agent").starts_with("RouterBase/"));
    assert_eq!(seen.header("webhook-id"), id.as_str());
    let now_s = world.clock.now_ms() / 1_000;
    assert_eq!(seen.header("webhook-timestamp"), now_s.to_string());
    assert!(seen.is_signed_by(&world.secrets().await[0]));
    assert!(!seen.is_signed_by(&Secret::mint(&[1; 32]).reveal()));

    let task = seen.json();
    assert_eq!(task["task_id"], notice.task.as_str());
    assert_eq!(task["status"], "success");
    let url = format!("{PUBLIC_URL}/results/0123abcd/picture.png");
    assert_eq!(task["result_urls"][0], url);
    assert_eq!(task["callback"]["state"], "pending");
    assert_eq!(task["callback"]["attempts"], 0);
    assert!(task["callback"]["last_status"].is_null());
    assert_eq!(task["metadata"]["order"], "7");
    assert!(!seen.body.contains(&b'\n'));
    running.stop().await;
}

async fn a_failed_task_is_told_too(world: World) {
    let receiver = Receiver::saying(200).await;
    let running = world.run();
    let id = world.end_badly(&receiver.url()).await;
    world.attempts(&id, 1).await;
    let task = receiver.seen()[0].json();
    assert_eq!(task["status"], "fail");
    assert_eq!(task["error_message"], "It took too long.");
    assert_eq!(task["error"]["type"], "timeout");
    running.stop().await;
}

async fn a_retry_has_the_same_id_and_the_same_bytes(world: World) {
    let receiver = Receiver::new(|n| {
        let status = if n == 0 { 500 } else { 200 };
        Play::Say(reply(status, "", "it\u{0}broke"))
    })
    .await;
    let running = world.run();
    let id = world.end(&receiver.url()).await;
    let (notice, deliveries) = world.attempts(&id, 1).await;
    assert_eq!(notice.state, "pending");
    assert_eq!(deliveries[0].note, "itbroke");
    let wait_ms = notice.due_ms - deliveries[0].at_ms - deliveries[0].took_ms;
    assert!((4_000..=6_000).contains(&wait_ms), "{wait_ms}");

    world.pass(3_900);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(receiver.seen().len(), 1);
    world.pass(2_200 + deliveries[0].took_ms);
    let (notice, deliveries) = world.attempts(&id, 2).await;
    assert_eq!(notice.state, "delivered");
    assert_eq!(deliveries.len(), 2);
    let seen = receiver.seen();
    assert_eq!(seen[0].body, seen[1].body);
    assert_eq!(seen[0].header("webhook-id"), seen[1].header("webhook-id"));
    let stamp = |n: usize| seen[n].header("webhook-timestamp");
    assert_ne!(stamp(0), stamp(1));
    assert!(seen[1].is_signed_by(&world.secrets().await[0]));
    running.stop().await;
}

async fn gone_stops(world: World) {
    let receiver = Receiver::saying(410).await;
    let running = world.run();
    let id = world.end(&receiver.url()).await;
    let (notice, _) = world.attempts(&id, 1).await;
    assert_eq!(notice.state, "gone");
    world.pass(86_400_000);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(receiver.seen().len(), 1);
    running.stop().await;
}

async fn a_redirect_is_not_followed(world: World) {
    let target = Receiver::saying(200).await;
    let to = format!("location: {}\r\n", target.url());
    let receiver = Receiver::new(move |n| {
        let status = [301, 302, 303, 307, 308][n % 5];
        Play::Say(reply(status, &to, ""))
    })
    .await;
    let running = world.run();
    let ids = world.end_all(&receiver.url(), 5).await;
    for id in &ids {
        let (notice, deliveries) = world.attempts(id, 1).await;
        assert_eq!(notice.state, "pending");
        assert_eq!(deliveries[0].status.unwrap() / 100, 3);
    }
    assert!(target.seen().is_empty());
    running.stop().await;
}

async fn retry_after_is_waited_for(world: World) {
    let receiver = Receiver::new(|n| {
        let header = ["retry-after: 600\r\n", "retry-after: 1\r\n"][n % 2];
        Play::Say(reply(429, header, ""))
    })
    .await;
    let running = world.run();
    let id = world.end(&receiver.url()).await;
    let (notice, deliveries) = world.attempts(&id, 1).await;
    let end_ms = deliveries[0].at_ms + deliveries[0].took_ms;
    assert_eq!(notice.due_ms, end_ms + 600_000);
    world.pass(notice.due_ms - world.clock.now_ms());
    // A short wait does not undercut the schedule.
    let (notice, deliveries) = world.attempts(&id, 2).await;
    assert!(notice.due_ms - deliveries[1].at_ms >= 24_000);
    running.stop().await;
}

async fn a_rotation_signs_with_both(world: World) {
    let receiver = Receiver::saying(200).await;
    let old = world.secrets().await.remove(0);
    let new = Secret::mint(&[9; 32]);
    let rotated = world
        .store
        .rotate_callback_secret(&world.account, new.clone(), world.clock.now_ms())
        .await;
    rotated.unwrap();
    let running = world.run();
    let first = world.end(&receiver.url()).await;
    world.attempts(&first, 1).await;
    let seen = receiver.seen().remove(0);
    assert!(seen.is_signed_by(&old) && seen.is_signed_by(&new.reveal()));
    world.pass(86_400_001);
    let second = world.end(&receiver.url()).await;
    world.attempts(&second, 1).await;
    let seen = receiver.seen().remove(1);
    assert!(!seen.is_signed_by(&old) && seen.is_signed_by(&new.reveal()));
    running.stop().await;
}

async fn the_first_attempt_is_immediate(mut world: World) {
    world.set(|settings| settings.poll_ms = 60_000);
    let receiver = Receiver::saying(200).await;
    let running = world.run();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let began = tokio::time::Instant::now();
    world.end(&receiver.url()).await;
    eventually("a POST", async || !receiver.seen().is_empty()).await;
    // The poll would come after a minute; the rest is for a busy machine.
    assert!(began.elapsed() < Duration::from_secs(5));
    running.stop().await;
}

async fn a_test_is_sent_at_once(world: World) {
    let receiver = Receiver::new(|_| Play::Say(reply(418, "", "no coffee"))).await;
    let callbacks = world.callbacks();
    let report = callbacks.test(&world.account, &receiver.url()).await;
    let report = report.unwrap();
    assert!(!report.is_delivered);
    assert_eq!(report.status, Some(418));
    assert_eq!(report.note, "no coffee");
    let seen = receiver.seen().remove(0);
    assert!(seen.is_signed_by(&world.secrets().await[0]));
    assert_eq!(seen.header("webhook-id"), report.id.as_str());
    assert_eq!(seen.json()["status"], "success");
    for url in [
        "http://10.0.0.1/",
        "ftp://example.com/",
        "nonsense",
        PUBLIC_URL,
    ] {
        let refused = callbacks.test(&world.account, url).await.unwrap_err();
        assert_eq!(refused.to_string(), UNREACHABLE, "{url}");
    }
}
