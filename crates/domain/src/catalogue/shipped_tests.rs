//! Tests of the catalogue that ships with the gateway.

use std::path::Path;

use serde_json::{Value, json};

use super::{Catalogue, SourceFile};
use crate::credits::Credits;
use crate::order::{Invalid, Modality};

/// The repository's own catalogue.
pub(crate) fn shipped() -> Catalogue {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../catalogue");
    let mut files = Vec::new();
    for folder in ["models", "providers"] {
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            files.push(SourceFile {
                path: format!("{folder}/{name}"),
                text: std::fs::read_to_string(&path).unwrap(),
            });
        }
    }
    // Nothing is spoken here, so any dialect that is named will do.
    let lines = files.iter().flat_map(|file| file.text.lines());
    let named = lines.filter_map(|line| line.strip_prefix("dialect = \"")?.split('"').next());
    let dialects: Vec<&str> = named.collect();
    Catalogue::load(&files, &dialects).unwrap_or_else(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{}", lines.join("\n"))
    })
}

#[test]
fn the_documented_models_are_there() {
    let catalogue = shipped();
    for id in [
        "video_generate.kling_2_6",
        "image_generate.imagen_4",
        "image_generate.imagen_4_fast",
        "image_generate.imagen_4_ultra",
        "image_generate.seedream_v4",
        "image_generate.flux_2_pro",
        "image_generate.flux_2_flex",
        "image_generate.ideogram_character",
        "solve_problem.kie_reasoning",
    ] {
        assert!(catalogue.model(id).is_some(), "{id}");
    }
    for modality in Modality::ALL {
        let count = catalogue
            .models()
            .filter(|model| model.modality == modality)
            .count();
        assert!(count >= 4, "{modality}");
    }
}

#[test]
fn the_documented_tables_are_kept() {
    let catalogue = shipped();
    let takes = |id: &str, name: &str| catalogue.model(id).unwrap().parameter(name).is_some();
    let allowed = |id: &str, name: &str| {
        let model = catalogue.model(id).unwrap();
        model.parameter(name).unwrap().kind.allowed().unwrap()
    };
    for variant in [
        "imagen_4",
        "imagen_4_ultra",
        "imagen_4_fast",
        "seedream_v4",
        "ideogram_character",
    ] {
        let id = format!("image_generate.{variant}");
        assert_eq!(
            allowed(&id, "aspect_ratio"),
            json!(["1:1", "16:9", "9:16", "4:3", "3:4"])
        );
        assert_eq!(takes(&id, "negative_prompt"), variant != "imagen_4_fast");
        assert!(takes(&id, "seed"));
        assert!(!takes(&id, "steps"));
    }
    for id in ["image_generate.flux_2_pro", "image_generate.flux_2_flex"] {
        assert_eq!(allowed(id, "aspect_ratio"), json!(["1:1", "16:9", "9:16"]));
        assert_eq!(allowed(id, "guidance_scale"), json!({"min": 1, "max": 20}));
        for name in ["width", "height", "steps", "seed"] {
            assert!(takes(id, name), "{name}");
        }
    }
    let kling = "video_generate.kling_2_6";
    assert_eq!(allowed(kling, "duration"), json!([5, 10]));
    assert_eq!(allowed(kling, "resolution"), json!(["720p", "1080p"]));
    let reasoning = catalogue.model("solve_problem.kie_reasoning").unwrap();
    for name in ["temperature", "max_tokens", "top_p"] {
        assert!(reasoning.parameter(name).is_some(), "{name}");
    }
}

#[test]
fn a_bare_prompt_is_enough_for_every_model() {
    for model in shipped().models() {
        let submission = model.submission(&json!({"prompt": "a fox"}), None).unwrap();
        let hold = model.price.hold(&submission.order);
        assert!(
            hold > Credits::ZERO && hold < Credits(2_000_000),
            "{}: {hold}",
            model.id
        );
        assert_eq!(submission.order.params, model.defaults, "{}", model.id);
        assert!(submission.ignored.is_empty());
        assert!(model.price_source.is_some() && model.price_date.is_some());
    }
}

#[test]
fn the_fast_model_is_cheaper() {
    let catalogue = shipped();
    let hold = |id: &str| {
        let model = catalogue.model(id).unwrap();
        let submission = model.submission(&json!({"prompt": "a fox"}), None).unwrap();
        model.price.hold(&submission.order)
    };
    assert!(hold("image_generate.imagen_4_fast") < hold("image_generate.imagen_4"));
}

