//! Opening payment pages.

use domain::credits::Credits;
use domain::ids::AccountId;
use gateway::net::{Net, NetSettings};
use gateway::store::checkouts::Checkout;
use gateway::stripe::{Order, Stripe as Caller, StripeError, StripeSettings};
use serde_json::{Value, json};

use crate::client::{Call, Reply};
use crate::log;
use crate::stripe::{Mood, SECRET_KEY, Stripe};
use crate::world::{KEY, World, payments, worlds};

const PATH: &str = "/api/v1/billing/topup";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_opened_for_the_account_and_recorded() {
    for world in worlds().await {
        let reply = world.post(PATH, &json!({"amount": 25.5})).await.ok();
        let session = reply["session_id"].as_str().unwrap();
        let url = format!("https://checkout.stripe.com/c/pay/{session}");
        assert_eq!(reply, json!({"checkout_url": url, "session_id": session}));
        let account = world.account.as_str();
        let asked = world.stripe.asked().pop().unwrap();
        let wanted = [
            ("adaptive_pricing[enabled]", "false"),
            ("cancel_url", "https://ai.example.com/billing/cancelled"),
            ("client_reference_id", account),
            ("line_items[0][price_data][currency]", "usd"),
            ("line_items[0][price_data][product_data][name]", "Credits"),
            ("line_items[0][price_data][unit_amount]", "2550"),
            ("line_items[0][quantity]", "1"),
            ("metadata[routerbase_account]", account),
            ("mode", "payment"),
            ("payment_intent_data[metadata][routerbase_account]", account),
            ("success_url", "https://ai.example.com/billing/paid"),
        ];
        let form: Vec<_> = asked
            .form
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(form, wanted);
        assert!(
            asked
                .head
                .contains("content-type: application/x-www-form-urlencoded\r\n"),
            "{}",
            asked.head
        );
        let recorded = world.store.any_checkout(session).await.unwrap();
        let checkout = Checkout {
            id: session.to_owned(),
            account: world.account.clone(),
            credits: Credits(25_500_000),
        };
        assert_eq!(recorded, Some(checkout), "{}", world.name);
        // Opening a page is no payment.
        assert_eq!(world.posted().await, 100_000_000);
        assert_eq!(world.top_ups("opened").await, 1);
        for (page, word) in [
            ("/billing/paid", "Thank"),
            ("/billing/cancelled", "Nothing"),
        ] {
            let page = Call::new(world.node(0), "GET", page).send().await;
            assert_eq!(page.status, 200);
            assert!(page.body.starts_with(word.as_bytes()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_amount_is_whole_cents_within_the_operators_bounds() {
    let stripe = Stripe::start().await;
    let mut variables = payments(&stripe);
    variables.push(("ROUTERBASE_STRIPE__AMOUNT_MIN", "2.5".to_owned()));
    variables.push(("ROUTERBASE_STRIPE__AMOUNT_MAX", "500".to_owned()));
    let world = World::sqlite(stripe, &variables).await;
    for amount in [
        json!(null),
        json!("10"),
        json!([10]),
        json!(true),
        json!(-10),
        json!(0),
        json!(2.49),
        json!(500.01),
        json!(10.005),
        json!(10.000_000_1),
        json!(1e300),
        json!(9_223_372_036_854_775_807_i64),
        json!(18_446_744_073_709_551_615_u64),
    ] {
        let reply = world.post(PATH, &json!({ "amount": amount })).await;
        assert_eq!(reply.invalid(), "amount", "{amount}");
    }
    assert_eq!(world.post(PATH, &json!({})).await.invalid(), "amount");
    let told = world.post(PATH, &json!({"amount": 1})).await.json();
    assert_eq!(told["allowed"], json!({"min": 2.5, "max": 500}));
    assert!(world.stripe.asked().is_empty());
    for amount in [json!(2.5), json!(500), json!(10.10), json!(100.07)] {
        world.post(PATH, &json!({ "amount": amount })).await.ok();
    }
    let cents: Vec<_> = world
        .stripe
        .asked()
        .into_iter()
        .map(|asked| asked.form["line_items[0][price_data][unit_amount]"].clone())
        .collect();
    assert_eq!(cents, ["250", "50000", "1010", "10007"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_gives_the_same_page() {
    for world in worlds().await {
        let other = world.other_key("other").await;
        let ask = |key: &str, name: &'static str, amount: i64| {
            Call::new(world.node(0), "POST", PATH)
                .key(key)
                .header("idempotency-key", name)
                .json(&json!({ "amount": amount }))
                .send()
        };
        let first = ask(KEY, "a", 10).await.ok();
        assert_eq!(ask(KEY, "a", 10).await.ok(), first, "{}", world.name);
        assert_ne!(ask(KEY, "b", 10).await.ok(), first);
        // Another account's keys are its own.
        assert_ne!(ask(&other, "a", 10).await.ok(), first);
        assert_eq!(ask(KEY, "a", 11).await.invalid(), "Idempotency-Key");
        assert_eq!(ask(KEY, "", 10).await.invalid(), "Idempotency-Key");
        // Without a key each request is one of its own.
        let bare = || async { world.post(PATH, &json!({"amount": 10})).await.ok() };
        assert_ne!(bare().await, bare().await);
    }
}

fn is_away(reply: &Reply) {
    let body = reply.refusal(503, "overloaded");
    assert_eq!(
        body["message"],
        "The payment page could not be opened. Nothing was charged; try again."
    );
    assert_eq!(reply.header("retry-after"), Some("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stripe_that_does_not_answer_well_is_told_as_one_refusal() {
    let stripe = Stripe::start().await;
    let world = World::sqlite(stripe.clone(), &payments(&stripe)).await;
    let moods = [
        Mood::Refusing(429),
        Mood::Refusing(500),
        Mood::Refusing(400),
        Mood::Refusing(302),
        Mood::Babbling("<html>"),
        Mood::Babbling("{}"),
        Mood::Babbling(r#"{"id": "ch_1", "url": "https://x.example"}"#),
        Mood::Babbling(r#"{"id": "cs_1", "url": "javascript:alert(1)"}"#),
        Mood::Babbling(r#"{"id": "cs_1", "url": null}"#),
        Mood::Resetting,
        Mood::Truncating,
    ];
    for mood in moods {
        stripe.set(mood);
        is_away(&world.post(PATH, &json!({"amount": 10})).await);
    }
    stripe.set(Mood::Refusing(409));
    let twin = world.post(PATH, &json!({"amount": 10})).await;
    twin.refusal(409, "conflict");
    stripe.set(Mood::Well);
    world.post(PATH, &json!({"amount": 10})).await.ok();
    let failed = u64::try_from(moods.len()).unwrap() + 1;
    assert_eq!(world.top_ups("unopened").await, failed);
    assert_eq!(world.top_ups("opened").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_key_and_nobody_there_are_the_same_refusal() {
    let stripe = Stripe::start().await;
    let mut variables = payments(&stripe);
    variables[0].1 = "sk_test_wrong".to_owned();
    let world = World::sqlite(stripe.clone(), &variables).await;
    is_away(&world.post(PATH, &json!({"amount": 10})).await);
    assert_eq!(stripe.asked().len(), 1);
    // Nobody listens there.
    variables[2].1 = "http://127.0.0.1:9".to_owned();
    let world = World::sqlite(stripe, &variables).await;
    is_away(&world.post(PATH, &json!({"amount": 10})).await);
}

#[tokio::test]
async fn a_silent_stripe_is_given_up() {
    let stripe = Stripe::start().await;
    stripe.set(Mood::Silent);
    let settings = StripeSettings {
        call_timeout_ms: 100,
        ..StripeSettings::new(
            stripe.url(),
            SECRET_KEY.to_owned(),
            "https://x.example/paid".to_owned(),
            "https://x.example/cancelled".to_owned(),
        )
    };
    let net = Net::new(NetSettings::default(), None).unwrap();
    let caller = Caller::new(net, settings);
    let order = Order {
        account: AccountId("acc_1".to_owned()),
        cents: 1_000,
        key: "k".to_owned(),
    };
    let Err(StripeError::Away(detail)) = caller.open(&order).await else {
        panic!("nobody answered");
    };
    assert!(detail.contains("no reply in time"), "{detail}");
    assert!(!format!("{caller:?}").contains("hush"));
}

// On one thread, as what is kept is this thread's.
#[tokio::test]
async fn no_secret_is_logged() {
    let stripe = Stripe::start().await;
    let world = World::sqlite(stripe.clone(), &payments(&stripe)).await;
    for mood in [Mood::Well, Mood::Refusing(500), Mood::Resetting] {
        stripe.set(mood);
        let _ = world.post(PATH, &json!({"amount": 10})).await;
    }
    let _ = world.tell(0, "{}").await;
    let text = log::taken();
    assert!(text.contains("Stripe refused with 500"), "{text}");
    assert!(!text.contains("hush"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_both_secrets_nothing_is_sold() {
    let stripe = Stripe::start().await;
    let all = payments(&stripe);
    for missing in ["STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"] {
        let some = all.iter().filter(|(name, _)| *name != missing).cloned();
        let some: Vec<_> = some.collect();
        let world = World::sqlite(stripe.clone(), &some).await;
        let reply = world.post(PATH, &json!({"amount": 10})).await;
        reply.refusal(505, "feature_disabled");
        let told = world.tell(0, "{}").await;
        // What was sold before still comes in.
        match missing {
            "STRIPE_SECRET_KEY" => told.refusal(400, "bad_request"),
            _ => told.refusal(505, "feature_disabled"),
        };
    }
    assert!(stripe.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_with_the_scope() {
    let stripe = Stripe::start().await;
    let world = World::sqlite(stripe.clone(), &payments(&stripe)).await;
    let made = world
        .post(
            "/api/v1/api-keys",
            &json!({"name": "k", "scopes": ["run", "read", "keys"]}),
        )
        .await
        .ok();
    let body: Value = json!({"amount": 10});
    for call in [
        Call::new(world.node(0), "POST", PATH).json(&body),
        Call::new(world.node(0), "POST", PATH)
            .key(made["key"].as_str().unwrap())
            .json(&body),
    ] {
        call.send().await.refusal(401, "unauthorized");
    }
    assert!(stripe.asked().is_empty());
}
