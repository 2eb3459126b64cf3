//! The provider through the eyes of its own dialect.

use dialects::{Context, NOTHING, dialect};
use domain::order::{Modality, Order, Scenario, ScriptedOutcome};
use domain::upstream::{
    Auth, Body, Call, Fault, FaultClass, Method, Next, Output, Reply, Request, Source,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Answered, Upstream};

const BASE: &str = "http://sandbox.internal";

fn cx() -> Context<'static> {
    Context {
        base_url: BASE,
        model: "any",
        token: "token-1",
        webhook: None,
        fields: &NOTHING,
    }
}

const START_MS: i64 = 1_700_000_000_000;

/// How a piece of work went.
struct Played {
    end: Result<Output, Fault>,
    took_ms: i64,
    progress: Vec<f64>,
    cancel: Option<Call>,
}

fn order(modality: Modality, params: Value) -> Order {
    Order {
        model: "model-a".to_owned(),
        modality,
        prompt: "a lighthouse at dawn".to_owned(),
        messages: None,
        params: serde_json::from_value(params).unwrap(),
        scenario: None,
    }
}

fn scripted(header: &str) -> Order {
    Order {
        scenario: Some(Scenario::parse(header).unwrap()),
        ..order(
            Modality::Image,
            json!({ "width": 40, "height": 30, "n": 2 }),
        )
    }
}

async fn reply(upstream: &Upstream, request: &Request, now_ms: i64) -> Reply {
    match upstream.answer(request, now_ms).await {
        Answered::Reply(reply) => reply,
        Answered::Silence => panic!("no reply to {request:?}"),
    }
}

/// Runs an order to its end with a clock that jumps from call to call.
async fn play(order: &Order) -> Played {
    let (upstream, sandbox) = (Upstream::new(), dialect("sandbox").unwrap());
    let mut call = sandbox.start(order, &cx()).unwrap();
    let mut played = Played {
        end: Ok(Output::default()),
        took_ms: 0,
        progress: Vec::new(),
        cancel: None,
    };
    for _ in 0..1_000 {
        let reply = reply(&upstream, &call.request, START_MS + played.took_ms).await;
        match sandbox.resume(order, &cx(), &call.at, &reply) {
            Ok(Next::Wait(wait)) => {
                played.took_ms += i64::try_from(wait.ms).unwrap();
                played.progress.extend(wait.progress);
                played.cancel = sandbox.cancel(order, &cx(), &wait.then.at);
                call = wait.then;
            }
            Ok(Next::Call(next)) => call = next,
            Ok(Next::Done(output)) => {
                played.end = Ok(output);
                return played;
            }
            Err(fault) => {
                played.end = Err(fault);
                return played;
            }
        }
    }
    panic!("the work never ends");
}

#[tokio::test]
async fn pictures_are_made_and_fetched_after_their_default_time() {
    let order = order(
        Modality::Image,
        json!({ "width": 40, "height": 30, "n": 2 }),
    );
    let played = play(&order).await;
    assert_eq!((played.took_ms, played.progress.len()), (300, 0));
    let output = played.end.unwrap();
    assert_eq!((output.sources.len(), output.answer), (2, None));
    let mut bodies = Vec::new();
    for source in &output.sources {
        let Source::Fetch(request) = source else {
            panic!("not a fetch: {source:?}");
        };
        // Another instance, as after a restart, gives the same.
        let fetched = reply(&Upstream::new(), request, START_MS + 300).await;
        assert_eq!(fetched.status, 200);
        assert_eq!(fetched.header("content-type"), Some("image/png"));
        assert!(fetched.body.starts_with(b"\x89PNG"));
        bodies.push(fetched.body);
        assert_eq!(reply(&Upstream::new(), request, START_MS).await.status, 409);
        let beyond = Request {
            url: request.url.replace("/files/", "/files/1"),
            ..request.clone()
        };
        let beyond = reply(&Upstream::new(), &beyond, START_MS + 300).await;
        assert_eq!(beyond.status, 404);
    }
    assert_ne!(bodies[0], bodies[1]);
}

#[tokio::test]
async fn chat_is_answered_at_once_and_has_no_files() {
    let played = play(&order(Modality::Chat, json!({ "max_tokens": 9 }))).await;
    assert_eq!(played.took_ms, 0);
    let output = played.end.unwrap();
    assert!(output.sources.is_empty());
    let answer = output.answer.unwrap();
    assert_eq!(answer.finish_reason, "length");
    assert_eq!(answer.usage.output_tokens, 9);
}

#[tokio::test]
async fn every_scripted_outcome_is_played() {
    for (header, class, took_ms) in [
        ("outcome=fail, delay=2s", FaultClass::Failed, 2_000),
        ("outcome=moderated, delay=250ms", FaultClass::Moderated, 250),
        ("outcome=rate_limited, delay=2s", FaultClass::Unavailable, 0),
        ("outcome=garbage, delay=2s", FaultClass::Ambiguous, 0),
    ] {
        let played = play(&scripted(header)).await;
        let fault = played.end.unwrap_err();
        assert_eq!((fault.class, played.took_ms), (class, took_ms), "{header}");
        let is_throttled = class == FaultClass::Unavailable;
        assert_eq!(fault.retry_after_ms, is_throttled.then_some(1_000));
    }
    let played = play(&scripted("delay=2s, progress=4")).await;
    assert!(played.end.is_ok());
    assert_eq!(played.took_ms, 2_000);
    assert_eq!(played.progress, [0.2, 0.4, 0.6, 0.8]);
}

