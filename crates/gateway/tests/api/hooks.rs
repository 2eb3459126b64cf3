//! Webhooks of providers, from the outside.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use axum::Router;
use axum::routing::get;
use domain::catalogue::{Catalogue, SourceFile};
use domain::ids::TaskId;
use domain::signing::attempt_token;
use domain::task::{Phase, Task};
use gateway::clock::Clock;
use gateway::hooks::{Hooks, Keys, router};
use gateway::metrics::Metrics;
use gateway::net::{Net, NetSettings};
use gateway::store::work::Lease;
use serde_json::{Value, json};

use crate::client::{Call, Reply};
use crate::world::{DEPLOYMENT, VIDEO, World, kling_secret, progress};

/// A world in which one provider has its secret.
async fn world(provider: &'static str) -> World {
    World::with(|api| api.is_usable = Arc::new(move |one| one.id == provider)).await
}

fn url(provider: &str, task: &TaskId, attempt: &str) -> String {
    let token = attempt_token(DEPLOYMENT.as_bytes(), task.as_str(), attempt);
    format!("/hooks/{provider}/{task}/{attempt}/{token}")
}

fn attempt(task: &Task) -> String {
    task.phase.attempt().unwrap().id.to_string()
}

/// A running task that nobody holds and that is due later, and where its provider tells of it.
async fn running(world: &World, provider: &str) -> (TaskId, String) {
    running_with(world, VIDEO, provider).await
}

async fn running_with(world: &World, model: &str, provider: &str) -> (TaskId, String) {
    let id = world
        .submitted_to(model, &json!({ "prompt": "a fox" }))
        .await;
    let claim = world.started(&id).await;
    let url = url(provider, &id, &attempt(&claim.task));
    let domain::task::Outcome::Waiting(mut wait) = progress(None) else {
        unreachable!()
    };
    wait.ms = 600_000;
    let rules = domain::task::Rules::of(&domain::catalogue::Provider::sandbox(), 0);
    let outcome = domain::task::Outcome::Waiting(wait);
    let change = domain::task::advance(&claim.task, outcome, world.now_ms(), &rules).unwrap();
    let done = world
        .store
        .commit(&claim, change, Lease::Release, world.now_ms());
    done.await.unwrap();
    (id, url)
}

async fn is_due(world: &World) -> bool {
    let now_ms = world.now_ms();
    let next_ms = world.store.any_next_due_ms(now_ms).await.unwrap();
    next_ms.is_some_and(|next_ms| next_ms <= now_ms)
}

fn signed(call: Call, body: &Value, at_s: i64) -> Call {
    let signature = kling_secret().sign("msg_1", at_s, body.to_string().as_bytes());
    call.header("webhook-id", "msg_1")
        .header("webhook-timestamp", at_s.to_string())
        .header("webhook-signature", signature)
        .json(body)
}

async fn post(world: &World, url: &str, body: &Value) -> Reply {
    world.bare("POST", url).json(body).send().await
}

#[tokio::test]
async fn a_delivery_makes_its_task_due() {
    let world = world("kie").await;
    let (_, url) = running(&world, "kie").await;
    assert!(!is_due(&world).await);
    let reply = post(&world, &url, &json!({ "data": { "taskId": "t1" } })).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    assert!(is_due(&world).await);
}

#[tokio::test]
async fn what_has_no_token_of_ours_is_found_nowhere() {
    let world = world("kie").await;
    let (id, url) = running(&world, "kie").await;
    let body = json!({ "data": { "taskId": "t1" } });
    let (path, token) = url.rsplit_once('/').unwrap();
    let forged = format!("{path}/{}", "0".repeat(token.len()));
    let other = url.replace("/hooks/kie/", "/hooks/replicate/");
    let foreign = url.replace(id.as_str(), "018f0000-0000-7000-8000-000000000000");
    for url in [forged, format!("{path}/x"), other, foreign] {
        post(&world, &url, &body).await.refusal(404, "not_found");
    }
    let large = " ".repeat((1 << 20) + 1);
    let reply = world.bare("POST", &url).body(large).send().await;
    reply.refusal(413, "too_large");
    let asked = world.bare("GET", &url).send().await;
    asked.refusal(404, "not_found");
    assert!(!is_due(&world).await);
}

