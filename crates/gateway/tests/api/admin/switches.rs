//! Maintenance, features, models and providers switched off and on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::switches::Turns;
use gateway::store::audit::{Act, Actor};
use serde_json::{Value, json};

use super::Operated;
use crate::client::{Call, Reply};
use crate::world::{CHAT, DISABLED, IMAGE, PICKY, VIDEO, World};

async fn submit_at(operated: &Operated, node: SocketAddr, model: &str, body: &Value) -> Reply {
    let call = Call::new(node, "POST", &format!("/api/v1/run/{model}"));
    call.key(&operated.world.key).json(body).send().await
}

async fn submit(operated: &Operated, model: &str) -> Reply {
    let node = operated.world.address;
    submit_at(operated, node, model, &json!({"prompt": "x"})).await
}

#[tokio::test]
async fn during_maintenance_only_submits_are_refused() {
    let operated = Operated::new().await;
    let world = &operated.world;
    let off = json!({"enabled": false, "message": null, "since": null});
    assert_eq!(operated.get("maintenance").await.ok(), off);
    let task = world.submitted().await;
    let once = || {
        let call = world.run(IMAGE, &json!({"prompt": "once"}));
        call.header("idempotency-key", "once").send()
    };
    let first = once().await.ok();
    let on = operated.put("maintenance", json!({"enabled": true})).await;
    let on = on.ok();
    assert_eq!(
        (&on["enabled"], &on["message"]),
        (&json!(true), &json!(null))
    );
    let reply = submit(&operated, IMAGE).await;
    let refusal = reply.refusal(455, "maintenance");
    assert!(refusal["message"].as_str().unwrap().contains("maintenance"));
    assert_eq!(reply.header("retry-after"), Some("60"));
    // What was recorded once is told again, and everything but submits works.
    assert_eq!(once().await.ok(), first);
    for path in [
        &format!("/api/v1/run/tasks/{task}"),
        "/api/v1/run/tasks",
        "/api/v1/models",
    ] {
        world.get(path).send().await.ok();
    }
    let estimate = format!("/api/v1/run/{IMAGE}/estimate");
    world
        .post(&estimate, &json!({"prompt": "x"}))
        .send()
        .await
        .ok();
    let cancel = format!("/api/v1/run/tasks/{task}/cancel");
    world.post(&cancel, &json!({})).send().await.ok();
    let words = json!({"enabled": true, "message": " Back at ten. "});
    let told = operated.put("maintenance", words).await.ok();
    assert_eq!(told["message"], "Back at ten.");
    assert_eq!(told["since"], on["since"], "it has begun when it began");
    assert_eq!(operated.get("maintenance").await.ok(), told);
    let refusal = submit(&operated, IMAGE).await.refusal(455, "maintenance");
    assert_eq!(refusal["message"], "Back at ten.");
    let reply = operated.put("maintenance", json!({"enabled": false})).await;
    assert_eq!(reply.ok(), off);
    submit(&operated, IMAGE).await.ok();
    for (name, body) in [
        ("enabled", json!({})),
        ("enabled", json!({"enabled": 1})),
        ("message", json!({"enabled": true, "message": "a\nb"})),
        (
            "message",
            json!({"enabled": true, "message": "x".repeat(501)}),
        ),
    ] {
        assert_eq!(operated.put("maintenance", body).await.invalid(), name);
    }
}

