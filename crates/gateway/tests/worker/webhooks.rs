//! Lost answers, webhooks and late successes, over real HTTP both ways.
//!
//! The provider counts the creating calls: whatever is lost, there is one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use domain::catalogue::Provider;
use domain::ids::TaskId;
use domain::task::{ErrorKind, Outcome, Phase, Rules, Task, advance};
use gateway::hooks::{self, Hooks, Keys};
use gateway::store::work::Lease;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::upstreams::picture;
use crate::{Bench, Extras, bench_of, catalogue};

const KIE: &str = "image_generate.imagen_4";
const KLING: &str = "image_generate.kling_2_1";
const COMFYUI: &str = "image_generate.sdxl";
const FILM: &str = "video_generate.veo_3_1_fast";

#[derive(Default)]
struct Script {
    base: String,
    /// Creating calls, as they were made.
    created: Vec<Value>,
    /// Reads of the state, by path and query.
    reads: Vec<String>,
    /// Whether creating calls are answered; otherwise the connection is cut once they are accepted.
    is_answering: bool,
    /// Whether creating calls are left without any end for now.
    is_holding: bool,
    is_finished: bool,
}

type Shared = Arc<Mutex<Script>>;

/// KIE's market, Kling's and ComfyUI's pictures, and OpenRouter's films.
async fn provider(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    if path == "/file.png" || path == "/view" {
        return picture();
    }
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    if parts.method == "POST" {
        let is_answering = {
            let mut script = shared.lock().unwrap();
            script.created.push(serde_json::from_slice(&body).unwrap());
            script.is_answering
        };
        if !is_answering {
            while is_holding(&shared) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            // The connection ends with its task.
            panic!("the provider falls over");
        }
        let id = json!({ "taskId": "t1", "task_id": "t1" });
        return axum::Json(json!({ "code": code(&path), "data": id, "id": "t1" })).into_response();
    }
    let mut script = shared.lock().unwrap();
    script.reads.push(parts.uri.to_string());
    let word = |done: &'static str| if script.is_finished { done } else { "working" };
    let link = format!("{}/file.png", script.base);
    let result = json!({ "resultUrls": [link] }).to_string();
    let data = json!({
        "taskId": "t1", "state": word("success"), "resultJson": result,
        "task_status": word("succeed"), "task_result": { "images": [{ "url": link }] },
    });
    // What OpenRouter and ComfyUI answer.
    let files = json!({ "9": { "images": [{ "filename": "a.png", "type": "output" }] } });
    let status = word("completed");
    let said = json!({ "code": code(&path), "data": data, "status": status, "outputs": files });
    axum::Json(said).into_response()
}

fn is_holding(script: &Shared) -> bool {
    script.lock().unwrap().is_holding
}

/// What means well in an envelope: 200 at KIE, 0 at Kling.
fn code(path: &str) -> u16 {
    if path.starts_with("/v1/") { 0 } else { 200 }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    (listener, base)
}

/// A worker whose providers are all one script and may tell of their work.
async fn scene(name: &str, is_answering: bool) -> (Bench, Shared) {
    let (listener, base) = listen().await;
    let script = Arc::new(Mutex::new(Script {
        base: base.clone(),
        is_answering,
        ..Script::default()
    }));
    let app = Router::new()
        .fallback(provider)
        .with_state(Arc::clone(&script));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut catalogue = catalogue();
    let secrets = ["kie", "kling", "openrouter", "comfyui"].map(|id| {
        assert!(catalogue.move_provider(id, &base));
        (id.to_owned(), "access:secret".to_owned())
    });
    let (listener, public) = listen().await;
    let extras = Extras {
        webhooks: Some(public),
        ..Extras::default()
    };
    let bench = bench_of(name, catalogue, BTreeMap::from(secrets), extras).await;
    let hooks = hooks::router(Hooks {
        store: bench.store.clone(),
        catalogue: Arc::clone(&bench.catalogue),
        clock: bench.clock.clone(),
        metrics: bench.metrics.clone(),
        secret: "secret".to_owned(),
        keys: Keys::new(BTreeMap::new(), bench.net.clone(), bench.clock.clone()),
    });
    tokio::spawn(async move { axum::serve(listener, hooks).await });
    (bench, script)
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..4_800 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{what} did not come about");
}

async fn task(bench: &Bench, id: &TaskId) -> Task {
    let read = bench.store.task(&bench.account, id).await;
    read.unwrap().unwrap().task
}