#[tokio::test]
async fn a_provider_whose_secret_is_known_has_to_sign() {
    let world = world("kling").await;
    let (_, url) = running(&world, "kling").await;
    let body = json!({ "task_id": "t1", "task_status": "succeed" });
    let now_s = world.now_ms() / 1_000;
    post(&world, &url, &body).await.refusal(401, "unauthorized");
    let late = signed(world.bare("POST", &url), &body, now_s - 301);
    late.send().await.refusal(401, "unauthorized");
    assert!(!is_due(&world).await);
    let good = signed(world.bare("POST", &url), &body, now_s);
    assert_eq!(good.send().await.status, 200);
    assert!(is_due(&world).await);
}

#[tokio::test]
async fn a_finished_task_is_changed_by_nothing() {
    let world = world("kie").await;
    let id = world
        .submitted_to(VIDEO, &json!({ "prompt": "a fox" }))
        .await;
    let claim = world.started(&id).await;
    let url = url("kie", &id, &attempt(&claim.task));
    world.finished(claim).await;
    let path = format!("/api/v1/run/tasks/{id}");
    let before = (world.get(&path).send().await.ok(), world.balance().await);
    let said = json!({ "code": 501, "data": { "taskId": "t1", "state": "fail" } });
    assert_eq!(post(&world, &url, &said).await.status, 200);
    let after = (world.get(&path).send().await.ok(), world.balance().await);
    assert_eq!(before, after);
    let read = world
        .store
        .task(&world.account, &id)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(read.task.phase, Phase::Done { .. }));
}

#[tokio::test]
async fn a_delivery_for_a_task_that_is_lost_is_taken() {
    let world = world("kie").await;
    let lost = TaskId("018f0000-0000-7000-8000-000000000000".to_owned());
    for (provider, status) in [("kie", 200), ("openrouter", 200), ("nobody", 404)] {
        let url = url(provider, &lost, "att_00");
        let reply = post(&world, &url, &json!({ "data": { "taskId": "t1" } })).await;
        assert_eq!(reply.status, status, "{provider}");
    }
}

#[tokio::test]
async fn a_challenge_is_answered() {
    let world = world("minimax").await;
    let model = "video_generate.hailuo_2_3";
    let id = world
        .submitted_to(model, &json!({ "prompt": "a fox" }))
        .await;
    let claim = world.started(&id).await;
    let url = url("minimax", &id, &attempt(&claim.task));
    let reply = post(&world, &url, &json!({ "challenge": "abc" })).await;
    assert_eq!(reply.ok(), json!({ "challenge": "abc" }));
}

/// The document of fal's keys, replaced by another once it was fetched for the first time.
const DOCUMENTS: [&str; 2] = [
    r#"{"keys":[]}"#,
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"}]}"#,
];

const SIGNED_MS: i64 = 1_790_000_000_000;

