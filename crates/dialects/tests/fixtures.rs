//! Every folder `fixtures/<dialect>/<case>/` is one conversation.
//!
//! `order.json` says what is asked, `1.reply.json` and so on what the provider answers. What the dialect
//! says, and what comes of it, is in `1.request.json` and `outcome.json`; `UPDATE=1` writes those anew, for
//! a person to read. With `"starts": "find"` in the order the conversation is the one after a lost reply;
//! with `"starts": "hook"` the one after a webhook, `delivery`, that names the work of a lost reply;
//! with `"cancels": true` it ends with a request to cancel, in `cancel.request.json`. `cases.json` of a
//! dialect is the same for its replies to a creating call alone: a reply and what it means.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop here"
)]

use std::path::{Path, PathBuf};

use dialects::{Context, DIALECTS, Dialect, NOTHING, dialect};
use domain::order::Order;
use domain::upstream::{Call, Cursor, Fault, Next, Reply};
use proptest::prelude::*;
use serde_json::{Value, json};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");

/// Most calls of one conversation.
const CALLS_MAX: usize = 20;

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compares with what the file says, or writes it.
#[expect(
    clippy::disallowed_methods,
    reason = "whoever runs a test asks it to write what it expects"
)]
fn agree(path: &Path, found: &Value) {
    if std::env::var("UPDATE").is_ok() {
        let text = serde_json::to_string_pretty(found).unwrap();
        std::fs::write(path, text + "\n").unwrap();
    }
    assert_eq!(found, &read(path), "{}", path.display());
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).unwrap();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders
}

/// A reply as a file says it: `{"status", "headers"?, "body"}`; a body that is a text is sent as it is.
fn reply(value: &Value) -> Reply {
    let headers = value["headers"].as_object().into_iter().flatten();
    let headers = headers.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
    Reply {
        status: u16::try_from(value["status"].as_u64().unwrap()).unwrap(),
        headers: headers.collect(),
        body: match &value["body"] {
            Value::String(text) => text.clone().into_bytes(),
            body => body.to_string().into_bytes(),
        },
    }
}

fn order(value: &Value) -> Order {
    serde_json::from_value(json!({
        "model": "catalogue.id", "modality": value["modality"],
        "prompt": value["prompt"].as_str().unwrap_or_default(), "messages": value["messages"], "params": {},
    }))
    .unwrap()
}

fn said(call: &Call) -> Value {
    json!({ "kind": call.kind, "request": call.request })
}

fn meant(fault: &Fault) -> Value {
    let mut meant = json!({ "fault": fault.class, "public": fault.public });
    if let Some(ms) = fault.retry_after_ms {
        meant["retry_after_ms"] = json!(ms);
    }
    meant
}

fn context<'a>(value: &'a Value) -> Context<'a> {
    Context {
        base_url: "https://provider.test",
        model: value["model"].as_str().unwrap(),
        token: "token-1",
        webhook: value["webhook"].as_str(),
        fields: value["fields"].as_object().unwrap_or(&NOTHING),
    }
}

fn play(dialect: &dyn Dialect, folder: &Path) {
    let asked = read(&folder.join("order.json"));
    let (order, first) = (order(&asked), context(&asked));
    let later = Context {
        fields: &NOTHING,
        webhook: None,
        ..first
    };
    let hook = dialect.hook();
    let mut call = match asked["starts"].as_str() {
        Some("find") => dialect.find(&order, &later).unwrap(),
        Some("hook") => {
            let work = hook.unwrap().work(&asked["delivery"]).unwrap();
            dialect.adopt(&order, &later, &work).unwrap().then
        }
        _ => dialect.start(&order, &first).unwrap(),
    };
    let mut pauses = Vec::new();
    let mut id = None;
    for n in 1..=CALLS_MAX {
        agree(&folder.join(format!("{n}.request.json")), &said(&call));
        let reply = reply(&read(&folder.join(format!("{n}.reply.json"))));
        let next = dialect.resume(&order, &later, &call.at, &reply);
        let end = match next {
            Ok(Next::Call(next)) => {
                call = next;
                continue;
            }
            Ok(Next::Wait(wait)) => {
                pauses.push(json!({ "ms": wait.ms, "progress": wait.progress }));
                id = id.or(wait.upstream_id);
                call = wait.then;
                continue;
            }
            Ok(Next::Done(output)) => json!({ "output": output }),
            Err(fault) => meant(&fault),
        };
        if asked["cancels"] == true {
            let cancel = dialect.cancel(&order, &later, &call.at).unwrap();
            agree(&folder.join("cancel.request.json"), &said(&cancel));
        }
        let found = json!({ "upstream_id": id, "pauses": pauses, "end": end });
        return agree(&folder.join("outcome.json"), &found);
    }
    panic!("{}: no end", folder.display());
}

