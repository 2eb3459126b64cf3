//! Tests of what a submit body may say.

use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use serde_json::{Map, Number, Value, json};

use super::{Invalid, Submission};
use crate::catalogue::shipped_tests::shipped;
use crate::catalogue::{Abilities, Catalogue, Model};
use crate::credits::Credits;

static SHIPPED: LazyLock<Catalogue> = LazyLock::new(shipped);

const KLING: &str = "video_generate.kling_2_6";
const IMAGEN: &str = "image_generate.imagen_4";
const FLUX: &str = "image_generate.flux_2_pro";
const CHAT: &str = "solve_problem.kie_reasoning";

fn model(id: &str) -> &'static Arc<Model> {
    SHIPPED.model(id).unwrap()
}

/// Submits fields beside a prompt; a field of the same name takes its place.
fn submit(id: &str, fields: Value) -> Result<Submission, Invalid> {
    let mut body = json!({"prompt": "a fox"});
    body.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    model(id).submission(&body, None)
}

fn accepted(id: &str, fields: Value) -> Submission {
    submit(id, fields).unwrap()
}

/// The field that is refused.
fn refused(id: &str, fields: Value) -> String {
    submit(id, fields).unwrap_err().param
}

#[test]
fn the_documented_body_is_taken() {
    let submission = accepted(
        KLING,
        json!({
            "generation_type": "video",
            "callback_url": "https://example.com/hook",
            "video_params": {
                "aspect_ratio": "9:16", "duration": 10, "resolution": "1080p",
                "image_urls": ["https://example.com/a.png"], "video_urls": [],
                "enable_translation": true, "watermark": "fox", "multi_shots": true,
            },
            "metadata": {"order": "42"},
            "something": "unknown",
        }),
    );
    assert_eq!(
        json!(submission.order.params),
        json!({
            "aspect_ratio": "9:16", "duration": 10, "resolution": "1080p",
            "image_urls": ["https://example.com/a.png"],
            "enable_translation": true, "watermark": "fox", "multi_shots": true,
        })
    );
    assert_eq!(submission.order.asked(), Abilities::ALL);
    assert_eq!(
        submission.callback_url.as_deref(),
        Some("https://example.com/hook")
    );
    assert_eq!(submission.metadata["order"], "42");
    assert!(submission.ignored.is_empty());
}

#[test]
fn null_and_empty_mean_not_given() {
    let bare = accepted(KLING, json!({}));
    for fields in [
        json!({"generation_type": null, "callback_url": null, "metadata": null, "strict": null}),
        json!({"video_params": null, "image_params": null, "messages": null}),
        json!({"video_params": {"duration": null, "aspect_ratio": null}}),
        json!({"video_params": {"watermark": " ", "image_urls": [], "multi_shots": false}}),
        json!({"image_params": {"steps": null}, "strict": true}),
        json!({"generation_type": "chat"}),
    ] {
        assert_eq!(accepted(KLING, fields.clone()), bare, "{fields}");
    }
    assert_eq!(bare.order.asked(), Abilities::NONE);
}

#[test]
fn every_wrong_field_is_named() {
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    let pairs: Map<String, Value> = (0..17).map(|n| (n.to_string(), json!("x"))).collect();
    for (fields, param) in [
        (json!({"prompt": null}), "prompt"),
        (json!({"prompt": 5}), "prompt"),
        (json!({"prompt": " \n\u{3000}"}), "prompt"),
        (json!({"prompt": "a\u{0}b"}), "prompt"),
        (json!({"prompt": "x".repeat(1_001)}), "prompt"),
        (json!({"generation_type": "audio"}), "generation_type"),
        (json!({"generation_type": 1}), "generation_type"),
        (json!({"callback_url": 1}), "callback_url"),
        (json!({"callback_url": ""}), "callback_url"),
        (json!({"callback_url": "ftp://example.com"}), "callback_url"),
        (
            json!({"callback_url": "https://a:b@example.com"}),
            "callback_url",
        ),
        (json!({"strict": "yes"}), "strict"),
        (json!({"metadata": []}), "metadata"),
        (json!({"metadata": {"a": 1}}), "metadata"),
        (json!({"metadata": {"a": deep}}), "metadata"),
        (json!({"metadata": {"a": "\u{0}"}}), "metadata"),
        (json!({"metadata": {"\u{0}": "a"}}), "metadata"),
        (json!({"metadata": {"a": "x".repeat(2_048)}}), "metadata"),
        (json!({"metadata": pairs}), "metadata"),
        (json!({"messages": "hello"}), "messages"),
        (json!({"video_params": []}), "video_params"),
        (json!({"image_params": 1}), "image_params"),
        (json!({"llm_params": "x"}), "llm_params"),
        (json!({"image_params": {"seed": "x"}}), "image_params.seed"),
        (
            json!({"image_params": {"guidance_scale": 21}}),
            "image_params.guidance_scale",
        ),
        (
            json!({"llm_params": {"temperature": 2.5}}),
            "llm_params.temperature",
        ),
    ] {
        assert_eq!(refused(KLING, fields.clone()), param, "{fields}");
    }
    let body = model(KLING).submission(&json!([]), None);
    assert_eq!(body.unwrap_err().param, "body");
}

