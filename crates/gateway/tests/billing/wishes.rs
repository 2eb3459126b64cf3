//! Alerts over HTTP, and a mail through the whole gateway.

use gateway::app::App;
use gateway::config::Config;
use gateway::store::alerts::AlertState;
use serde_json::{Value, json};

use crate::client::{Call, Reply};
use crate::smtp::{MailServer, Security};
use crate::stripe::Stripe;
use crate::world::{World, payments};

const PATH: &str = "/api/v1/billing/alerts";

async fn world(server: &MailServer) -> World {
    let stripe = Stripe::start().await;
    let mut variables = payments(&stripe);
    variables.extend(mails(server));
    World::sqlite(stripe, &variables).await
}

fn mails(server: &MailServer) -> [(&'static str, String); 4] {
    [
        ("ROUTERBASE_SMTP__HOST", "localhost".to_owned()),
        ("ROUTERBASE_SMTP__PORT", server.address.port().to_string()),
        ("ROUTERBASE_SMTP__TLS", "none".to_owned()),
        (
            "ROUTERBASE_SMTP__FROM",
            "Billing <billing@example.com>".to_owned(),
        ),
    ]
}

/// A threshold that is not reached.
fn quiet() -> Value {
    json!({"threshold": 10, "email": "finance@example.org"})
}

async fn delete(world: &World, id: &str) -> Reply {
    world.call("DELETE", &format!("{PATH}/{id}")).send().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_are_made_listed_and_deleted() {
    let world = world(&MailServer::start(Security::Plain).await).await;
    let made = world.post(PATH, &quiet()).await.ok();
    let id = made["id"].as_str().unwrap();
    assert!(id.starts_with("alert_"), "{made}");
    assert!(made["created_at"].as_str().unwrap().ends_with('Z'));
    let wanted = json!({"id": id, "threshold": 10, "email": "finance@example.org",
        "state": "armed", "last_sent_at": null, "created_at": made["created_at"]});
    assert_eq!(made, wanted);
    // A client of the documented call names no address: the operator hears of it.
    let bare = world.post(PATH, &json!({"threshold": 0.5})).await.ok();
    assert_eq!(bare["email"], "billing@example.com");
    let listed = world.get(PATH).await;
    assert_eq!(listed, json!({"data": [made, bare]}));
    let gone = delete(&world, id).await.ok();
    assert_eq!(gone, json!({"code": 200, "message": "deleted"}));
    for id in [id, "alert_unknown", "%00", "x"] {
        delete(&world, id).await.refusal(404, "not_found");
    }
    assert_eq!(world.get(PATH).await, json!({"data": [bare]}));
    for _ in 0..9 {
        world.post(PATH, &quiet()).await.ok();
    }
    let full = world.post(PATH, &quiet()).await.refusal(409, "conflict");
    assert!(full["message"].as_str().unwrap().contains("10 alerts"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_an_alert_is_refused_by_name() {
    let world = world(&MailServer::start(Security::Plain).await).await;
    for threshold in [
        json!(null),
        json!(0),
        json!(-1),
        json!("10"),
        json!(0.000_000_1),
        json!(1_000_000_001),
        json!(1e300),
    ] {
        let body = json!({"threshold": threshold, "email": "a@example.org"});
        let reply = world.post(PATH, &body).await;
        assert_eq!(reply.invalid(), "threshold", "{threshold}");
    }
    for email in [
        json!(""),
        json!("nobody"),
        json!("a@example.org, b@example.org"),
        json!("a@example.org\r\nBcc: b@example.org"),
        json!(["a@example.org"]),
        json!(1),
    ] {
        let body = json!({"threshold": 1, "email": email});
        assert_eq!(world.post(PATH, &body).await.invalid(), "email", "{email}");
    }
    let listed = world.get(PATH).await;
    assert_eq!(listed, json!({"data": []}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_mails_there_are_no_new_alerts() {
    let stripe = Stripe::start().await;
    let world = World::sqlite(stripe.clone(), &payments(&stripe)).await;
    let refused = world.post(PATH, &quiet()).await;
    refused.refusal(505, "feature_disabled");
    assert_eq!(world.get(PATH).await, json!({"data": []}));
    delete(&world, "alert_x").await.refusal(404, "not_found");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_stops_the_start() {
    let server = MailServer::start(Security::Plain).await;
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("certificate");
    let mut variables = mails(&server).to_vec();
    let place = folder.display();
    variables.extend([
        ("ROUTERBASE_SERVER__LISTEN", "127.0.0.1:0".to_owned()),
        (
            "ROUTERBASE_DATABASE__URL",
            format!("sqlite://{place}/rb.db"),
        ),
        ("ROUTERBASE_MEDIA__URL", format!("file://{place}/media")),
        ("ROUTERBASE_SMTP__CA_FILE", format!("{place}/nowhere.pem")),
    ]);
    let pairs = variables.into_iter();
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value));
    let config = Config::load(None, pairs).unwrap();
    let refused = App::open(config).await.err().unwrap().to_string();
    assert!(refused.contains("nowhere.pem"), "{refused}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_account_itself_and_only_with_the_scope() {
    let world = world(&MailServer::start(Security::Plain).await).await;
    let made = world.post(PATH, &quiet()).await.ok();
    let one = format!("{PATH}/{}", made["id"].as_str().unwrap());
    let other = world.other_key("other").await;
    let theirs = |method: &str, path: &str, key: &str| {
        Call::new(world.node(0), method, path)
            .key(key)
            .json(&quiet())
            .send()
    };
    let listed = theirs("GET", PATH, &other).await.ok();
    assert_eq!(listed, json!({"data": []}));
    theirs("DELETE", &one, &other)
        .await
        .refusal(404, "not_found");
    let scopes = json!({"name": "k", "scopes": ["run", "read", "keys"]});
    let weak = world.post("/api/v1/api-keys", &scopes).await.ok();
    let weak = weak["key"].as_str().unwrap();
    for (method, path) in [("GET", PATH), ("POST", PATH), ("DELETE", one.as_str())] {
        theirs(method, path, weak)
            .await
            .refusal(401, "unauthorized");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submit_that_crosses_the_threshold_sends_a_mail() {
    let server = MailServer::start(Security::Plain).await;
    let world = world(&server).await;
    // The account has 100 credits, and a picture holds four hundredths.
    let alert = json!({"threshold": 100, "email": "finance@example.org"});
    world.post(PATH, &alert).await.ok();
    let run = "/api/v1/run/image_generate.imagen_4";
    world.post(run, &json!({"prompt": "a fox"})).await.ok();
    while server.taken().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let mail = &server.taken()[0];
    assert_eq!(mail.to, ["RCPT TO:<finance@example.org>"]);
    assert!(mail.text.contains("account default"), "{}", mail.text);
    loop {
        let alerts = world.store.alerts(&world.account).await.unwrap();
        if alerts[0].state == AlertState::Sent {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let told = world.get(PATH).await;
    assert!(told["data"][0]["last_sent_at"].is_string(), "{told}");
    let sent = "routerbase_mails_total{result=\"sent\"}";
    assert_eq!(world.counted(sent).await, 1);
}
