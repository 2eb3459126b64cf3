//! Which way tasks go when credentials are refused, providers are away, or there is too much at once;
//! over real HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::catalogue::{Catalogue, SourceFile};
use domain::task::{ErrorKind, Phase, Task};
use serde_json::json;

use crate::{Bench, bench_with};

const MODEL: &str = "solve_problem.m";

/// Secrets that mean something to the server here.
const REFUSED: &str = "sk-refused";
const THROTTLED: &str = "sk-throttled";

/// A creating call as the server saw it.
struct Seen {
    path: String,
    secret: String,
    at: Instant,
}

#[derive(Default)]
struct Calls {
    seen: Vec<Seen>,
    /// Under way, now and at most.
    open: usize,
    most: usize,
}

type Shared = Arc<Mutex<Calls>>;

async fn chat(State(calls): State<Shared>, request: Request) -> Response {
    let bearer = request.headers()["authorization"].to_str().unwrap();
    let secret = bearer.trim_start_matches("Bearer ").to_owned();
    let seen = Seen {
        path: request.uri().path().to_owned(),
        secret: secret.clone(),
        at: Instant::now(),
    };
    {
        let mut calls = calls.lock().unwrap();
        calls.seen.push(seen);
        calls.open += 1;
        calls.most = calls.most.max(calls.open);
    }
    tokio::time::sleep(Duration::from_millis(30)).await;
    calls.lock().unwrap().open -= 1;
    let complaint = json!({ "error": { "message": "said by the provider" } });
    match secret.as_str() {
        REFUSED => (StatusCode::UNAUTHORIZED, axum::Json(complaint)).into_response(),
        THROTTLED => {
            let later = [("retry-after", "600")];
            (StatusCode::TOO_MANY_REQUESTS, later, axum::Json(complaint)).into_response()
        }
        _ => axum::Json(json!({
            "choices": [{ "message": { "content": "hello" }, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 1, "completion_tokens": 1 },
        }))
        .into_response(),
    }
}

/// Two providers, `first` with more settings; the model runs at both, at the first if it can.
fn catalogue(first: &str, second: &str, more: &str) -> Catalogue {
    let provider = |id: &str, base: &str, more: &str| SourceFile {
        path: format!("providers/{id}.toml"),
        text: format!(
            "id = \"{id}\"\nname = \"P\"\ndialect = \"openai_chat\"\nbase_url = \"{base}\"\n\
             secret = \"KEY\"\n{more}\n"
        ),
    };
    let model = SourceFile {
        path: format!("models/{MODEL}.toml"),
        text: format!(
            "id = \"{MODEL}\"\nname = \"M\"\nvendor = \"V\"\nmodality = \"chat\"\n\
             description = \"D.\"\n[price]\nper_run = 0.01\n\
             [[routes]]\nprovider = \"first\"\nmodel = \"m\"\n\
             [[routes]]\nprovider = \"second\"\nmodel = \"m\"\n"
        ),
    };
    let files = [
        provider("first", first, more),
        provider("second", second, ""),
        model,
    ];
    let dialects: Vec<&str> = dialects::DIALECTS.iter().map(|(name, _)| *name).collect();
    Catalogue::load(&files, &dialects).unwrap()
}

async fn server() -> (String, Shared) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let calls = Shared::default();
    let app = Router::new().fallback(chat).with_state(Arc::clone(&calls));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (base, calls)
}

async fn bench(name: &str, catalogue: Catalogue, first: &str, second: &str) -> Bench {
    let secrets = [("first", first), ("second", second)];
    let secrets = secrets.into_iter().filter(|(_, secret)| !secret.is_empty());
    let secrets = secrets.map(|(id, secret)| (id.to_owned(), secret.to_owned()));
    bench_with(name, catalogue, BTreeMap::from_iter(secrets)).await
}

async fn run(bench: &Bench, count: usize) -> Vec<Task> {
    let work = async {
        let mut ids = Vec::new();
        for _ in 0..count {
            let body = json!({ "prompt": "hello?" });
            ids.push(bench.submit_upstream(MODEL, body).await);
        }
        let mut tasks = Vec::new();
        for id in &ids {
            tasks.push(bench.ended(id).await);
        }
        tasks
    };
    let tasks = bench.with_worker(work).await;
    bench.assert_ledger_adds_up().await;
    tasks
}