#[tokio::test]
async fn a_timeout_is_silence() {
    let order = scripted("outcome=timeout");
    let call = dialect("sandbox").unwrap().start(&order, &cx()).unwrap();
    let answered = Upstream::new().answer(&call.request, START_MS).await;
    assert_eq!(answered, Answered::Silence);
}

#[tokio::test]
async fn work_can_be_cancelled_until_its_end() {
    let played = play(&scripted("delay=2s")).await;
    let cancel = played.cancel.unwrap().request;
    let upstream = Upstream::new();
    let at = async |ms| reply(&upstream, &cancel, START_MS + ms).await.status;
    assert_eq!((at(1_999).await, at(2_000).await), (200, 409));
}

#[tokio::test]
async fn what_cannot_be_drawn_is_refused_before_it_is_work() {
    for (modality, params) in [
        (Modality::Image, json!({ "width": 5_000, "height": 5_000 })),
        (Modality::Video, json!({ "duration": 100_000 })),
        (Modality::Video, json!({ "duration": 0 })),
    ] {
        let played = play(&order(modality, params)).await;
        assert_eq!(played.end.unwrap_err().class, FaultClass::InvalidInput);
    }
}

#[tokio::test]
async fn same_orders_are_different_work() {
    let (upstream, sandbox) = (Upstream::new(), dialect("sandbox").unwrap());
    let order = scripted("delay=1s");
    let mut replies = Vec::new();
    for token in ["token-1", "token-2"] {
        let call = sandbox.start(&order, &Context { token, ..cx() }).unwrap();
        replies.push(reply(&upstream, &call.request, START_MS).await.body);
    }
    assert_ne!(replies[0], replies[1]);
}

#[tokio::test]
async fn unknown_work_and_unknown_paths_are_told_apart_from_bad_methods() {
    let upstream = Upstream::new();
    let ask = async |method, path: &str| {
        let request = Request {
            method,
            ..Request::get(format!("{BASE}{path}"))
        };
        reply(&upstream, &request, START_MS).await.status
    };
    assert_eq!(ask(Method::Get, "/work/nothing").await, 404);
    assert_eq!(ask(Method::Post, "/work/nothing/files/0").await, 404);
    assert_eq!(ask(Method::Delete, "/work/").await, 404);
    assert_eq!(ask(Method::Get, "/elsewhere").await, 404);
    assert_eq!(ask(Method::Get, "/work").await, 405);
    assert_eq!(ask(Method::Put, "/work/nothing").await, 405);
    assert_eq!(ask(Method::Post, "/work").await, 422);
}

/// Orders that are small to draw, with whatever text and with parameters of any kind.
fn any_order() -> impl Strategy<Value = Value> {
    let param = prop_oneof![
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!([1, null, "https://a/b"])),
        Just(Value::Null),
    ];
    let names = prop::sample::select(vec![
        "seed",
        "n",
        "aspect_ratio",
        "resolution",
        "watermark",
        "image_urls",
        "max_tokens",
        "odd",
    ]);
    let params = prop::collection::btree_map(names, param, 0..6);
    let side = 1_u32..64;
    (params, ".{0,60}", 0_usize..6, side.clone(), side).prop_map(
        |(params, prompt, outcome, width, height)| {
            let mut params = json!(params);
            params["width"] = json!(width);
            params["height"] = json!(height);
            json!({
                "model": prompt.chars().rev().collect::<String>(),
                "modality": if outcome % 2 == 0 { "image" } else { "chat" },
                "prompt": prompt,
                "params": params,
                "scenario": {
                    "delay_ms": 0,
                    "outcome": ScriptedOutcome::ALL[outcome].as_str(),
                    "progress": 0,
                },
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn arbitrary_requests_never_panic(
        method in prop::sample::select(vec![
            Method::Get, Method::Post, Method::Put, Method::Delete,
        ]),
        path in prop_oneof![
            "/work(/[A-Za-z0-9_-]{0,40})?(/files/[0-9]{0,12})?",
            ".{0,40}",
        ],
        order in any_order(),
        now_ms in any::<i64>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let body = json!({ "reference": path, "order": order });
        let upstream = Upstream::new();
        let request = Request {
            method,
            url: format!("{BASE}{path}"),
            headers: Vec::new(),
            body: Some(Body::Json(body.clone())),
            auth: Auth::None,
        };
        runtime.block_on(async {
            upstream.answer(&request, now_ms).await;
            let create = Request::post(format!("{BASE}/work"), body.clone());
            if let Answered::Reply(created) = upstream.answer(&create, now_ms).await {
                let id = created.json()["id"].as_str().unwrap_or_default().to_owned();
                for rest in ["", "/files/0"] {
                    let url = format!("{BASE}/work/{id}{rest}");
                    upstream.answer(&Request::post(url, body.clone()), now_ms).await;
                }
            }
        });
    }
}