/// Every node reads the switches again at most a second later; how soon is not judged here.
async fn until(operated: &Operated, node: SocketAddr, status: u16) {
    for _ in 0..500 {
        let reply = submit_at(operated, node, IMAGE, &json!({"prompt": "x"})).await;
        if reply.status == status {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never {status}");
}

#[tokio::test]
async fn every_node_hears_of_a_switch_and_a_restart_forgets_none() {
    let operated = Operated::new().await;
    let other = operated.world.node().await;
    until(&operated, other, 200).await;
    operated
        .put("maintenance", json!({"enabled": true}))
        .await
        .ok();
    until(&operated, other, 455).await;
    let off = json!({"features": {"image": false}});
    operated.put("features", off).await.ok();
    operated
        .put("maintenance", json!({"enabled": false}))
        .await
        .ok();
    until(&operated, other, 505).await;
    // A node that starts now knows it from the first request on.
    let started = operated.world.node().await;
    let reply = submit_at(&operated, started, IMAGE, &json!({"prompt": "x"})).await;
    reply.refusal(505, "feature_disabled");
}

#[tokio::test]
async fn a_modality_that_is_off_runs_nowhere() {
    let operated = Operated::new().await;
    let world = &operated.world;
    let all = json!({"chat": true, "image": true, "video": true, "callbacks": true});
    let on = json!({"features": all, "models": {}, "providers": {}});
    assert_eq!(operated.get("features").await.ok(), on);
    for (feature, model) in [("chat", CHAT), ("image", IMAGE), ("video", VIDEO)] {
        submit(&operated, model).await.ok();
        let turn = |is_on: bool| json!({"features": {feature: is_on}});
        let off = operated.put("features", turn(false)).await.ok();
        assert_eq!(off["features"][feature], false);
        assert_eq!(operated.get("features").await.ok(), off);
        let refusal = submit(&operated, model)
            .await
            .refusal(505, "feature_disabled");
        let message = refusal["message"].as_str().unwrap().to_lowercase();
        assert!(message.contains(feature), "{message}");
        let estimate = world.run(&format!("{model}/estimate"), &json!({"prompt": "x"}));
        estimate.send().await.refusal(505, "feature_disabled");
        let shown = world.get(&format!("/api/v1/models/{model}")).send().await;
        assert_eq!(shown.ok()["availability"], "disabled");
        for other in [CHAT, IMAGE, VIDEO]
            .into_iter()
            .filter(|other| *other != model)
        {
            submit(&operated, other).await.ok();
        }
        let reply = operated.put("features", turn(true)).await;
        assert_eq!(reply.ok(), on);
        submit(&operated, model).await.ok();
    }
}

#[tokio::test]
async fn callbacks_that_are_off_cannot_be_asked_for() {
    let operated = Operated::new().await;
    let world = &operated.world;
    let body = json!({"prompt": "x", "callback_url": "https://example.com/hook"});
    let task = world.submitted_to(IMAGE, &body).await;
    world.succeeded(&task).await;
    let notices = world.get("/api/v1/callbacks").send().await.ok();
    let notice = notices["data"][0]["id"].as_str().unwrap();
    let replay = format!("/api/v1/callbacks/{notice}/replay");
    let off = json!({"features": {"callbacks": false}});
    operated.put("features", off).await.ok();
    let reply = world.run(IMAGE, &body).send().await;
    let refusal = reply.refusal(505, "feature_disabled");
    assert_eq!(refusal["param"], "callback_url");
    submit(&operated, IMAGE).await.ok();
    let test = json!({"url": "https://example.com/hook"});
    for call in [
        world.post(&replay, &json!({})),
        world.post("/api/v1/callbacks/test", &test),
    ] {
        call.send().await.refusal(505, "feature_disabled");
    }
    world.get("/api/v1/callbacks").send().await.ok();
    assert!(world.tests_sent.lock().unwrap().is_empty());
    let on = json!({"features": {"callbacks": true}});
    operated.put("features", on).await.ok();
    world.post(&replay, &json!({})).send().await.ok();
    world.run(IMAGE, &body).send().await.ok();
}

#[tokio::test]
async fn single_models_are_switched_off() {
    let operated = Operated::new().await;
    let world = &operated.world;
    let off = json!({"models": {IMAGE: false}});
    let shown = operated.put("features", off).await.ok();
    assert_eq!(shown["models"], json!({IMAGE: false}));
    let refusal = submit(&operated, IMAGE).await;
    let refusal = refusal.refusal(505, "feature_disabled");
    assert!(refusal["message"].as_str().unwrap().contains(IMAGE));
    submit(&operated, "image_generate.imagen_4_fast").await.ok();
    let model = world.get(&format!("/api/v1/models/{IMAGE}")).send().await;
    assert_eq!(model.ok()["availability"], "disabled");
    let prices = world.get("/api/v1/pricing").send().await.ok();
    let prices = prices["data"].as_array().unwrap();
    assert!(prices.iter().all(|price| price["model_id"] != IMAGE));
    // A file that switches a model off is not overruled.
    let on = json!({"models": {IMAGE: true, DISABLED: true}});
    let shown = operated.put("features", on).await.ok();
    assert_eq!(shown["models"], json!({}));
    submit(&operated, IMAGE).await.ok();
    submit(&operated, DISABLED)
        .await
        .refusal(505, "feature_disabled");
}

#[tokio::test]
async fn a_model_without_a_provider_that_is_on_does_not_fall_back_to_the_sandbox() {
    let operated = Operated::new().await;
    let world = &operated.world;
    submit(&operated, PICKY).await.ok();
    let off = json!({"providers": {"weak": false}});
    let shown = operated.put("features", off).await.ok();
    assert_eq!(shown["providers"], json!({"weak": false}));
    let refusal = submit(&operated, PICKY)
        .await
        .refusal(505, "feature_disabled");
    assert!(refusal["message"].as_str().unwrap().contains("provider"));
    let model = world.get(&format!("/api/v1/models/{PICKY}")).send().await;
    assert_eq!(model.ok()["availability"], "disabled");
    // What asks for the sandbox gets it, until that is off as well.
    let scenario = || {
        let call = world.run(PICKY, &json!({"prompt": "x"}));
        call.header("routerbase-sandbox", "delay=1s").send()
    };
    scenario().await.ok();
    submit(&operated, IMAGE).await.ok();
    let off = json!({"providers": {"sandbox": false, "weak": true}});
    operated.put("features", off).await.ok();
    scenario().await.refusal(505, "feature_disabled");
    submit(&operated, IMAGE)
        .await
        .refusal(505, "feature_disabled");
    submit(&operated, PICKY).await.ok();
}

#[tokio::test]
async fn a_switch_names_what_there_is() {
    let operated = Operated::new().await;
    for (name, body) in [
        ("features", json!({"features": {"teleport": false}})),
        ("features", json!({"features": ["chat"]})),
        ("features.chat", json!({"features": {"chat": "off"}})),
        ("features.chat", json!({"features": {"chat": null}})),
        ("models", json!({"models": {"nothing.here": false}})),
        ("providers", json!({"providers": {"nobody": false}})),
    ] {
        assert_eq!(operated.put("features", body).await.invalid(), name);
    }
    // What left the catalogue while it was off can be switched on, and that is all.
    let gone = json!({"models": {"nothing.here": true}});
    let reply = operated.put("features", gone.clone()).await;
    assert_eq!(reply.invalid(), "models");
    let off = Turns {
        models: [("nothing.here".to_owned(), false)].into(),
        ..Turns::default()
    };
    let act = Act::new(Actor::Cli, operated.world.now_ms(), &[1; 10]);
    let turned = operated.world.store.any_turn_switches(off, act).await;
    assert!(!turned.unwrap().has_model("nothing.here"));
    operated.put("features", gone).await.ok();
}

#[tokio::test]
async fn providers_are_listed_with_what_keeps_them_from_work() {
    let operated = Operated {
        world: World::with(|api| {
            api.is_usable = Arc::new(|provider| provider.id != "sandbox");
        })
        .await,
        key: String::new(),
    };
    let key = operated.world.operator().await;
    let operated = Operated { key, ..operated };
    let off = json!({"providers": {"weak": false}});
    operated.put("features", off).await.ok();
    let list = operated.get("providers").await.ok();
    assert_eq!(list["next_cursor"], json!(null));
    let providers = list["data"].as_array().unwrap();
    let one = |id: &str| providers.iter().find(|one| one["id"] == id).unwrap();
    assert_eq!(
        one("weak"),
        &json!({"id": "weak", "name": "Weak", "dialect": "sandbox", "secret_variable": null,
        "has_secret": true, "models": 2, "enabled": false, "usable": false, "state": {
            "open": 0, "concurrency": 20, "waiting": 0, "unreachable_until_ms": null,
            "credentials": [{"id": "", "weight": 1, "state": "ready", "until_ms": null, "reason": null}],
            "breakers": [],
        }})
    );
    assert_eq!(one("sandbox")["enabled"], true);
    assert_eq!(one("sandbox")["usable"], false, "the settings forbid it");
}
