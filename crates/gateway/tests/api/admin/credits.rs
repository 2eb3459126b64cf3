//! Credits given and taken, once for a reference.

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::Operated;

fn path(operated: &Operated) -> String {
    format!("{}/credits", operated.tenant())
}

#[tokio::test]
async fn a_reference_counts_once() {
    let operated = Operated::new().await;
    let body = json!({"amount": 50.25, "reference": "invoice-1", "note": "paid by wire"});
    let here = path(&operated);
    let twins = (0..10).map(|_| operated.post(&here, body.clone()));
    let replies: Vec<Value> = join_all(twins)
        .await
        .iter()
        .map(|reply| reply.ok())
        .collect();
    let entered = replies.iter().filter(|reply| reply["entered"] == true);
    assert_eq!(entered.count(), 1);
    for reply in &replies {
        assert_eq!(reply["credits"], 150.25);
        assert_eq!(reply["amount"], 50.25);
        assert_eq!(reply["kind"], "top_up");
        assert_eq!(reply["reference"], "invoice-1");
    }
    let other = json!({"amount": 50, "reference": "invoice-1"});
    let reply = operated.post(&path(&operated), other).await;
    assert_eq!(reply.invalid(), "reference");
    let shop = operated
        .post("accounts", json!({"name": "shop"}))
        .await
        .ok();
    let elsewhere = format!("accounts/{}/credits", super::account(&shop));
    let reply = operated.post(&elsewhere, body).await;
    assert_eq!(reply.invalid(), "reference", "it counts for the deployment");
    // Of another kind it is another entry.
    let adjust = json!({"amount": -0.25, "reference": "invoice-1", "kind": "adjust"});
    let reply = operated.post(&path(&operated), adjust).await.ok();
    assert_eq!(
        (&reply["entered"], &reply["credits"]),
        (&json!(true), &json!(150))
    );
    assert_eq!(operated.world.balance().await, (150_000_000, 0));
    let audited = operated.all("audit?action=credits.grant", 100).await;
    assert_eq!(audited.len(), 2, "only what was entered");
    assert_eq!(audited[1]["after"]["note"], "paid by wire");
    assert_eq!(audited[1]["subject"], "top_up:invoice-1");
}

#[tokio::test]
async fn what_is_held_is_not_taken() {
    let operated = Operated::new().await;
    operated.world.submitted().await;
    let take = |amount: f64| {
        let body = json!({"amount": amount, "reference": "r", "kind": "adjust"});
        let path = path(&operated);
        let operated = &operated;
        async move { operated.post(&path, body).await }
    };
    let reply = take(-99.97).await;
    assert_eq!(reply.refusal(409, "conflict")["param"], "amount");
    let reply = take(-99.96).await.ok();
    assert_eq!(
        (&reply["credits"], &reply["held"]),
        (&json!(0), &json!(0.04))
    );
    assert_eq!(operated.world.balance().await, (40_000, 40_000));
}

#[tokio::test]
async fn an_order_is_checked() {
    let operated = Operated::new().await;
    let whole = || json!({"amount": 1, "reference": "r"});
    for (name, value) in [
        ("amount", json!(null)),
        ("amount", json!("1")),
        ("amount", json!(0)),
        ("amount", json!(-1)),
        ("amount", json!(0.000_000_1)),
        ("amount", json!(1_000_000_000.5)),
        ("reference", json!(null)),
        ("reference", json!("")),
        ("reference", json!(7)),
        ("reference", json!("x".repeat(201))),
        ("reference", json!("a\u{0}b")),
        ("note", json!("x".repeat(501))),
        ("kind", json!("hold")),
        ("kind", json!("close")),
        ("kind", json!(1)),
    ] {
        let mut body = whole();
        body[name] = value.clone();
        let reply = operated.post(&path(&operated), body).await;
        assert_eq!(reply.invalid(), name, "{value}");
    }
    let zero = json!({"amount": 0, "reference": "r", "kind": "adjust"});
    assert_eq!(
        operated.post(&path(&operated), zero).await.invalid(),
        "amount"
    );
    let nobody = operated.post("accounts/acc_nobody/credits", whole()).await;
    nobody.refusal(404, "not_found");
    assert_eq!(operated.world.balance().await, (100_000_000, 0));
    assert_eq!(operated.get("audit").await.ok()["data"], json!([]));
}