#[test]
fn every_wrong_parameter_is_named() {
    let long = "x".repeat(201);
    for (id, group, name, values) in [
        (KLING, "video_params", "aspect_ratio", json!(["2:1", 1, ""])),
        (
            KLING,
            "video_params",
            "duration",
            json!([7, "5", 5.5, -5, true, 1e300]),
        ),
        (KLING, "video_params", "resolution", json!(["4k", 720])),
        (
            KLING,
            "video_params",
            "image_urls",
            json!([
                "https://a.test",
                [1],
                ["x"],
                ["https://a.test", "https://b.test"]
            ]),
        ),
        (
            KLING,
            "video_params",
            "video_urls",
            json!([{}, [null], ["file:///etc/passwd"]]),
        ),
        (
            KLING,
            "video_params",
            "enable_translation",
            json!(["true", 1]),
        ),
        (KLING, "video_params", "multi_shots", json!(["true", 0])),
        (
            KLING,
            "video_params",
            "watermark",
            json!([1, long, "a\u{0}"]),
        ),
        (IMAGEN, "image_params", "aspect_ratio", json!(["21:9", 1])),
        (
            IMAGEN,
            "image_params",
            "negative_prompt",
            json!([1, "a\u{0}"]),
        ),
        (IMAGEN, "image_params", "seed", json!(["1", 1.5, -1, 1e12])),
        (IMAGEN, "image_params", "watermark", json!([false])),
        (IMAGEN, "image_params", "steps", json!(["many"])),
        (
            FLUX,
            "image_params",
            "guidance_scale",
            json!([0.9, 20.1, "5"]),
        ),
        (FLUX, "image_params", "steps", json!([0, 2.5, "9"])),
        (CHAT, "llm_params", "temperature", json!([-0.1, 2.1, "1"])),
        (CHAT, "llm_params", "max_tokens", json!([0, 1.5, "1", 1e9])),
        (CHAT, "llm_params", "top_p", json!([-1, 1.01, []])),
    ] {
        for value in values.as_array().unwrap() {
            let fields = json!({group: {name: value}});
            assert_eq!(refused(id, fields), format!("{group}.{name}"), "{value}");
        }
    }
    let refusal = submit(KLING, json!({"video_params": {"duration": 7}})).unwrap_err();
    assert_eq!(refusal.allowed, Some(json!([5, 10])));
}

#[test]
fn what_is_of_no_use_is_named_or_refused() {
    let fields = json!({
        "image_params": {"steps": 20, "unknown": 1},
        "llm_params": {"temperature": 1},
        "messages": [{"role": "user", "content": "x"}],
    });
    let submission = accepted(IMAGEN, fields.clone());
    assert_eq!(
        submission.ignored,
        ["messages", "image_params.steps", "llm_params.temperature"]
    );
    assert_eq!(
        submission.order.params,
        accepted(IMAGEN, json!({})).order.params
    );
    let mut strict = fields;
    strict["strict"] = json!(true);
    assert_eq!(refused(IMAGEN, strict), "messages");
    let strict = json!({"strict": true, "image_params": {"steps": 20}});
    assert_eq!(refused(IMAGEN, strict), "image_params.steps");
    accepted(
        IMAGEN,
        json!({"strict": true, "image_params": {"seed": 1, "unknown": 1}}),
    );
}

#[test]
fn what_must_not_be_dropped_is_asked_for() {
    let asked = |id, fields| accepted(id, fields).order.asked();
    let watermark = Abilities::NONE.with("watermark");
    assert_eq!(
        asked(IMAGEN, json!({"image_params": {"watermark": "fox"}})),
        watermark
    );
    assert_eq!(
        asked(IMAGEN, json!({"image_params": {"watermark": "  "}})),
        Abilities::NONE
    );
    for name in ["multi_shots", "enable_translation"] {
        let fields = json!({"video_params": {name: true}});
        assert_eq!(asked(KLING, fields), Abilities::NONE.with(name));
    }
}

#[test]
fn a_size_takes_the_place_of_the_ratio() {
    let params = |fields| accepted(FLUX, json!({"image_params": fields})).order.params;
    assert_eq!(params(json!({}))["aspect_ratio"], "1:1");
    assert_eq!(
        params(json!({"aspect_ratio": "16:9"}))["aspect_ratio"],
        "16:9"
    );
    let both = json!({"width": 1024, "height": 768.0});
    assert_eq!(json!(params(both)), json!({"width": 1024, "height": 768}));
    let all = json!({"width": 1024, "height": 768, "aspect_ratio": "1:1"});
    assert_eq!(json!(params(all)), json!({"width": 1024, "height": 768}));
    let lone = json!({"image_params": {"width": 1024}});
    assert_eq!(refused(FLUX, lone), "image_params.height");
    let lone = json!({"image_params": {"height": 1024, "aspect_ratio": "1:1"}});
    assert_eq!(refused(FLUX, lone), "image_params.width");
    let small = accepted(FLUX, json!({"image_params": {"width": 512, "height": 512}}));
    let large = accepted(
        FLUX,
        json!({"image_params": {"width": 2048, "height": 512}}),
    );
    let hold = |submission: &Submission| model(FLUX).price.hold(&submission.order);
    assert!(hold(&small) < hold(&large));
}

