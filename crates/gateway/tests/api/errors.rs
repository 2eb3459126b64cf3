//! Every refusal has the one shape, and says the right thing.

use domain::key::{Grant, Scope};
use serde_json::json;

use crate::client::{Call, raw};
use crate::world::{DISABLED, IMAGE, World};

#[tokio::test]
async fn unknown_endpoints_and_methods_are_not_found() {
    let world = World::new().await;
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/api/v1/nothing"),
        ("GET", "/api/v1/run/image_generate.imagen_4"),
        (
            "DELETE",
            "/api/v1/run/tasks/f47ac10b-58cc-4372-a567-0e02b2c3d479",
        ),
        ("PATCH", "/api/v1/run/image_generate.imagen_4"),
    ] {
        let reply = world.bare(method, path).send().await;
        reply.refusal(404, "not_found");
    }
}

#[tokio::test]
async fn every_cause_of_a_401_looks_the_same() {
    let world = World::new().await;
    let account = &world.account;
    let grant = || Grant::account("k");
    let expired = Grant {
        expires_ms: Some(world.now_ms() - 1),
        ..grant()
    };
    let elsewhere = Grant {
        ip_whitelist: vec!["198.51.100.0/24".to_owned()],
        ..grant()
    };
    let reader = Grant {
        scopes: vec![Scope::Read],
        ..grant()
    };
    let mut wrong = world.key.clone();
    wrong.pop();
    wrong.push('~');
    let mut other = world.key.clone();
    other.replace_range(other.len() - 4.., "zzzz");
    let mut messages = Vec::new();
    for key in [
        String::new(),
        "nonsense".to_owned(),
        "sk-t0-0000-000000000000".to_owned(),
        wrong,
        other,
        world.new_key(account, expired).await,
        world.new_key(account, elsewhere).await,
        world.new_key(account, reader).await,
    ] {
        let call = Call::new(world.address, "POST", &format!("/api/v1/run/{IMAGE}"));
        let reply = call.key(&key).json(&json!({"prompt": "x"})).send().await;
        let body = reply.refusal(401, "unauthorized");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        messages.push(body["message"].clone());
    }
    let none = world
        .bare("POST", &format!("/api/v1/run/{IMAGE}"))
        .send()
        .await;
    messages.push(none.refusal(401, "unauthorized")["message"].clone());
    messages.dedup();
    assert_eq!(messages.len(), 1);
}

#[tokio::test]
async fn a_key_from_an_allowed_address_passes() {
    let world = World::new().await;
    let here = Grant {
        ip_whitelist: vec!["203.0.113.0/24".to_owned(), "2001:db8::1".to_owned()],
        ..Grant::account("here")
    };
    let key = world.new_key(&world.account, here).await;
    let call = Call::new(world.address, "POST", &format!("/api/v1/run/{IMAGE}"));
    call.key(&key)
        .json(&json!({"prompt": "x"}))
        .send()
        .await
        .ok();
}

#[tokio::test]
async fn models_are_unknown_foreign_or_switched_off() {
    let world = World::new().await;
    let body = json!({"prompt": "x"});
    for model in ["nothing", "image_generate.nothing", "%00", "%ff", "tasks"] {
        let reply = world.run(model, &body).send().await;
        reply.refusal(404, "not_found");
    }
    world
        .run(DISABLED, &body)
        .send()
        .await
        .refusal(505, "feature_disabled");
    let narrow = Grant {
        models: Some(vec!["image_generate.imagen_4_fast".to_owned()]),
        ..Grant::account("narrow")
    };
    let key = world.new_key(&world.account, narrow).await;
    for (model, status) in [
        (IMAGE, 404),
        ("image_generate.imagen_4_fast", 200),
        (DISABLED, 404),
    ] {
        let call = Call::new(world.address, "POST", &format!("/api/v1/run/{model}"));
        let reply = call.key(&key).json(&body).send().await;
        assert_eq!(reply.status, status, "{model}");
    }
}

