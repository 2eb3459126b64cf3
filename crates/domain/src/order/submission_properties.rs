//! Properties of every submit body, whatever it says.

use proptest::prelude::*;
use serde_json::{Map, Number, Value, json};

use super::Submission;
use super::submission_tests::SHIPPED;
use crate::credits::Credits;

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
            prop::collection::btree_map("[a-z_]{0,8}|.{0,3}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A parameter with a value that most models take, now and then with any value.
fn parameter() -> impl Strategy<Value = (String, Value)> {
    let usual = vec![
        ("duration", json!(5)),
        ("duration", json!(10.0)),
        ("aspect_ratio", json!("1:1")),
        ("aspect_ratio", json!("16:9")),
        ("resolution", json!("1080p")),
        ("resolution", json!("2K")),
        ("width", json!(1024)),
        ("height", json!(2048.0)),
        ("seed", json!(7.0)),
        ("steps", json!(20)),
        ("guidance_scale", json!(3.5)),
        ("negative_prompt", json!("rain")),
        ("image_urls", json!(["https://a.test/1.png"])),
        ("image_urls", json!([])),
        ("watermark", json!("fox")),
        ("watermark", json!("")),
        ("multi_shots", json!(true)),
        (
            "multi_prompt",
            json!([{"prompt": "a fox", "duration": 5.0, "camera": "low"}]),
        ),
        ("temperature", json!(0.5)),
        ("max_tokens", json!(10)),
        ("top_p", json!(1.0)),
    ];
    (
        prop::sample::select(usual),
        prop::option::weighted(0.05, json_value()),
    )
        .prop_map(|((name, usual), other)| (name.to_owned(), other.unwrap_or(usual)))
}

fn group() -> impl Strategy<Value = Value> {
    prop::collection::vec(parameter(), 0..6)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

fn body() -> impl Strategy<Value = Value> {
    let messages = json!([{"role": "user", "content": "Why?"}]);
    let field = prop_oneof![
        8 => prop::sample::select(vec!["video_params", "image_params", "llm_params"])
            .prop_flat_map(|name| (Just(name), group())),
        1 => Just(("messages", messages)),
        1 => Just(("metadata", json!({"order": "42"}))),
        1 => Just(("callback_url", json!("https://example.com/hook"))),
        1 => (
            prop::sample::select(vec![
                "prompt", "generation_type", "callback_url", "metadata", "messages", "strict",
                "video_params", "image_params", "llm_params",
            ]),
            json_value(),
        ),
    ];
    let prompt = prop::option::weighted(0.8, Just(("prompt", json!("a fox"))));
    (prop::collection::vec(field, 0..5), prompt).prop_map(|(fields, prompt)| {
        let fields = fields.into_iter().chain(prompt);
        Value::Object(
            fields
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
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
