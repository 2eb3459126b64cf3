//! Every row of the submit body: type, range, words.

use serde_json::{Value, json};

use crate::world::{CHAT, IMAGE, VIDEO, World};

const FLUX: &str = "image_generate.flux_2_pro";

/// A body with one field set, by its path.
fn with(path: &str, value: Value) -> Value {
    let mut body = json!({"prompt": "a fox"});
    match path.split_once('.') {
        Some((group, name)) => body[group] = json!({ name: value }),
        None => body[path] = value,
    }
    body
}

async fn check_taken(world: &World, model: &str, path: &str, values: &[Value]) {
    for value in values {
        let reply = world.run(model, &with(path, value.clone())).send().await;
        assert_eq!(reply.status, 200, "{path} {value}: {:?}", reply.body);
        assert!(reply.json()["ignored"].is_null(), "{path} {value}");
    }
}

async fn check_refused(world: &World, model: &str, path: &str, values: &[Value]) {
    for value in values {
        let reply = world.run(model, &with(path, value.clone())).send().await;
        let param = reply.invalid();
        assert_eq!(param, path, "{value}");
    }
}

#[tokio::test]
async fn the_fields_of_every_body() {
    let world = World::new().await;
    let pairs = |count: usize| -> Value {
        let pair = |n: usize| (format!("k{n}"), json!("v"));
        Value::Object((0..count).map(pair).collect())
    };
    let long = json!({"k": "v".repeat(2_048)});
    for (path, taken, refused) in [
        (
            "prompt",
            vec![
                json!("x"),
                json!("\u{1f98a} fuchs"),
                json!("<script>"),
                json!("' OR 1=1 --"),
            ],
            vec![
                json!(null),
                json!(""),
                json!(" \n"),
                json!(7),
                json!([]),
                json!({}),
                json!("a\u{0}b"),
            ],
        ),
        (
            "generation_type",
            vec![json!(null), json!("image"), json!("video"), json!("chat")],
            vec![json!("audio"), json!("IMAGE"), json!(""), json!(1)],
        ),
        (
            "callback_url",
            vec![
                json!(null),
                json!("https://example.com/hook?a=b"),
                json!("http://example.com"),
            ],
            vec![
                json!(""),
                json!("example.com"),
                json!("file:///etc/passwd"),
                json!(1),
                json!([]),
            ],
        ),
        (
            "metadata",
            vec![json!(null), json!({}), json!({"a": "b"}), pairs(16)],
            vec![
                json!([]),
                json!("x"),
                json!({"a": 1}),
                json!({"a": null}),
                pairs(17),
                long,
            ],
        ),
    ] {
        check_taken(&world, IMAGE, path, &taken).await;
        check_refused(&world, IMAGE, path, &refused).await;
    }
}

#[tokio::test]
async fn the_switches_and_groups_of_every_body() {
    let world = World::new().await;
    for (path, taken, refused) in [
        (
            "strict",
            vec![json!(null), json!(true), json!(false)],
            vec![json!("true"), json!(1)],
        ),
        (
            "image_params",
            vec![json!(null), json!({})],
            vec![json!([]), json!("x"), json!(1)],
        ),
        (
            "video_params",
            vec![json!(null), json!({})],
            vec![json!([]), json!("x")],
        ),
        (
            "llm_params",
            vec![json!(null), json!({})],
            vec![json!([]), json!("x")],
        ),
    ] {
        check_taken(&world, IMAGE, path, &taken).await;
        check_refused(&world, IMAGE, path, &refused).await;
    }
}

#[tokio::test]
async fn the_parameters_of_videos() {
    let world = World::new().await;
    let link = json!(["https://example.com/a.png"]);
    let many = json!(["https://example.com/a.png", "https://example.com/b.png"]);
    for (path, taken, refused) in [
        (
            "aspect_ratio",
            vec![
                json!("16:9"),
                json!("9:16"),
                json!("1:1"),
                json!("4:3"),
                json!("3:4"),
            ],
            vec![json!("2:1"), json!("16x9"), json!(""), json!(1)],
        ),
        (
            "duration",
            vec![json!(5), json!(10), json!(5.0), json!(null)],
            vec![
                json!(7),
                json!(0),
                json!(-5),
                json!("5"),
                json!(1e300),
                json!(true),
            ],
        ),
        (
            "resolution",
            vec![json!("720p"), json!("1080p")],
            vec![json!("480p"), json!(720)],
        ),
        (
            "image_urls",
            vec![json!([]), link.clone()],
            vec![json!("https://a.test"), json!([1]), many],
        ),
        (
            "video_urls",
            vec![json!([]), link],
            vec![json!({}), json!(["nothing"])],
        ),
        (
            "enable_translation",
            vec![json!(true), json!(false)],
            vec![json!("yes"), json!(1)],
        ),
        (
            "watermark",
            vec![json!("mine"), json!("")],
            vec![json!(true), json!("x".repeat(201))],
        ),
        (
            "multi_shots",
            vec![json!(true), json!(false)],
            vec![json!("no"), json!(0)],
        ),
    ] {
        let path = format!("video_params.{path}");
        check_taken(&world, VIDEO, &path, &taken).await;
        check_refused(&world, VIDEO, &path, &refused).await;
    }
}

