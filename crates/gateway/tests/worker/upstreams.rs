//! Real protocols over real HTTP, against a server that answers as the provider documents.
//!
//! It counts the creating calls: whatever is answered, or not, there is one for each attempt.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use domain::task::{ErrorKind, Phase, Task};
use serde_json::{Value, json};

use crate::{Bench, bench_with, catalogue};

/// The secret of every provider here.
const SECRET: &str = "sk-upstream-secret";

/// What a creating call is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// As documented.
    Well,
    /// With a code in the envelope, under HTTP 200.
    Code(u16),
    /// With a status and a page.
    Status(u16),
    /// The connection is closed in place of a reply.
    Nothing,
}

struct Script {
    answer: Answer,
    /// The state of the task when it is asked for.
    state: &'static str,
    /// Where this is.
    base: String,
    /// Creating calls, as they were made.
    created: Vec<Value>,
    /// Reads of the state.
    reads: usize,
}

type Shared = Arc<Mutex<Script>>;

fn envelope(code: u16, data: &Value) -> Response {
    axum::Json(json!({ "code": code, "msg": "said by the provider", "data": data })).into_response()
}

async fn kie(State(script): State<Shared>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if path == "/file.png" {
        assert!(
            request.headers().get("authorization").is_none(),
            "a link wants no secret"
        );
        return picture();
    }
    let bearer = format!("Bearer {SECRET}");
    assert_eq!(request.headers()["authorization"], bearer.as_str());
    let body = axum::body::to_bytes(request.into_body(), 1 << 20)
        .await
        .unwrap();
    let mut script = script.lock().unwrap();
    if path == "/api/v1/jobs/createTask" || path == "/gemini-3-pro/v1/chat/completions" {
        script.created.push(serde_json::from_slice(&body).unwrap());
        let answer = script.answer;
        drop(script);
        return match answer {
            Answer::Well if path.ends_with("completions") => axum::Json(json!({
                "choices": [{ "message": { "content": "Rayleigh" }, "finish_reason": "stop" }],
                "usage": { "prompt_tokens": 10, "completion_tokens": 3 },
            }))
            .into_response(),
            Answer::Well => envelope(200, &json!({ "taskId": "t1" })),
            Answer::Code(code) => envelope(code, &Value::Null),
            Answer::Status(status) => {
                let status = axum::http::StatusCode::from_u16(status).unwrap();
                (status, "<html>no</html>").into_response()
            }
            // The connection ends with its task.
            Answer::Nothing => panic!("the provider falls over"),
        };
    }
    assert_eq!(path, "/api/v1/jobs/recordInfo");
    script.reads += 1;
    let link = format!("{}/file.png", script.base);
    let result = json!({ "resultUrls": [link] }).to_string();
    let data =
        json!({ "taskId": "t1", "state": script.state, "resultJson": result, "failMsg": "broken" });
    envelope(200, &data)
}

/// A picture of two by one.
pub fn picture() -> Response {
    let mut png = std::io::Cursor::new(Vec::new());
    let image = image::RgbImage::from_pixel(2, 1, image::Rgb([200, 30, 30]));
    image.write_to(&mut png, image::ImageFormat::Png).unwrap();
    ([("content-type", "image/png")], png.into_inner()).into_response()
}

async fn provider(name: &str, answer: Answer, state: &'static str) -> (Bench, Shared) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let script = Arc::new(Mutex::new(Script {
        answer,
        state,
        base: base.clone(),
        created: Vec::new(),
        reads: 0,
    }));
    let app = Router::new().fallback(kie).with_state(Arc::clone(&script));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut catalogue = catalogue();
    assert!(catalogue.move_provider("kie", &base));
    let secrets = BTreeMap::from([("kie".to_owned(), SECRET.to_owned())]);
    (bench_with(name, catalogue, secrets).await, script)
}

