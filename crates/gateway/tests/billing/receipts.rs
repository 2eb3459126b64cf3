//! Stripe's messages: what is credited, what is not, and what is told.

use domain::credits::Credits;
use futures_util::future::join_all;
use gateway::store::accounts::{Grant, Granted};
use serde_json::{Value, json};

use crate::client::Call;
use crate::stripe::{message, paid, signed};
use crate::world::{WEBHOOK, World, now_s, worlds};

const COMPLETED: &str = "checkout.session.completed";
const LATE: &str = "checkout.session.async_payment_succeeded";
const START: i64 = 100_000_000;

/// Opens a page; its session.
async fn session(world: &World, amount: i64) -> String {
    let body = json!({ "amount": amount });
    let page = world.post("/api/v1/billing/topup", &body).await.ok();
    page["session_id"].as_str().unwrap().to_owned()
}

/// Runs statements beside the gateway, as someone with a database shell would.
async fn by_hand(world: &World, sql: &str) {
    if let Some(path) = world.url.strip_prefix("sqlite://") {
        let file = rusqlite::Connection::open(path).unwrap();
        file.busy_timeout(std::time::Duration::from_secs(5))
            .unwrap();
        return file.execute_batch(sql).unwrap();
    }
    let connected = tokio_postgres::connect(&world.url, tokio_postgres::NoTls).await;
    let (client, connection) = connected.unwrap();
    let run = async {
        client.batch_execute(sql).await.unwrap();
        drop(client);
    };
    let (done, _) = tokio::join!(run, connection);
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_paid_is_credited_once_however_often_it_is_told() {
    for world in worlds().await {
        let session = session(&world, 25).await;
        let told = message(COMPLETED, paid(&session, 2_500));
        let late = message(LATE, paid(&session, 2_500));
        // At once, on every node, in both forms.
        let all = (0..16).map(|n| world.tell(n, if n % 4 < 2 { &told } else { &late }));
        for reply in join_all(all).await {
            assert_eq!(reply.ok(), json!({"received": true}));
        }
        assert_eq!(world.posted().await, START + 25_000_000, "{}", world.name);
        for n in 0..3 {
            world.tell(n, &told).await.ok();
        }
        assert_eq!(world.posted().await, START + 25_000_000);
        assert_eq!(world.top_ups("credited").await, 1);
        assert_eq!(world.top_ups("repeated").await, 18);
        let history = world.get("/api/v1/billing/transactions").await;
        let line = &history["data"][0];
        assert_eq!(
            (&line["payment_method"], &line["credits"]),
            (&json!("stripe"), &json!(25))
        );
        assert_eq!(line["status"], "completed");
        let check = world.store.any_ledger_check().await.unwrap();
        assert_eq!(check.problems, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stripe_says_was_paid_is_credited_not_what_was_asked_for() {
    for world in worlds().await {
        let session = session(&world, 25).await;
        world
            .tell(0, &message(COMPLETED, paid(&session, 2_001)))
            .await
            .ok();
        assert_eq!(world.posted().await, START + 20_010_000, "{}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_that_is_still_on_its_way_is_waited_for() {
    for world in worlds().await {
        let session = session(&world, 25).await;
        let mut waits = paid(&session, 2_500);
        waits["payment_status"] = json!("unpaid");
        world.tell(0, &message(COMPLETED, waits.clone())).await.ok();
        let failed = message("checkout.session.async_payment_failed", waits.clone());
        world.tell(0, &failed).await.ok();
        assert_eq!(world.posted().await, START, "{}", world.name);
        // Out of order: the good news first, the old news after it.
        world
            .tell(1, &message(LATE, paid(&session, 2_500)))
            .await
            .ok();
        world.tell(0, &message(COMPLETED, waits)).await.ok();
        assert_eq!(world.posted().await, START + 25_000_000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_not_ours_credits_nobody() {
    for world in worlds().await {
        let ours = session(&world, 25).await;
        // Another product's session may say what it likes of our accounts.
        let mut foreign = paid("cs_live_of_another_product", 5_000);
        foreign["client_reference_id"] = json!(world.account.as_str());
        foreign["metadata"] = json!({});
        foreign["payment_intent"] = json!(format!("pi_{ours}"));
        world
            .tell(0, &message(COMPLETED, foreign.clone()))
            .await
            .ok();
        assert_eq!(world.top_ups("foreign").await, 1);
        // One that looks like ours and has no record is told to the operator.
        foreign["metadata"] = json!({"routerbase_account": world.account.as_str()});
        world.tell(0, &message(COMPLETED, foreign)).await.ok();
        assert_eq!(world.top_ups("unclaimed").await, 1);
        let mut euros = paid(&ours, 2_500);
        euros["currency"] = json!("eur");
        world.tell(0, &message(COMPLETED, euros)).await.ok();
        assert_eq!(world.top_ups("unclaimed").await, 2);
        assert_eq!(world.posted().await, START, "{}", world.name);
        // What it says of an account, and even of another one, changes nothing for ours.
        world
            .tell(0, &message(COMPLETED, paid(&ours, 2_500)))
            .await
            .ok();
        assert_eq!(world.posted().await, START + 25_000_000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_was_entered_by_hand_is_not_entered_again() {
    for world in worlds().await {
        let session = session(&world, 25).await;
        let by_hand = world.store.grant(
            &world.account,
            Grant::TopUp,
            Credits(25_000_000),
            &session,
            1,
        );
        assert_eq!(by_hand.await, Ok(Granted::Yes));
        world
            .tell(0, &message(COMPLETED, paid(&session, 2_500)))
            .await
            .ok();
        assert_eq!(world.posted().await, START + 25_000_000, "{}", world.name);
        assert_eq!(world.top_ups("repeated").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_good_signature_nothing_is_believed() {
    for world in worlds().await {
        let session = session(&world, 25).await;
        let body = message(COMPLETED, paid(&session, 2_500));
        let now_s = now_s();
        let good = signed(&body, now_s);
        let more = message(COMPLETED, paid(&session, 9_900));
        for (body, header) in [
            (&body, String::new()),
            (&body, "t=1".to_owned()),
            (&body, good.replace("v1=", "v0=")),
            (&body, signed(&more, now_s)),
            (&more, good.clone()),
            // Recorded and played again, and signed by a clock that is ahead.
            (&body, signed(&body, now_s - 400)),
            (&body, signed(&body, now_s + 400)),
        ] {
            let reply = world.tell_with(0, body, &header).await;
            reply.refusal(400, "bad_request");
        }
        let bare = Call::new(world.node(0), "POST", WEBHOOK).body(body.clone());
        bare.send().await.refusal(400, "bad_request");
        let twice = Call::new(world.node(0), "POST", WEBHOOK)
            .header("stripe-signature", &good)
            .header("stripe-signature", &good)
            .body(body.clone());
        twice.send().await.refusal(400, "bad_request");
        assert_eq!(world.posted().await, START, "{}", world.name);
        assert_eq!(world.top_ups("forged").await, 9);
        // During a rotation of the secret there are two.
        let both = good.replace("v1=", "v1=0123456789abcdef,v1=");
        world.tell_with(0, &body, &both).await.ok();
        assert_eq!(world.posted().await, START + 25_000_000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_bounded_and_must_be_a_message() {
    let world = worlds().await.remove(0);
    let large = " ".repeat((1 << 20) + 1);
    world.tell(0, &large).await.refusal(413, "too_large");
    for body in ["", "{}", "[]", "null", "{\"type\":\"x\"}", "\u{0}"] {
        world.tell(0, body).await.refusal(400, "bad_request");
    }
    let broken = message(COMPLETED, json!({"id": "cs_1", "payment_status": "paid"}));
    world.tell(0, &broken).await.refusal(400, "bad_request");
    for kind in ["invoice.paid", "checkout.session.expired", "x"] {
        world.tell(0, &message(kind, Value::Null)).await.ok();
    }
    assert_eq!(world.posted().await, START);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_makes_stripe_repeat() {
    for world in worlds().await {
        let session = session(&world, 25).await;
        let body = message(COMPLETED, paid(&session, 2_500));
        for (away, back) in [
            ("checkouts RENAME TO aside", "aside RENAME TO checkouts"),
            ("entries RENAME TO aside", "aside RENAME TO entries"),
        ] {
            by_hand(&world, &format!("ALTER TABLE {away}")).await;
            let reply = world.tell(0, &body).await;
            assert!(reply.status >= 500, "{}: {reply:?}", world.name);
            by_hand(&world, &format!("ALTER TABLE {back}")).await;
            assert_eq!(world.posted().await, START);
        }
        world.tell(0, &body).await.ok();
        assert_eq!(world.posted().await, START + 25_000_000, "{}", world.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn money_that_goes_back_is_told_and_changes_no_balance() {
    for world in worlds().await {
        let session = session(&world, 25).await;
        world
            .tell(0, &message(COMPLETED, paid(&session, 2_500)))
            .await
            .ok();
        let payment = format!("pi_{session}");
        let charge = |payment: &str, metadata: Value| {
            json!({"id": "ch_1", "amount": 2500, "amount_refunded": 1000, "currency": "usd",
                "payment_intent": payment, "metadata": metadata})
        };
        let dispute = |payment: &str| {
            json!({"id": "dp_1", "amount": 2500, "currency": "usd", "charge": "ch_1",
                "payment_intent": payment, "metadata": {}})
        };
        for (kind, object) in [
            ("charge.refunded", charge(&payment, json!({}))),
            // The record is lost, and the charge still says whose it is.
            (
                "charge.refunded",
                charge("pi_lost", json!({"routerbase_account": "acc_1"})),
            ),
            ("charge.refunded", charge("pi_foreign", json!({}))),
            ("charge.dispute.created", dispute(&payment)),
            ("charge.dispute.created", dispute("pi_foreign")),
        ] {
            world.tell(0, &message(kind, object)).await.ok();
        }
        assert_eq!(world.top_ups("refunded").await, 2, "{}", world.name);
        assert_eq!(world.top_ups("disputed").await, 1);
        assert_eq!(world.top_ups("foreign").await, 2);
        assert_eq!(world.posted().await, START + 25_000_000);
    }
}
