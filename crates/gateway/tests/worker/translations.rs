//! Prompts that are translated before a provider sees them, by a chat model over real HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::task::{ErrorKind, Phase, Task};
use gateway::worker::Translation;
use serde_json::{Value, json};

use crate::{Bench, Extras, bench_of, bench_with, catalogue};

const CHAT: &str = "solve_problem.kie_reasoning";
const PROMPT: &str = "ein Fuchs im Schnee";

/// What the provider saw.
#[derive(Default)]
struct Seen {
    /// How many translations fail before one is given.
    failures: usize,
    translations: Vec<Value>,
    prompts: Vec<String>,
    /// How many creating calls are refused for now before one is taken.
    refusals: usize,
}

type Shared = Arc<Mutex<Seen>>;

async fn kie(State(seen): State<Shared>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await;
    let body: Value = serde_json::from_slice(&body.unwrap()).unwrap_or(Value::Null);
    let mut seen = seen.lock().unwrap();
    if path.ends_with("/chat/completions") {
        seen.translations.push(body["messages"].clone());
        if seen.translations.len() <= seen.failures {
            return (StatusCode::BAD_GATEWAY, "away").into_response();
        }
        return axum::Json(json!({
            "choices": [{ "message": { "content": " a fox in the snow\n" }, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 10, "completion_tokens": 5 },
        }))
        .into_response();
    }
    if path.ends_with("/createTask") {
        let prompt = body["input"]["prompt"].as_str().unwrap().to_owned();
        seen.prompts.push(prompt);
        if seen.prompts.len() <= seen.refusals {
            return axum::Json(json!({ "code": 455, "msg": "maintenance" })).into_response();
        }
        let id = seen.prompts.len().to_string();
        return axum::Json(json!({ "code": 200, "data": { "taskId": id } })).into_response();
    }
    let state = json!({ "state": "fail", "failMsg": "broken" });
    axum::Json(json!({ "code": 200, "data": state })).into_response()
}

async fn bench(name: &str, seen: Seen, model: Option<&str>) -> (Bench, Shared) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(seen));
    let app = Router::new().fallback(kie).with_state(Arc::clone(&seen));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut catalogue = catalogue();
    assert!(catalogue.move_provider("kie", &base));
    let secrets = BTreeMap::from([("kie".to_owned(), "sk-upstream".to_owned())]);
    let extras = Extras {
        translator: model,
        ..Extras::default()
    };
    let bench = bench_of(name, catalogue, secrets, extras).await;
    (bench, seen)
}

async fn run(bench: &Bench, is_wanted: bool) -> Task {
    let work = async {
        let params = json!({ "enable_translation": is_wanted });
        let body = json!({ "prompt": PROMPT, "video_params": params });
        let id = bench.submit_upstream("video_generate.kling_2_6", body);
        bench.ended(&id.await).await
    };
    let task = bench.with_worker(work).await;
    bench.assert_ledger_adds_up().await;
    task
}

fn failed_as(task: &Task) -> ErrorKind {
    let Phase::Failed { error } = &task.phase else {
        panic!("{:?}", task.phase);
    };
    error.kind
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_is_asked_in_english_and_the_task_keeps_its_prompt() {
    let (bench, seen) = bench("english", Seen::default(), Some(CHAT)).await;
    let before = bench.store.balance(&bench.account).await.unwrap();
    let task = run(&bench, true).await;
    assert_eq!(task.order.prompt, PROMPT);
    assert_eq!(failed_as(&task), ErrorKind::ProviderError);
    // The work failed, so that nothing is charged: not for the translation either.
    assert_eq!(bench.store.balance(&bench.account).await.unwrap(), before);
    run(&bench, false).await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen.prompts, ["a fox in the snow", PROMPT]);
    let [messages] = seen.translations.as_slice() else {
        panic!("{:?}", seen.translations);
    };
    assert_eq!(messages[0]["role"], "system");
    assert_eq!(messages[1], json!({ "role": "user", "content": PROMPT }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_translation_is_tried_again_and_paid_once() {
    let seen = Seen {
        failures: 2,
        refusals: 1,
        ..Seen::default()
    };
    let (bench, seen) = bench("again", seen, Some(CHAT)).await;
    run(&bench, true).await;
    let seen = seen.lock().unwrap();
    assert_eq!(seen.translations.len(), 3);
    assert_eq!(seen.prompts, ["a fox in the snow"; 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_translation_nothing_is_bought() {
    let seen = Seen {
        failures: usize::MAX,
        ..Seen::default()
    };
    let (bench, seen) = bench("away", seen, Some(CHAT)).await;
    let task = run(&bench, true).await;
    assert_eq!(failed_as(&task), ErrorKind::ProviderUnavailable);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.prompts, Vec::<String>::new());
    // Five tries of the task, three of a translation each.
    assert!(seen.translations.len() <= 15, "{}", seen.translations.len());
}

#[tokio::test]
async fn the_sandbox_translates_nothing() {
    let bench = bench_with("sandbox-translation", catalogue(), BTreeMap::new()).await;
    let nobody = |_: &domain::catalogue::Provider| false;
    assert!(Translation::new(&bench.catalogue, CHAT, nobody).is_err());
    assert!(Translation::new(&bench.catalogue, "solve_problem.none", |_| true).is_err());
    let order = json!({ "prompt": PROMPT, "video_params": { "enable_translation": true } });
    let work = async {
        let id = bench.submit("video_generate.kling_2_6", order, "delay=10ms");
        bench.ended(&id.await).await
    };
    let task = bench.with_worker(work).await;
    assert!(matches!(task.phase, Phase::Done { .. }), "{:?}", task.phase);
}