async fn run(bench: &Bench, model: &str, body: Value) -> Task {
    let work = async {
        let id = bench.submit_upstream(model, body).await;
        bench.ended(&id).await
    };
    let task = bench.with_worker(work).await;
    bench.assert_ledger_adds_up().await;
    let stored = serde_json::to_string(&task).unwrap();
    assert!(!stored.contains(SECRET), "a secret in a task");
    task
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_is_made_fetched_and_charged() {
    let (bench, script) = provider("kie", Answer::Well, "success").await;
    let body = json!({
        "prompt": "a fox", "callback_url": "https://client.test/hook",
        "image_params": { "aspect_ratio": "16:9", "resolution": "2K", "image_urls": ["https://files.test/1.png"] },
    });
    let task = run(&bench, "image_generate.nano_banana_2", body).await;
    let Phase::Done { files, charge, .. } = &task.phase else {
        panic!("{:?}", task.phase);
    };
    assert_eq!(*charge, task.hold);
    assert_eq!((files[0].width, files[0].height), (Some(2), Some(1)));
    let script = script.lock().unwrap();
    assert_eq!(
        script.created,
        [json!({ "model": "nano-banana-2", "input": {
            "prompt": "a fox", "aspect_ratio": "16:9", "resolution": "2K", "output_format": "png",
            "image_input": ["https://files.test/1.png"],
        }})]
    );
    assert!(script.reads >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chat_is_charged_what_it_used() {
    let (bench, script) = provider("chat", Answer::Well, "success").await;
    let task = run(
        &bench,
        "solve_problem.kie_reasoning",
        json!({ "prompt": "why?" }),
    )
    .await;
    let Phase::Done { answer, charge, .. } = &task.phase else {
        panic!("{:?}", task.phase);
    };
    assert_eq!(answer.as_ref().unwrap().text, "Rayleigh");
    assert!(*charge < task.hold);
    let created = &script.lock().unwrap().created;
    assert_eq!(created.len(), 1);
    assert_eq!(created[0]["reasoning_effort"], "high");
    assert_eq!(created[0]["max_tokens"], 4_096);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failure_costs_nothing_and_is_bought_once() {
    let cases = [
        ("failed", Answer::Well, "fail", ErrorKind::ProviderError),
        ("invalid", Answer::Code(422), "", ErrorKind::InvalidInput),
    ];
    for (name, answer, state, kind) in cases {
        let (bench, script) = provider(name, answer, state).await;
        let before = bench.store.balance(&bench.account).await.unwrap();
        let task = run(
            &bench,
            "image_generate.imagen_4",
            json!({ "prompt": "a fox" }),
        )
        .await;
        assert!(
            matches!(&task.phase, Phase::Failed { error } if error.kind == kind),
            "{name}: {:?}",
            task.phase
        );
        assert_eq!(bench.store.balance(&bench.account).await.unwrap(), before);
        assert_eq!(script.lock().unwrap().created.len(), 1, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_proves_nothing_is_never_sent_again() {
    let cases = [
        ("code-500", Answer::Code(500)),
        ("status-502", Answer::Status(502)),
        ("garbage", Answer::Status(200)),
        ("reset", Answer::Nothing),
    ];
    for (name, answer) in cases {
        let (bench, script) = provider(name, answer, "success").await;
        let work = async {
            let body = json!({ "prompt": "a fox" });
            let id = bench.submit_upstream("image_generate.imagen_4", body).await;
            // The quiet time of the provider is minutes; the task waits for its end and sends nothing.
            loop {
                let read = bench
                    .store
                    .task(&bench.account, &id)
                    .await
                    .unwrap()
                    .unwrap();
                if matches!(read.task.phase, Phase::Unknown { .. }) {
                    break;
                }
                assert!(
                    !read.task.status().is_terminal(),
                    "{name}: {:?}",
                    read.task.phase
                );
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        };
        bench.with_worker(work).await;
        assert_eq!(script.lock().unwrap().created.len(), 1, "{name}");
    }
}
