//! The catalogue, readable without a key.

use serde_json::{Value, json};

use crate::world::{CHAT, IMAGE, NARROW, PICKY, VIDEO, World};

async fn ids(world: &World, query: &str) -> Vec<String> {
    let id = |model: &Value| model["id"].as_str().unwrap().to_owned();
    let mut ids: Vec<String> = Vec::new();
    for page in 1.. {
        let path = format!("/api/v1/models?per_page=100&page={page}&{query}");
        let list = world.bare("GET", &path).send().await.ok();
        let models = list["data"].as_array().unwrap();
        ids.extend(models.iter().map(id));
        if models.is_empty() {
            assert_eq!(list["total"], ids.len());
            break;
        }
    }
    ids
}

#[tokio::test]
async fn models_are_filtered() {
    let world = World::new().await;
    let all = ids(&world, "").await;
    for documented in [
        VIDEO,
        IMAGE,
        "image_generate.imagen_4_fast",
        "image_generate.imagen_4_ultra",
        "image_generate.seedream_v4",
        "image_generate.flux_2_pro",
        "image_generate.flux_2_flex",
        "image_generate.ideogram_character",
        CHAT,
    ] {
        assert!(all.iter().any(|id| id == documented), "{documented}");
    }
    let videos = ids(&world, "modality=video").await;
    assert!(videos.iter().all(|id| id.starts_with("video_generate.")));
    assert_eq!(ids(&world, "provider=weak").await, [NARROW, PICKY]);
    assert_eq!(ids(&world, "provider=NOBODY&modality=video").await, [PICKY]);
    let found = ids(&world, "search=KLING").await;
    assert!(found.iter().any(|id| id == VIDEO) && found.len() < videos.len());
    assert!(ids(&world, "search=nothing-like-it").await.is_empty());
}

#[tokio::test]
async fn models_come_in_pages() {
    let world = World::new().await;
    let all = ids(&world, "").await;
    let page = world
        .bare("GET", "/api/v1/models?page=2&per_page=5")
        .send()
        .await
        .ok();
    assert_eq!((&page["page"], &page["per_page"]), (&json!(2), &json!(5)));
    assert_eq!(page["data"][0]["id"], all[5]);
    let beyond = world
        .bare("GET", "/api/v1/models?page=1000000")
        .send()
        .await
        .ok();
    assert_eq!(beyond["data"], json!([]));
    for (query, param) in [
        ("page=0", "page"),
        ("page=x", "page"),
        ("per_page=0", "per_page"),
        ("per_page=101", "per_page"),
        ("modality=audio", "modality"),
    ] {
        let reply = world
            .bare("GET", &format!("/api/v1/models?{query}"))
            .send()
            .await;
        assert_eq!(reply.invalid(), param);
    }
}

#[tokio::test]
async fn a_model_shows_its_parameters_and_price() {
    let world = World::new().await;
    let model = world
        .bare("GET", &format!("/api/v1/models/{VIDEO}"))
        .send()
        .await
        .ok();
    assert_eq!(model["availability"], "sandbox");
    assert_eq!(model["parameter_group"], "video_params");
    assert_eq!(
        model["price"],
        json!({"type": "per_second", "credits": 0.055, "max_seconds": 10})
    );
    assert_eq!(
        model["prompt"],
        json!({"required": true, "max_length": 1000})
    );
    let parameters = model["parameters"].as_array().unwrap();
    let duration = parameters
        .iter()
        .find(|parameter| parameter["name"] == "duration")
        .unwrap();
    assert_eq!(duration["allowed"], json!([5, 10]));
    assert_eq!(duration["default"], 5);
    let picky = world
        .bare("GET", &format!("/api/v1/models/{PICKY}"))
        .send()
        .await
        .ok();
    assert_eq!(picky["availability"], "available");
    let off = world
        .bare("GET", "/api/v1/models/image_generate.switched_off")
        .send()
        .await;
    assert_eq!(off.ok()["availability"], "disabled");
    for id in ["nothing", "%00"] {
        let reply = world
            .bare("GET", &format!("/api/v1/models/{id}"))
            .send()
            .await;
        reply.refusal(404, "not_found");
    }
}

#[tokio::test]
async fn a_schema_has_a_tag() {
    let world = World::new().await;
    let path = format!("/api/v1/models/{VIDEO}/schema");
    let first = world.bare("GET", &path).send().await;
    let schema = first.ok();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert_eq!(schema["required"], json!(["prompt"]));
    let tag = first.header("etag").unwrap();
    let again = world
        .bare("GET", &path)
        .header("if-none-match", tag)
        .send()
        .await;
    assert_eq!(again.status, 304);
    let other = world.bare("GET", &format!("/api/v1/models/{IMAGE}/schema"));
    assert_eq!(other.header("if-none-match", tag).send().await.status, 200);
}

#[tokio::test]
async fn prices_are_listed() {
    let world = World::new().await;
    let list = world.bare("GET", "/api/v1/pricing").send().await.ok();
    assert_eq!(list["currency"], "USD");
    let prices = list["data"].as_array().unwrap();
    let of = |id: &str| prices.iter().find(|price| price["model_id"] == id);
    let tokens = json!({"type": "per_million_tokens", "input": 0.5, "output": 3.5});
    assert_eq!(of(CHAT).unwrap()["price"], tokens);
    assert!(of("image_generate.switched_off").is_none());
}
