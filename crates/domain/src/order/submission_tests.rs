//! Tests of what a submit body may say.

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value, json};

use super::{Invalid, Submission};
use crate::catalogue::shipped_tests::shipped;
use crate::catalogue::{Abilities, Catalogue, Model};

pub(super) static SHIPPED: LazyLock<Catalogue> = LazyLock::new(shipped);

const KLING: &str = "video_generate.kling_2_6";
const KLING_3: &str = "video_generate.kling_3_0";
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
fn shots_want_to_be_asked_for_and_make_up_the_film() {
    let shots = json!([{"prompt": "a fox", "duration": 4}, {"prompt": "snow", "duration": 3.0}]);
    let fields = |duration: i64, also: Value| {
        let mut params = json!({"multi_prompt": shots, "multi_shots": true, "duration": duration});
        let params_also = also.as_object().unwrap().clone();
        params.as_object_mut().unwrap().extend(params_also);
        json!({"video_params": params})
    };
    let order = accepted(KLING_3, fields(7, json!({}))).order;
    assert_eq!(
        order.params["multi_prompt"],
        json!([{"prompt": "a fox", "duration": 4}, {"prompt": "snow", "duration": 3}])
    );
    assert_eq!(order.asked(), Abilities::NONE.with("multi_shots"));
    let none = accepted(KLING_3, json!({"video_params": {"multi_prompt": []}}));
    assert_eq!(none.order.params, model(KLING_3).defaults);
    for (fields, param) in [
        (fields(8, json!({})), "multi_prompt"),
        (fields(7, json!({"multi_shots": false})), "multi_prompt"),
        (fields(7, json!({"multi_shots": null})), "multi_prompt"),
        (
            fields(7, json!({"enable_translation": true})),
            "enable_translation",
        ),
    ] {
        assert_eq!(
            refused(KLING_3, fields.clone()),
            format!("video_params.{param}"),
            "{fields}"
        );
    }
    let refusal = submit(KLING_3, fields(5, json!({}))).unwrap_err();
    assert_eq!(
        refusal.message,
        "has shots of 7 seconds in all, but `duration` is 5"
    );
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