async fn phase(bench: &Bench, id: &TaskId, word: &str) -> Task {
    until(word, async || {
        let task = task(bench, id).await;
        (task.phase.as_str() == word).then_some(task)
    })
    .await
}

/// Posts a delivery to the URL that the provider was given; answers the status.
async fn deliver(script: &Shared, field: &str, body: &Value) -> u16 {
    let url = script.lock().unwrap().created[0][field]
        .as_str()
        .unwrap()
        .to_owned();
    let (host, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let stream = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(format!("/{path}"))
        .header("host", host)
        .body(http_body_util::Full::new(bytes::Bytes::from(
            body.to_string(),
        )))
        .unwrap();
    sender
        .send_request(request)
        .await
        .unwrap()
        .status()
        .as_u16()
}

fn counted(bench: &Bench, line: &str) -> bool {
    bench.metrics.render().lines().any(|known| known == line)
}

fn assert_charged_once(task: &Task) {
    let Phase::Done { charge, .. } = &task.phase else {
        panic!("{:?}", task.phase);
    };
    assert_eq!(*charge, task.hold);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_submission_is_adopted_by_its_webhook() {
    let (bench, script) = scene("adopted", false).await;
    let work = async {
        let id = bench
            .submit_upstream(KIE, json!({ "prompt": "a fox" }))
            .await;
        // The quiet time of the provider is minutes: nothing else would look before.
        let lost = phase(&bench, &id, "unknown").await;
        assert!(lost.due_ms > bench.clock.now_ms());
        script.lock().unwrap().is_finished = true;
        let told = json!({ "code": 501, "data": { "taskId": "t1", "state": "fail" } });
        assert_eq!(deliver(&script, "callBackUrl", &told).await, 200);
        let ended = bench.ended(&id).await;
        // The delivery says that the work failed. It is not believed.
        assert_charged_once(&ended);
        assert_eq!(deliver(&script, "callBackUrl", &told).await, 200);
        assert_eq!(task(&bench, &id).await, ended);
        let attempts = bench.store.attempts(&bench.account, &id).await.unwrap();
        assert_eq!(attempts.len(), 1);
        assert_eq!(attempts[0].upstream_id.as_deref(), Some("t1"));
    };
    bench.with_worker(work).await;
    assert_eq!(script.lock().unwrap().created.len(), 1);
    bench.assert_ledger_adds_up().await;
    for result in ["receipt", "over"] {
        let line = format!("routerbase_webhooks_total{{provider=\"kie\",result=\"{result}\"}} 1");
        assert!(counted(&bench, &line), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_may_overtake_the_answer_that_never_comes() {
    let (bench, script) = scene("overtaken", false).await;
    script.lock().unwrap().is_holding = true;
    let work = async {
        let id = bench
            .submit_upstream(KIE, json!({ "prompt": "a fox" }))
            .await;
        let is_created = || !script.lock().unwrap().created.is_empty();
        until("a creating call", async || is_created().then_some(())).await;
        let told = json!({ "data": { "taskId": "t1" } });
        assert_eq!(deliver(&script, "callBackUrl", &told).await, 200);
        assert_eq!(task(&bench, &id).await.phase.as_str(), "sending");
        {
            let mut script = script.lock().unwrap();
            script.is_finished = true;
            script.is_holding = false;
        }
        bench.ended(&id).await
    };
    assert_charged_once(&bench.with_worker(work).await);
    assert_eq!(script.lock().unwrap().created.len(), 1);
    bench.assert_ledger_adds_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_that_names_anothers_work_is_no_answer() {
    let (bench, script) = scene("lie", true).await;
    let work = async {
        let first = bench
            .submit_upstream(KIE, json!({ "prompt": "a fox" }))
            .await;
        phase(&bench, &first, "running").await;
        {
            let mut script = script.lock().unwrap();
            script.is_answering = false;
            script.created.clear();
        }
        let second = bench
            .submit_upstream(KIE, json!({ "prompt": "a hare" }))
            .await;
        phase(&bench, &second, "unknown").await;
        let told = json!({ "data": { "taskId": "t1" } });
        assert_eq!(deliver(&script, "callBackUrl", &told).await, 200);
        script.lock().unwrap().is_finished = true;
        assert_charged_once(&bench.ended(&first).await);
        let second = task(&bench, &second).await;
        assert!(
            matches!(second.phase, Phase::Unknown { .. }),
            "{:?}",
            second.phase
        );
    };
    bench.with_worker(work).await;
    assert_eq!(script.lock().unwrap().created.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nudge_has_the_work_read_before_its_time() {
    let (bench, script) = scene("nudge", true).await;
    let reads = || script.lock().unwrap().reads.len();
    let work = async {
        let body = json!({ "prompt": "a fox" });
        let model = bench.catalogue.model(FILM).unwrap();
        let order = model.submission(&body, None).unwrap().order;
        let is_ours = |one: &Provider| one.id == "openrouter";
        let routes = bench.catalogue.routes(model, &order, is_ours).unwrap();
        let id = bench.submit_over(FILM, body, None, routes).await;
        // It would be read for the first time in ten seconds.
        let due_ms = phase(&bench, &id, "running").await.due_ms;
        assert!(due_ms > bench.clock.now_ms() && reads() == 0);
        let told = json!({ "data": { "id": "t1", "status": "completed" } });
        let is_nudged = "routerbase_webhooks_total{provider=\"openrouter\",result=\"nudge\"} 1";
        assert_eq!(deliver(&script, "callback_url", &told).await, 200);
        assert!(counted(&bench, is_nudged));
        until("a read", async || (reads() == 1).then_some(())).await;
        assert!(bench.clock.now_ms() < due_ms, "only when it was due");
    };
    bench.with_worker(work).await;
    assert_eq!(script.lock().unwrap().created.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_submission_is_found_by_our_reference() {
    for (model, reference) in [(KLING, "external_task_id"), (COMFYUI, "prompt_id")] {
        let (bench, script) = scene("found", false).await;
        let work = async {
            let body = json!({ "prompt": "a fox" });
            let id = bench.submit_upstream(model, body).await;
            phase(&bench, &id, "running").await;
            script.lock().unwrap().is_finished = true;
            bench.ended(&id).await
        };
        assert_charged_once(&bench.with_worker(work).await);
        bench.assert_ledger_adds_up().await;
        let script = script.lock().unwrap();
        assert_eq!(script.created.len(), 1, "{model}");
        let ours = script.created[0][reference].as_str().unwrap();
        let first = &script.reads[0];
        assert!(first.ends_with(&format!("/{ours}")), "{first}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_success_is_booked_and_not_charged() {
    let (bench, script) = scene("late", true).await;
    let before = bench.store.balance(&bench.account).await.unwrap();
    let id = bench
        .submit_upstream(KIE, json!({ "prompt": "a fox" }))
        .await;
    bench.with_worker(phase(&bench, &id, "running")).await;
    // Its deadline passes while nobody is there.
    let far_ms = bench.clock.now_ms() + 60_000;
    let claims = bench.store.claim("hand", 10, far_ms).await.unwrap();
    let rules = Rules::of(bench.catalogue.provider("kie").unwrap(), 0);
    let now_ms = bench.clock.now_ms();
    let change = advance(&claims[0].task, Outcome::Expired, now_ms, &rules).unwrap();
    let expired = bench
        .store
        .commit(&claims[0], change, Lease::Release, now_ms);
    expired.await.unwrap();
    let late = "routerbase_late_successes_total{provider=\"kie\"} 1";
    assert_eq!(
        bench.worker.look_back_once().await,
        Ok(0),
        "not before an hour"
    );
    // The provider tells; the work is still not finished at the first look.
    let told = json!({ "data": { "taskId": "t1" } });
    assert_eq!(deliver(&script, "callBackUrl", &told).await, 200);
    assert_eq!(bench.worker.look_back_once().await, Ok(1));
    assert!(!counted(&bench, late));
    script.lock().unwrap().is_finished = true;
    assert_eq!(deliver(&script, "callBackUrl", &told).await, 200);
    assert_eq!(bench.worker.look_back_once().await, Ok(1));
    assert!(counted(&bench, late));
    assert!(counted(
        &bench,
        "routerbase_orphan_works_total{provider=\"kie\"} 2"
    ));
    assert_eq!(bench.worker.look_back_once().await, Ok(0));
    let ended = task(&bench, &id).await;
    assert!(
        matches!(&ended.phase, Phase::Failed { error } if error.kind == ErrorKind::Timeout),
        "{:?}",
        ended.phase
    );
    assert_eq!(bench.store.balance(&bench.account).await.unwrap(), before);
    assert_eq!(script.lock().unwrap().created.len(), 1);
    bench.assert_ledger_adds_up().await;
}