#[test]
fn a_conversation_stands_in_place_of_the_prompt() {
    let messages = json!([{"role": "user", "content": "Why?"}]);
    let body = json!({"messages": messages});
    let order = model(CHAT).submission(&body, None).unwrap().order;
    assert_eq!(order.messages, Some(messages.clone()));
    assert_eq!(order.prompt, "");
    assert_eq!(refused(CHAT, json!({"messages": messages})), "messages");
    assert_eq!(refused(CHAT, json!({"prompt": null})), "prompt");
    assert_eq!(
        refused(CHAT, json!({"prompt": null, "messages": []})),
        "messages"
    );
    assert_eq!(order.params["max_tokens"], 4_096);
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| Number::from_f64(n).map_or(Value::Null, Value::Number)),
        (0_i32..20).prop_map(Value::from),
        ".*".prop_map(Value::from),
        prop::sample::select(vec!["1:1", "720p", "user", "https://a.test", "image"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name(), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    let known = vec![
        "role",
        "content",
        "duration",
        "aspect_ratio",
        "width",
        "height",
        "seed",
        "steps",
        "watermark",
        "image_urls",
        "temperature",
        "max_tokens",
        "resolution",
    ];
    prop_oneof![
        prop::sample::select(known).prop_map(str::to_owned),
        ".{0,8}",
    ]
}

fn body() -> impl Strategy<Value = Value> {
    let fields = vec![
        "prompt",
        "generation_type",
        "callback_url",
        "video_params",
        "image_params",
        "llm_params",
        "metadata",
        "messages",
        "strict",
    ];
    let group = prop::collection::btree_map(name(), json_value(), 0..4)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()));
    let field = prop_oneof![json_value(), group];
    let body = prop::collection::btree_map(prop::sample::select(fields), field, 0..5);
    (body, any::<bool>()).prop_map(|(fields, is_prompted)| {
        let mut body: Map<String, Value> = fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        if is_prompted {
            body.insert("prompt".to_owned(), json!("a fox"));
        }
        Value::Object(body)
    })
}

/// The same value with every whole number written with a point.
fn pointed(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.to_string().parse::<f64>().map_or_else(
            |_| value.clone(),
            |float| Number::from_f64(float).map_or(Value::Null, Value::Number),
        ),
        Value::Array(items) => items.iter().map(pointed).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| (name.clone(), pointed(field)))
            .collect::<Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn arbitrary_bodies_never_panic(body in prop_oneof![body(), json_value()]) {
        for model in SHIPPED.models() {
            if let Ok(submission) = model.submission(&body, None) {
                prop_assert!(model.price.hold(&submission.order) >= Credits::ZERO);
                let text = serde_json::to_string(&submission.order.params).unwrap();
                prop_assert!(!text.contains("\\u0000"));
            }
        }
    }

    #[test]
    fn the_spelling_of_numbers_changes_nothing(
        duration in 0_i32..20, seed in 0_i32..1000, side in 60_i32..2100, temperature in 0_i32..3,
    ) {
        let body = json!({
            "prompt": "a fox",
            "video_params": {"duration": duration},
            "image_params": {"seed": seed, "width": side, "height": side},
            "llm_params": {"temperature": temperature, "max_tokens": side},
        });
        for model in SHIPPED.models() {
            let mut bodies = [body.clone(), pointed(&body)];
            for body in &mut bodies {
                let own = model.modality.group();
                body.as_object_mut().unwrap().retain(|name, _| name == own || name == "prompt");
            }
            let [plain, pointed] = bodies.map(|body| model.submission(&body, None));
            prop_assert_eq!(&plain, &pointed);
            if let Ok(submission) = plain {
                let text = serde_json::to_string(&submission.order).unwrap();
                prop_assert_eq!(text, serde_json::to_string(&pointed.unwrap().order).unwrap());
            }
        }
    }

    #[test]
    fn an_accepted_order_is_accepted_again(body in body()) {
        for model in SHIPPED.models() {
            if let Ok(Submission { order, .. }) = model.submission(&body, None) {
                let again = match &order.messages {
                    Some(messages) => json!({"messages": messages, model.modality.group(): order.params}),
                    None => json!({"prompt": order.prompt, model.modality.group(): order.params}),
                };
                prop_assert_eq!(model.submission(&again, None).unwrap().order, order);
            }
        }
    }
}