#[test]
fn every_conversation_goes_as_it_is_written() {
    let mut played = 0;
    for folder in folders(Path::new(ROOT)) {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let dialect = dialect(name).unwrap_or_else(|| panic!("no dialect {name}"));
        for case in folders(&folder) {
            play(dialect, &case);
            played += 1;
        }
    }
    assert!(played > 0, "no fixtures");
}

#[test]
fn every_reply_to_a_creating_call_means_what_is_written() {
    for folder in folders(Path::new(ROOT)) {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let dialect = dialect(name).unwrap();
        let path = folder.join("cases.json");
        let cases = read(&path);
        let mut asked = json!({ "model": "m", "modality": cases["modality"], "prompt": "a fox" });
        asked["fields"] = cases["fields"].clone();
        let (order, cx) = (order(&asked), context(&asked));
        let start = dialect.start(&order, &cx).unwrap();
        let judged = cases["replies"].as_array().unwrap().iter().map(|case| {
            let next = dialect.resume(&order, &cx, &start.at, &reply(&case["reply"]));
            let means = match next {
                Err(fault) => meant(&fault),
                Ok(_) => json!("accepted"),
            };
            json!({ "what": case["what"], "reply": case["reply"], "means": means })
        });
        let mut found = cases.clone();
        found["replies"] = judged.collect();
        agree(&path, &found);
    }
}

#[test]
fn every_dialect_has_fixtures() {
    for (name, _) in DIALECTS.iter().filter(|(name, _)| *name != "sandbox") {
        let folder = Path::new(ROOT).join(name);
        assert!(folder.join("cases.json").is_file(), "{name}");
        assert!(!folders(&folder).is_empty(), "{name}");
    }
}

/// Words of every protocol, so that arbitrary documents get past the first look at them.
const WORDS: &[&str] = &[
    "code",
    "msg",
    "data",
    "taskId",
    "state",
    "success",
    "fail",
    "resultJson",
    "resultUrls",
    "successFlag",
    "response",
    "choices",
    "message",
    "content",
    "error",
    "images",
    "b64_json",
    "url",
    "candidates",
    "parts",
    "inlineData",
    "finishReason",
    "name",
    "done",
    "generateVideoResponse",
    "generatedSamples",
    "video",
    "uri",
    "stop_reason",
    "text",
    "output",
    "type",
    "usage",
    "videoInfo",
    "result_urls",
    "task_id",
    "task_status",
    "task_result",
    "videos",
    "status",
    "succeeded",
    "video_url",
    "base_resp",
    "status_code",
    "Success",
    "file_id",
    "image_urls",
    "SUCCEEDED",
    "results",
    "image",
    "id",
    "FAILED",
    "failureCode",
    "completed",
    "assets",
    "failure_reason",
    "failure_code",
    "polling_url",
    "Ready",
    "result",
    "sample",
    "finish_reason",
    "detail",
    "urls",
    "unsigned_urls",
    "prompt_id",
    "node_errors",
    "outputs",
    "filename",
    "errors",
];

fn any_json() -> impl Strategy<Value = Value> {
    let word = proptest::sample::select(WORDS);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(json!("{\"resultUrls\":[1,\"x\"]}")),
    ];
    leaf.prop_recursive(5, 32, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::vec((word.clone(), inner), 0..5)
                .prop_map(|pairs| pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_reply_makes_a_dialect_panic_or_create_twice(
        status in prop_oneof![Just(200_u16), 100..600_u16],
        body in any_json(),
        at in any_json(),
    ) {
        let asked = json!({ "model": "m", "modality": "image", "prompt": "a fox" });
        let (order, cx) = (order(&asked), context(&asked));
        let reply = Reply { status, headers: Vec::new(), body: body.to_string().into_bytes() };
        for (name, dialect) in DIALECTS {
            let ids = [Value::Null, at.clone(), json!({ "id": "x" })];
            for at in ids {
                let next = dialect.resume(&order, &cx, &Cursor(at), &reply);
                if let Ok(Next::Wait(wait)) = next {
                    prop_assert_eq!(wait.then.kind, domain::upstream::Kind::Reads, "{}", name);
                }
            }
        }
    }
}
