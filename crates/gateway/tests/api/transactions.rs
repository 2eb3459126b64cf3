//! The history of an account's credits.

use domain::credits::Credits;
use domain::key::{Grant, Scope};
use gateway::clock::rfc3339;
use gateway::store::accounts::Grant as Kind;
use serde_json::{Value, json};

use crate::client::Call;
use crate::world::World;

const PATH: &str = "/api/v1/billing/transactions";

async fn lines(world: &World, query: &str) -> Value {
    world.get(&format!("{PATH}{query}")).send().await.ok()
}

#[tokio::test]
async fn a_history_tells_of_tasks_and_gifts() {
    let world = World::new().await;
    let done = world.submitted().await;
    world.succeeded(&done).await;
    let failed = world.submitted().await;
    world.failed(&failed).await;
    let running = world.submitted().await;
    let adjusted = world.store.grant(
        &world.account,
        Kind::Adjust,
        Credits(-2_500_000),
        "a",
        world.now_ms() + 1_000,
    );
    adjusted.await.unwrap();
    let page = lines(&world, "").await;
    assert_eq!(page["total"], 5);
    assert_eq!((&page["page"], &page["per_page"]), (&json!(1), &json!(20)));
    let told: Vec<_> = page["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            assert!(line["id"].as_str().unwrap().starts_with("txn_"), "{line}");
            assert_eq!(line.as_object().unwrap().len(), 7, "{line}");
            let created = line["created_at"].as_str().unwrap();
            assert!(created.ends_with('Z'), "{line}");
            (
                line["credits"].clone(),
                line["amount"].clone(),
                line["payment_method"].clone(),
                line["status"].clone(),
                line["task_id"].clone(),
            )
        })
        .collect();
    let line = |credits: Value, amount: Value, method: &str, status: &str, task: Value| {
        (credits, amount, json!(method), json!(status), task)
    };
    let usage = |credits, amount, status, task: &domain::ids::TaskId| {
        line(credits, amount, "usage", status, json!(task.as_str()))
    };
    let wanted = [
        line(
            json!(-2.5),
            json!(2.5),
            "adjustment",
            "completed",
            Value::Null,
        ),
        usage(json!(-0.04), json!(0.04), "pending", &running),
        usage(json!(0), json!(0), "completed", &failed),
        usage(json!(-0.04), json!(0.04), "completed", &done),
        line(json!(100), json!(100), "grant", "completed", Value::Null),
    ];
    assert_eq!(told[0], wanted[0]);
    // Those of one millisecond may stand in any order.
    for line in &wanted {
        assert!(told.contains(line), "{line:?} is not in {told:?}");
    }
}

#[tokio::test]
async fn pages_and_spans() {
    let world = World::new().await;
    for n in 1..=4 {
        let at_ms = 1_000_000 * n;
        let reference = n.to_string();
        let granted = world.store.grant(
            &world.account,
            Kind::TopUp,
            Credits(n * 1_000_000),
            &reference,
            at_ms,
        );
        granted.await.unwrap();
    }
    let second = lines(&world, "?page=2&per_page=2").await;
    assert_eq!((&second["page"], &second["total"]), (&json!(2), &json!(5)));
    let credits = |page: &Value| -> Vec<Value> {
        let lines = page["data"].as_array().unwrap();
        lines.iter().map(|line| line["credits"].clone()).collect()
    };
    assert_eq!(credits(&second), [json!(3), json!(2)]);
    assert_eq!(
        credits(&lines(&world, "?page=9").await),
        Vec::<Value>::new()
    );
    let span = format!("?from={}&to={}", rfc3339(2_000_000), rfc3339(4_000_000));
    let span = lines(&world, &span).await;
    assert_eq!(
        (credits(&span), &span["total"]),
        (vec![json!(3), json!(2)], &json!(2))
    );
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_by_name() {
    let world = World::new().await;
    for (query, name) in [
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=x", "page"),
        ("page=1.5", "page"),
        ("page=501", "page"),
        ("page=101&per_page=100", "page"),
        ("page=99999999999999999999", "page"),
        ("per_page=0", "per_page"),
        ("per_page=101", "per_page"),
        ("per_page=2&per_page=3", "per_page"),
        ("from=yesterday", "from"),
        ("to=2026-13-01T00:00:00Z", "to"),
    ] {
        let reply = world.get(&format!("{PATH}?{query}")).send().await;
        assert_eq!(reply.invalid(), name, "{query}");
    }
    lines(&world, "?page=500").await;
    lines(&world, "?page=10000&per_page=1").await;
}

#[tokio::test]
async fn only_the_account_itself_and_only_with_the_scope() {
    let world = World::new().await;
    let stranger = world.new_account("stranger", 3).await;
    let strange = world.new_key(&stranger, Grant::account("strange")).await;
    world.submitted().await;
    let theirs = Call::new(world.address, "GET", PATH)
        .key(&strange)
        .send()
        .await
        .ok();
    assert_eq!(
        (&theirs["total"], &theirs["data"][0]["credits"]),
        (&json!(1), &json!(3))
    );
    let reader = Grant {
        scopes: vec![Scope::Run, Scope::Read, Scope::Keys],
        ..Grant::account("reader")
    };
    let reader = world.new_key(&world.account, reader).await;
    let refused = Call::new(world.address, "GET", PATH).key(&reader);
    refused.send().await.refusal(401, "unauthorized");
    let nobody = Call::new(world.address, "GET", PATH).send().await;
    nobody.refusal(401, "unauthorized");
}