#[tokio::test]
async fn bodies_that_are_no_json_objects_are_400() {
    let world = World::new().await;
    let path = format!("/api/v1/run/{IMAGE}");
    let deep = format!(
        "{{\"prompt\":\"x\",\"a\":{}1{}}}",
        "[".repeat(64),
        "]".repeat(64)
    );
    let bomb = "[".repeat(500_000);
    for body in [
        "",
        " ",
        "nonsense",
        "[]",
        "\"x\"",
        "1",
        "null",
        "{\"prompt\":\"x\"",
        "{\"prompt\":\"x\"}}",
        "{\"prompt\":\"x\"} x",
        "{\"prompt\":\"x\",}",
        "{prompt:\"x\"}",
        "{'prompt':'x'}",
        "{\"prompt\":\"x\",\"prompt\":\"y\"}",
        "{\"prompt\":\"x\",\"image_params\":{\"seed\":1,\"seed\":2}}",
        "{\"prompt\":\"\\ud800\"}",
        "{\"prompt\":\"\\udc00\\ud800\"}",
        "{\"prompt\":\"x\",\"image_params\":{\"seed\":1e400}}",
        "{\"prompt\":\"x\",\"image_params\":{\"seed\":NaN}}",
        "{\"prompt\":\"x\",\"image_params\":{\"seed\":-Infinity}}",
        "{\"prompt\":\"x\",\"image_params\":{\"seed\":01}}",
        "\u{feff}{\"prompt\":\"x\"}",
        deep.as_str(),
        bomb.as_str(),
    ] {
        let call = world.bare("POST", &path).key(&world.key);
        let reply = call.body(body.to_owned()).send().await;
        let shown: String = body.chars().take(60).collect();
        assert_eq!(reply.status, 400, "{shown}: {:?}", reply.body);
        reply.refusal(400, "bad_request");
    }
    let bytes: [&[u8]; 2] = [b"{\"prompt\":\"\xff\"}", b"{\"prompt\":\"a\nb\"}"];
    for body in bytes {
        let call = world.bare("POST", &path).key(&world.key);
        let reply = call.body(body.to_vec()).send().await;
        reply.refusal(400, "bad_request");
    }
    assert_eq!(world.balance().await.1, 0);
}

#[tokio::test]
async fn content_types_are_json_or_absent() {
    let world = World::new().await;
    for (kind, status) in [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("application/vnd.api+json", 200),
        ("text/plain", 400),
        ("application/x-www-form-urlencoded", 400),
        ("multipart/form-data; boundary=x", 400),
        ("", 400),
    ] {
        let call = world
            .bare("POST", &format!("/api/v1/run/{IMAGE}"))
            .key(&world.key);
        let call = call.header("content-type", kind);
        let reply = call.body("{\"prompt\":\"x\"}").send().await;
        assert_eq!(reply.status, status, "{kind}");
    }
}

#[tokio::test]
async fn bodies_over_a_mebibyte_are_413() {
    let world = World::new().await;
    let body = json!({"prompt": "x", "padding": "y".repeat(1 << 20)});
    let reply = world.run(IMAGE, &body).send().await;
    reply.refusal(413, "too_large");
    let chunk = "y".repeat(0x8000);
    let mut text = format!(
        "POST /api/v1/api-keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
        world.key
    );
    for _ in 0..40 {
        text.push_str(&format!("8000\r\n{chunk}\r\n"));
    }
    text.push_str("0\r\n\r\n");
    let reply = raw(world.address, text.as_bytes()).await;
    assert!(
        reply.is_empty() || reply.starts_with("HTTP/1.1 413"),
        "{reply}"
    );
    assert_eq!(world.balance().await.1, 0);
}

#[tokio::test]
async fn a_body_that_never_ends_is_no_submit() {
    let world = World::new().await;
    let text = format!(
        "POST /api/v1/run/{IMAGE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Length: 900\r\n\r\n{{\"prompt\":\"x\"}}",
        world.key
    );
    let reply = raw(world.address, text.as_bytes()).await;
    assert!(
        reply.is_empty() || reply.starts_with("HTTP/1.1 400"),
        "{reply}"
    );
    assert_eq!(world.balance().await.1, 0);
}

#[tokio::test]
async fn request_ids_are_taken_or_made() {
    let world = World::new().await;
    let path = "/api/v1/nothing";
    let reply = world
        .get(path)
        .header("x-request-id", "mine-7")
        .send()
        .await;
    assert_eq!(reply.header("x-request-id"), Some("mine-7"));
    assert_eq!(reply.refusal(404, "not_found")["request_id"], "mine-7");
    let long = "x".repeat(129);
    for odd in ["", "a b", long.as_str(), "caf\u{e9}"] {
        let reply = world.get(path).header("x-request-id", odd).send().await;
        let id = reply.header("x-request-id").unwrap();
        assert!(id.starts_with("req_"), "{id}");
    }
    let task = world.submitted().await;
    let reply = world.get(&format!("/api/v1/run/tasks/{task}")).send().await;
    assert!(reply.header("x-request-id").is_some());
}

#[tokio::test]
async fn a_panic_is_a_500_that_says_only_the_request_id() {
    let world = World::with(|api| {
        api.may_call = std::sync::Arc::new(|_| panic!("secret cause"));
    })
    .await;
    let body = json!({"prompt": "x", "callback_url": "https://example.com/"});
    let reply = world.run(IMAGE, &body).send().await;
    let refusal = reply.refusal(500, "internal");
    assert!(!refusal.to_string().contains("secret"));
}

#[tokio::test]
async fn results_stand_behind_the_same_front() {
    let world = World::new().await;
    let reply = Call::new(world.address, "GET", "/results/a/b.png")
        .send()
        .await;
    assert_eq!(reply.status, 404);
    assert_eq!(reply.json()["message"], "gone", "what is in shape is kept");
    assert!(reply.header("x-request-id").is_some());
    let reply = Call::new(world.address, "POST", "/results/a/b.png")
        .send()
        .await;
    reply.refusal(404, "not_found");
}
