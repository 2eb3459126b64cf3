use serde_json::{Value, json};

use super::{Encoder, Field, Mapping, Part};

fn said(encoder: &Encoder, params: Value) -> Option<Value> {
    encoder.value(params.as_object().unwrap())
}

fn name(name: &str) -> String {
    name.to_owned()
}

#[test]
fn a_parameter_that_is_not_there_leaves_its_field_out() {
    let of = || name("x");
    let table = [(name("5"), json!("five"))].into_iter().collect();
    let encoders = [
        Encoder::Same(of()),
        Encoder::Text(of()),
        Encoder::Seconds(of()),
        Encoder::Item { of: of(), at: 0 },
        Encoder::Rest { of: of(), from: 0 },
        Encoder::Base64 { of: of(), at: 0 },
        Encoder::Base64List(of()),
        Encoder::Word {
            of: vec![of()],
            table,
            otherwise: None,
        },
        Encoder::Ratio {
            among: vec![(name("1:1"), json!("square"))],
        },
    ];
    for encoder in &encoders {
        assert_eq!(said(encoder, json!({})), None, "{encoder:?}");
        assert_eq!(said(encoder, json!({ "x": null })), None, "{encoder:?}");
    }
}

#[test]
fn numbers_are_said_in_their_shortest_form() {
    let text = Encoder::Text(name("duration"));
    assert_eq!(said(&text, json!({ "duration": 5 })), Some(json!("5")));
    assert_eq!(said(&text, json!({ "duration": 5.0 })), Some(json!("5")));
    assert_eq!(said(&text, json!({ "duration": 2.5 })), Some(json!("2.5")));
    let seconds = Encoder::Seconds(name("duration"));
    assert_eq!(said(&seconds, json!({ "duration": 8 })), Some(json!("8s")));
}

#[test]
fn a_table_reads_one_or_more_parameters() {
    let table = [
        (name("720p 16:9"), json!("1280:720")),
        (name("720p 9:16"), json!("720:1280")),
    ];
    let pair = Encoder::Word {
        of: vec![name("resolution"), name("aspect_ratio")],
        table: table.into_iter().collect(),
        otherwise: Some(json!("auto")),
    };
    let params = json!({ "resolution": "720p", "aspect_ratio": "9:16" });
    assert_eq!(said(&pair, params), Some(json!("720:1280")));
    assert_eq!(
        said(&pair, json!({ "resolution": "720p" })),
        Some(json!("auto"))
    );
}

#[test]
fn files_are_sent_one_by_one_all_together_or_as_bytes() {
    let params = json!({ "image_urls": ["https://a/1.png", "data:image/png;base64,QUJD"] });
    let of = || name("image_urls");
    assert_eq!(
        said(&Encoder::Item { of: of(), at: 1 }, params.clone()),
        Some(json!("data:image/png;base64,QUJD"))
    );
    assert_eq!(
        said(&Encoder::Rest { of: of(), from: 1 }, params.clone()),
        Some(json!(["data:image/png;base64,QUJD"]))
    );
    assert_eq!(
        said(&Encoder::Rest { of: of(), from: 2 }, params.clone()),
        None
    );
    assert_eq!(
        said(&Encoder::Base64 { of: of(), at: 1 }, params),
        Some(json!("QUJD"))
    );
}

#[test]
fn a_size_in_pixels_becomes_the_nearest_ratio_and_tier() {
    let among = ["1:1", "16:9", "9:16"].map(|word| (name(word), json!(word)));
    let ratio = Encoder::Ratio {
        among: among.to_vec(),
    };
    let sized = |width: i64, height: i64| json!({ "aspect_ratio": "1:1", "width": width, "height": height });
    assert_eq!(said(&ratio, sized(1920, 1100)), Some(json!("16:9")));
    assert_eq!(said(&ratio, sized(500, 1000)), Some(json!("9:16")));
    assert_eq!(
        said(&ratio, json!({ "aspect_ratio": "9:16" })),
        Some(json!("9:16"))
    );
    let tier = Encoder::Tier(vec![(name("1K"), 1280), (name("2K"), 2560)]);
    assert_eq!(said(&tier, json!({})), Some(json!("1K")));
    assert_eq!(said(&tier, sized(1024, 2000)), Some(json!("2K")));
    assert_eq!(said(&tier, sized(9_000, 2_000)), Some(json!("2K")));
}

#[test]
fn a_ratio_becomes_pixels_of_one_area() {
    let size = |part| Encoder::Size {
        part,
        side: 1024,
        step: 16,
    };
    let wide = json!({ "aspect_ratio": "16:9" });
    assert_eq!(said(&size(Part::Width), wide.clone()), Some(json!(1360)));
    assert_eq!(said(&size(Part::Height), wide.clone()), Some(json!(768)));
    assert_eq!(said(&size(Part::Both('*')), wide), Some(json!("1360*768")));
    let given = json!({ "aspect_ratio": "16:9", "width": 640, "height": 480 });
    assert_eq!(said(&size(Part::Both('x')), given), Some(json!("640x480")));
}

#[test]
fn dots_in_a_path_make_objects_and_later_fields_take_the_place_of_earlier_ones() {
    let field = |path: &str, value: Value| Field {
        path: path.to_owned(),
        encoder: Encoder::Constant(value),
    };
    let shared = Mapping(vec![
        field("video.duration", json!("5s")),
        field("audio", json!(true)),
    ]);
    let own = Mapping(vec![
        field("audio", json!(false)),
        field("video.loop", json!(false)),
    ]);
    let fields = shared.overlaid(&own).fields(&serde_json::Map::new());
    assert_eq!(
        Value::Object(fields),
        json!({ "video": { "duration": "5s", "loop": false }, "audio": false })
    );
}