fn all_done(tasks: &[Task]) {
    for task in tasks {
        assert!(matches!(task.phase, Phase::Done { .. }), "{:?}", task.phase);
    }
}

fn calls_with(calls: &Shared, secret: &str) -> usize {
    let calls = calls.lock().unwrap();
    let with = calls.seen.iter().filter(|seen| seen.secret == secret);
    with.count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_credential_is_parked_and_the_next_takes_over() {
    let (base, calls) = server().await;
    let (first, second) = (format!("{base}/first"), format!("{base}/second"));
    let catalogue = catalogue(&first, &second, "");
    let pool = format!("{REFUSED}, {THROTTLED}*2");
    let bench = bench("parked", catalogue, &pool, "sk-good").await;
    all_done(&run(&bench, 1).await);
    all_done(&run(&bench, 12).await);
    // Once each, and never again.
    assert_eq!(calls_with(&calls, REFUSED), 1);
    assert_eq!(calls_with(&calls, THROTTLED), 1);
    assert_eq!(calls_with(&calls, "sk-good"), 13);
    let states = bench.traffic.states(bench.clock.now_ms());
    let states = states[0].1.credentials.iter().map(|one| one.state);
    assert_eq!(states.collect::<Vec<_>>(), ["parked", "cooling"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_is_away_or_refuses_is_passed_over() {
    let (base, calls) = server().await;
    let second = format!("{base}/second");
    // Nobody listens there any more.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let away = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let bench_away = bench("away", catalogue(&away, &second, ""), "sk-1", "sk-2").await;
    let tasks = run(&bench_away, 8).await;
    all_done(&tasks);
    let before = calls.lock().unwrap().seen.len();
    assert_eq!(before, 8, "one creating call each");
    let states = bench_away.traffic.states(bench_away.clock.now_ms());
    let (id, first) = &states[0];
    assert_eq!(id, "first");
    assert!(first.unreachable_until_ms.is_some());
    let refusing = catalogue(&format!("{base}/first"), &second, "");
    let bench_refused = bench("refusing", refusing, REFUSED, "sk-2").await;
    all_done(&run(&bench_refused, 3).await);
    let calls = calls.lock().unwrap();
    let at_second = calls
        .seen
        .iter()
        .filter(|seen| seen.path.starts_with("/second"));
    assert_eq!(at_second.count(), 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_accepted_credential_a_task_ends_and_costs_nothing() {
    let (base, _calls) = server().await;
    let catalogue = catalogue(&format!("{base}/first"), &base, "");
    let bench = bench("refused", catalogue, REFUSED, "").await;
    let before = bench.store.balance(&bench.account).await.unwrap();
    let tasks = run(&bench, 2).await;
    for task in &tasks {
        let unavailable = ErrorKind::ProviderUnavailable;
        assert!(
            matches!(&task.phase, Phase::Failed { error } if error.kind == unavailable),
            "{:?}",
            task.phase
        );
    }
    assert_eq!(bench.store.balance(&bench.account).await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_its_slots_are_under_way_at_a_provider() {
    let (base, calls) = server().await;
    let catalogue = catalogue(&format!("{base}/first"), &base, "concurrency = 2");
    let bench = bench("slots", catalogue, "sk-1", "").await;
    all_done(&run(&bench, 12).await);
    let calls = calls.lock().unwrap();
    assert_eq!(calls.seen.len(), 12);
    assert!(calls.most <= 2, "{}", calls.most);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creating_calls_beyond_the_rate_wait_for_their_place() {
    let (base, calls) = server().await;
    let rate = "rate = { creates = 3, seconds = 1 }";
    let catalogue = catalogue(&format!("{base}/first"), &base, rate);
    let bench = bench("rate", catalogue, "sk-1", "").await;
    all_done(&run(&bench, 10).await);
    let calls = calls.lock().unwrap();
    let mut at: Vec<Instant> = calls.seen.iter().map(|seen| seen.at).collect();
    at.sort();
    assert_eq!(at.len(), 10);
    // Three at once, three times a stretch later three more: the last no sooner than this.
    assert!(at[9] - at[0] >= Duration::from_secs(3));
}
