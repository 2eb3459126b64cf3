//! Limits of keys, as a client meets them.

use domain::credits::Credits;
use domain::key::Grant;
use serde_json::json;

use crate::client::{Call, Reply};
use crate::world::{IMAGE, World};

async fn submit(world: &World, key: &str) -> Reply {
    let call = Call::new(world.address, "POST", &format!("/api/v1/run/{IMAGE}"));
    call.key(key).json(&json!({"prompt": "fox"})).send().await
}

#[tokio::test]
async fn a_full_window_is_429_and_says_when_to_come_back() {
    let world = World::new().await;
    let grant = Grant {
        rate_limit_rpm: Some(2),
        rate_limit_tpd: Some(100),
        ..Grant::account("limited")
    };
    let key = world.new_key(&world.account, grant).await;
    for left in [1, 0] {
        let reply = submit(&world, &key).await;
        reply.ok();
        let policy = "\"rpm\";q=2;w=60, \"tpd\";q=100;w=86400";
        assert_eq!(reply.header("ratelimit-policy"), Some(policy));
        let told = reply.header("ratelimit").unwrap();
        assert!(told.starts_with(&format!("\"rpm\";r={left};t=")), "{told}");
    }
    let full = submit(&world, &key).await;
    let refusal = full.refusal(429, "rate_limited");
    assert_eq!(refusal["retryable"], true);
    let wait: u64 = full.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    let told = full.header("ratelimit").unwrap();
    assert_eq!(told, format!("\"rpm\";r=0;t={wait}"));

    // Polling is never counted, and a key without limits hears of none.
    let id = world.submitted().await;
    for _ in 0..5 {
        let poll = Call::new(world.address, "GET", &format!("/api/v1/run/tasks/{id}"));
        poll.key(&key).send().await.ok();
    }
    assert_eq!(submit(&world, &world.key).await.header("ratelimit"), None);
}

#[tokio::test]
async fn a_replay_and_a_wrong_body_do_not_count() {
    let world = World::new().await;
    let grant = Grant {
        rate_limit_rpm: Some(1),
        ..Grant::account("limited")
    };
    let key = world.new_key(&world.account, grant).await;
    let path = format!("/api/v1/run/{IMAGE}");
    let call = || Call::new(world.address, "POST", &path).key(&key);
    let wrong = call().json(&json!({"prompt": 5})).send().await;
    wrong.refusal(422, "validation_error");
    let once = || {
        call()
            .header("idempotency-key", "once")
            .json(&json!({"prompt": "x"}))
    };
    let first = once().send().await.ok();
    assert_eq!(once().send().await.ok(), first);
    submit(&world, &key).await.refusal(429, "rate_limited");
}

#[tokio::test]
async fn a_day_without_credits_left_is_402() {
    let world = World::new().await;
    let price = world.post(
        &format!("/api/v1/run/{IMAGE}/estimate"),
        &json!({"prompt": "fox"}),
    );
    let price = price.send().await.ok()["max_credits"].as_f64().unwrap();
    #[expect(clippy::cast_possible_truncation, reason = "an amount of the test")]
    let micros = (price * 1e6).round() as i64;
    let grant = Grant {
        daily_credit_limit: Some(Credits(micros * 2)),
        ..Grant::account("daily")
    };
    let key = world.new_key(&world.account, grant).await;
    submit(&world, &key).await.ok();
    submit(&world, &key).await.ok();
    let refusal = submit(&world, &key)
        .await
        .refusal(402, "insufficient_credits");
    let message = refusal["message"].as_str().unwrap();
    assert!(message.contains("a day"), "{message}");
}