#[tokio::test]
async fn the_parameters_of_images() {
    let world = World::new().await;
    for (model, path, taken, refused) in [
        (
            IMAGE,
            "aspect_ratio",
            vec![
                json!("16:9"),
                json!("9:16"),
                json!("1:1"),
                json!("4:3"),
                json!("3:4"),
            ],
            vec![json!("2:1"), json!(1)],
        ),
        (
            IMAGE,
            "negative_prompt",
            vec![json!("dogs")],
            vec![json!(1), json!("a\u{0}")],
        ),
        (
            IMAGE,
            "seed",
            vec![json!(0), json!(42)],
            vec![json!("42"), json!(-1), json!(1.5)],
        ),
        (
            FLUX,
            "aspect_ratio",
            vec![json!("16:9")],
            vec![json!("4:3")],
        ),
        (
            FLUX,
            "guidance_scale",
            vec![json!(1), json!(3.5), json!(20)],
            vec![json!(0.9), json!(21)],
        ),
        (
            FLUX,
            "steps",
            vec![json!(1), json!(50)],
            vec![json!(0), json!(51), json!(2.5)],
        ),
    ] {
        let path = format!("image_params.{path}");
        check_taken(&world, model, &path, &taken).await;
        check_refused(&world, model, &path, &refused).await;
    }
}

#[tokio::test]
async fn a_size_needs_both_sides_and_wins_over_the_ratio() {
    let world = World::new().await;
    for (params, param) in [
        (json!({"width": 512}), "image_params.height"),
        (json!({"height": 512}), "image_params.width"),
        (json!({"width": 512, "height": 63}), "image_params.height"),
        (json!({"width": "512", "height": 512}), "image_params.width"),
    ] {
        let body = json!({"prompt": "x", "image_params": params});
        assert_eq!(world.run(FLUX, &body).send().await.invalid(), param);
    }
    let both = json!({"width": 512, "height": 768, "aspect_ratio": "16:9"});
    for (params, has_ratio) in [(both, false), (json!({}), true)] {
        let body = json!({"prompt": "x", "image_params": params});
        let id = world.submitted_to(FLUX, &body).await;
        let read = world
            .store
            .task(&world.account, &id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(read.task.order.text("aspect_ratio").is_some(), has_ratio);
    }
}

#[tokio::test]
async fn the_parameters_of_chat() {
    let world = World::new().await;
    for (path, taken, refused) in [
        (
            "temperature",
            vec![json!(0), json!(2), json!(0.7)],
            vec![json!(2.1), json!(-0.1), json!("1")],
        ),
        (
            "max_tokens",
            vec![json!(1), json!(100.0)],
            vec![json!(0), json!(1.5), json!("9")],
        ),
        (
            "top_p",
            vec![json!(0), json!(1)],
            vec![json!(1.1), json!(-1), json!([])],
        ),
    ] {
        let path = format!("llm_params.{path}");
        check_taken(&world, CHAT, &path, &taken).await;
        check_refused(&world, CHAT, &path, &refused).await;
    }
    let messages = json!([{"role": "user", "content": "hello"}]);
    world
        .run(CHAT, &json!({"messages": messages}))
        .send()
        .await
        .ok();
    let both = json!({"messages": messages, "prompt": "x"});
    assert_eq!(world.run(CHAT, &both).send().await.invalid(), "messages");
    let odd = json!({"messages": [{"role": "robot", "content": "x"}]});
    assert_eq!(
        world.run(CHAT, &odd).send().await.invalid(),
        "messages[0].role"
    );
}

#[tokio::test]
async fn a_refusal_lists_what_is_allowed() {
    let world = World::new().await;
    let reply = world
        .run(VIDEO, &with("video_params.duration", json!(7)))
        .send()
        .await;
    let body = reply.refusal(422, "validation_error");
    assert_eq!(body["allowed"], json!([5, 10]));
    assert!(
        body["message"]
            .as_str()
            .unwrap()
            .contains("video_params.duration")
    );
    let reply = world
        .run(FLUX, &with("image_params.steps", json!(0)))
        .send()
        .await;
    assert_eq!(reply.json()["allowed"], json!({"min": 1, "max": 50}));
}

#[tokio::test]
async fn unknown_fields_are_ignored_without_a_word() {
    let world = World::new().await;
    let body = json!({"prompt": "x", "unknown": {"a": [1, null]}, "image_params": {"unknown": 1}});
    let reply = world.run(IMAGE, &body).send().await.ok();
    assert!(reply["ignored"].is_null());
}