async fn serve(app: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// What receives the webhooks of a provider whose keys are here, at the instant of its signature.
async fn receiver(
    world: &World,
    id: &'static str,
    keys: &str,
) -> (SocketAddr, Arc<AtomicI64>, Metrics) {
    let text = format!(
        "id = \"{id}\"\nname = \"{id}\"\ndialect = \"{id}\"\n\
         base_url = \"https://{id}.test\"\nwebhook_keys = \"{keys}\"\n"
    );
    let path = format!("providers/{id}.toml");
    let catalogue = Catalogue::load(&[SourceFile { path, text }], &[id]).unwrap();
    let (clock, now_ms) = Clock::manual(SIGNED_MS);
    let egress = NetSettings {
        allow: vec!["127.0.0.0/8".parse().unwrap()],
        ..NetSettings::default()
    };
    let metrics = Metrics::new([id], Vec::new());
    let hooks = Hooks {
        store: world.store.clone(),
        catalogue: Arc::new(catalogue),
        metrics: metrics.clone(),
        secret: DEPLOYMENT.to_owned(),
        keys: Keys::new(
            BTreeMap::new(),
            Net::new(egress, None).unwrap(),
            clock.clone(),
        ),
        clock,
    };
    (serve(router(hooks)).await, now_ms, metrics)
}

async fn of_fal(hooks: SocketAddr) -> u16 {
    let lost = TaskId("018f0000-0000-7000-8000-000000000000".to_owned());
    let call = Call::new(hooks, "POST", &url("fal", &lost, "att_00"))
        .header("x-fal-webhook-request-id", "req_1")
        .header("x-fal-webhook-user-id", "user_1")
        .header("x-fal-webhook-timestamp", "1790000000")
        .header(
            "x-fal-webhook-signature",
            "e46f9b6f55142088a7fd44b3643e61a4d14518dbadb5529c9e94d625133658cd\
             011d868dfde2b3ba3ed98db990ca052318f70ae912c244e8ff0f165c95de610d",
        );
    let body = r#"{"request_id":"req_1","status":"OK","payload":{}}"#;
    call.body(body).send().await.status
}

#[tokio::test]
async fn public_keys_are_fetched_kept_and_replaced() {
    let world = World::new().await;
    let fetched = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&fetched);
    let document = move || {
        let n = count.fetch_add(1, Ordering::Relaxed);
        async move { DOCUMENTS[n.min(1)] }
    };
    let keys = serve(Router::new().route("/jwks.json", get(document))).await;
    let (hooks, now_ms, metrics) =
        receiver(&world, "fal", &format!("http://{keys}/jwks.json")).await;
    let fetches = || fetched.load(Ordering::Relaxed);
    // The key is not there yet, and a forgery does not make us ask again and again.
    assert_eq!((of_fal(hooks).await, fetches()), (401, 1));
    assert_eq!((of_fal(hooks).await, fetches()), (401, 1));
    now_ms.store(SIGNED_MS + 60_000, Ordering::Relaxed);
    assert_eq!((of_fal(hooks).await, fetches()), (200, 2));
    assert_eq!((of_fal(hooks).await, fetches()), (200, 2));
    for line in [
        "routerbase_webhooks_total{provider=\"fal\",result=\"unsigned\"} 2",
        "routerbase_orphan_works_total{provider=\"fal\"} 2",
    ] {
        assert!(
            metrics.render().lines().any(|known| known == line),
            "{line}"
        );
    }
}

#[tokio::test]
async fn without_its_keys_a_provider_is_asked_to_come_again() {
    let world = World::new().await;
    let gone = serve(Router::new()).await;
    let (hooks, _, _) = receiver(&world, "fal", &format!("http://{gone}/jwks.json")).await;
    assert_eq!(of_fal(hooks).await, 503);
}

const GEMINI: &str = include_str!("../../../domain/fixtures/gemini_webhooks.json");

/// A film of Google's is told of with a token, as its documentation says, or with Ed25519, as receivers
/// say; and by somebody else.
#[tokio::test]
async fn gemini_tells_of_a_film_in_either_form() {
    let vectors: Value = serde_json::from_str(GEMINI).unwrap();
    let document = vectors["keys"].to_string();
    let document = move || std::future::ready(document.clone());
    let keys = serve(Router::new().route("/jwks.json", get(document))).await;
    let keys = format!("http://{keys}/jwks.json");
    for (signature, status) in [
        (&vectors["bad"]["signed by another key"], 401),
        (&vectors["bad"]["alg none, unsigned"], 401),
        (&vectors["good"]["as documented"], 200),
        (&vectors["v1a"], 200),
    ] {
        let (clock, _) = Clock::manual(SIGNED_MS);
        let change = |api: &mut gateway::api::Api| {
            api.clock = clock;
            api.is_usable = Arc::new(|one| one.id == "gemini");
        };
        let world = World::with(change).await;
        let (_, url) = running_with(&world, "video_generate.veo_3_1_fast", "gemini").await;
        let (hooks, _, _) = receiver(&world, "gemini", &keys).await;
        assert!(!is_due(&world).await);
        let call = Call::new(hooks, "POST", &url)
            .header("webhook-id", "msg_1")
            .header("webhook-timestamp", "1790000000")
            .header("webhook-signature", signature.as_str().unwrap())
            .body(vectors["body"].as_str().unwrap().to_owned());
        assert_eq!(call.send().await.status, status);
        assert_eq!(is_due(&world).await, status == 200);
    }
}