#[test]
fn retired_models_say_so() {
    let catalogue = shipped();
    for variant in ["imagen_4", "imagen_4_fast", "imagen_4_ultra"] {
        let model = catalogue
            .model(&format!("image_generate.{variant}"))
            .unwrap();
        assert!(model.notice.is_some(), "{variant}");
    }
}

/// What is asked for in several shots runs where it can be had, and nowhere else.
#[test]
fn several_shots_take_the_routes_that_can_make_them() {
    let catalogue = shipped();
    let model = catalogue.model("video_generate.kling_3_0").unwrap();
    let shots = json!([{"prompt": "a fox", "duration": 2}, {"prompt": "snow", "duration": 3}]);
    let pictures = |count: usize| json!(vec!["https://a.test/1.png"; count]);
    let routes = |params: Value, usable: &str| {
        let body = json!({"prompt": "a fox", "video_params": params});
        let order = model.submission(&body, None).unwrap().order;
        let routes = catalogue.routes(model, &order, |one| usable.contains(&one.id))?;
        let honour = |route: &&super::Route| catalogue.honours(route, &order).cover(order.asked());
        let names = routes.iter().filter(honour).map(|one| one.model.clone());
        Ok::<Vec<String>, Invalid>(names.collect())
    };
    let planned = |count| json!({"multi_shots": true, "image_urls": pictures(count)});
    let listed =
        |count| json!({"multi_shots": true, "multi_prompt": shots, "image_urls": pictures(count)});
    let (text, picture) = ("videos/text2video/kling-v3", "videos/image2video/kling-v3");
    let there = "kling-3.0/video";
    for (params, expected) in [
        (planned(0), vec![text]),
        (planned(1), vec![picture]),
        (planned(2), vec![]),
        (listed(0), vec![there, text]),
        (listed(1), vec![there, picture]),
    ] {
        assert_eq!(
            routes(params.clone(), "kie kling").unwrap(),
            expected,
            "{params}"
        );
    }
    let refused = |params: Value, usable| routes(params, usable).unwrap_err().param;
    assert_eq!(refused(listed(2), "kie kling"), "video_params.multi_prompt");
    assert!(routes(planned(0), "kie").unwrap().is_empty());

    // With shots it has sound, and is priced so.
    let body = json!({"prompt": "a fox", "video_params": listed(0)});
    let order = model.submission(&body, None).unwrap().order;
    let found = catalogue
        .routes(model, &order, |one| one.id == "kie")
        .unwrap();
    let (price, _) = catalogue.priced(model, &order, found);
    assert_eq!(price.hold(&order), Credits(500_000));
}

#[test]
fn the_schema_says_what_is_accepted() {
    let catalogue = shipped();
    let schema = catalogue
        .model("video_generate.kling_2_6")
        .unwrap()
        .schema();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    assert_eq!(schema["required"], json!(["prompt"]));
    let video = &schema["properties"]["video_params"]["properties"];
    assert_eq!(video["duration"]["enum"], json!([5, 10]));
    assert_eq!(video["duration"]["default"], 5);
    assert_eq!(video["watermark"]["type"], "string");
    assert_eq!(schema["properties"]["image_params"], Value::Null);

    let shots = catalogue
        .model("video_generate.kling_3_0")
        .unwrap()
        .schema();
    let video = &shots["properties"]["video_params"];
    let list = &video["properties"]["multi_prompt"];
    assert_eq!(list["maxItems"], 5);
    assert_eq!(list["items"]["properties"]["prompt"]["maxLength"], 500);
    assert_eq!(list["items"]["properties"]["duration"]["maximum"], 12);
    assert_eq!(video["if"]["required"], json!(["multi_prompt"]));
    assert_eq!(video["then"]["required"], json!(["multi_shots"]));

    let chat = catalogue
        .model("solve_problem.kie_reasoning")
        .unwrap()
        .schema();
    assert_eq!(chat["oneOf"][1]["required"], json!(["messages"]));
    let flux = catalogue
        .model("image_generate.flux_2_pro")
        .unwrap()
        .schema();
    let sides = &flux["properties"]["image_params"]["dependentRequired"];
    assert_eq!(sides["width"], json!(["height"]));
}
