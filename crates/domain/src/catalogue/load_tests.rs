//! Tests of loading: what is read, and that everything wrong is named with its line.

use proptest::prelude::*;
use serde_json::json;

use super::{Catalogue, Delivery, OnLostReply, Problem, Recovery, SANDBOX, SourceFile};
use crate::credits::Credits;
use crate::parameter::{Kind, ShotsRule};
use crate::price::{Form, Rate};

pub(super) const MODEL: &str = r#"id = "video_generate.test_1"
name = "Test 1"
vendor = "Test"
modality = "video"
description = "For a test."
prompt = { chars_max = 100 }

[parameters]
resolution = { words = ["720p", "1080p"], default = "720p" }
duration = { integer = [4, 15], default = 5.0 }
[price]
per_second = { 720p = 0.1, 1080p = 0.2 }
margin = 1.25
source = "a test"
date = "2026-11-24"

[[routes]]
provider = "two"
model = "b"
rank = 1

[[routes]]
provider = "two"
model = "a"
weight = 3
rank = 0
"#;

pub(super) const PROVIDER: &str = r#"id = "two"
name = "Two"
dialect = "spoken"
base_url = "https://api.two.test"
secret = "TWO_API_KEY"
origins = ["https://eu.two.test"]
files = "data"
recovery = "lookup"
on_lost_reply = "resubmit"
resubmit_below = 0.25
call_timeout_ms = 30_000

[send.video]
resolution = "resolution"
seconds = { text = "duration" }
audio = { constant = false }
"#;

pub(super) fn file(path: &str, text: &str) -> SourceFile {
    SourceFile {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

pub(super) fn load(model: &str, provider: &str) -> Result<Catalogue, Vec<Problem>> {
    let files = [
        file("models/video_generate.test_1.toml", model),
        file("providers/two.toml", provider),
    ];
    Catalogue::load(&files, &["spoken", SANDBOX])
}

/// The lines and messages of the problems of a model file with one piece replaced.
fn complaints(line: &str, instead: &str) -> Vec<(usize, String)> {
    let text = MODEL.replacen(line, instead, 1);
    assert_ne!(text, MODEL, "{line} is not in the file");
    let problems = load(&text, PROVIDER).err().unwrap_or_default();
    let place = |problem: Problem| (problem.line, problem.message);
    problems.into_iter().map(place).collect()
}

/// Expects so many problems of a model file with one piece replaced, each with its line and a part of
/// its message.
pub(super) fn check(line: &str, instead: &str, expected: &[(usize, &str)]) {
    let found = complaints(line, instead);
    assert_eq!(found.len(), expected.len(), "{instead}: {found:#?}");
    for ((line, message), (expected_line, part)) in found.iter().zip(expected) {
        assert_eq!(line, expected_line, "{instead}: {message}");
        assert!(message.contains(part), "{instead}: {message}");
    }
}

#[test]
fn files_become_a_catalogue() {
    let catalogue = load(MODEL, PROVIDER).unwrap();
    let model = catalogue.model("video_generate.test_1").unwrap();
    let names = model.parameters.iter().map(|known| known.name.as_str());
    let expected = [
        "resolution",
        "duration",
        "enable_translation",
        "watermark",
        "multi_shots",
    ];
    assert_eq!(names.collect::<Vec<_>>(), expected);
    assert_eq!(
        json!(model.defaults),
        json!({
            "resolution": "720p", "duration": 5,
            "enable_translation": false, "multi_shots": false,
        })
    );
    assert_eq!(model.price.margin_bp, 12_500);
    let Form::PerSecond {
        rate: Rate::BySize(sizes),
        seconds_max: 15,
    } = &model.price.form
    else {
        panic!("{:?}", model.price.form);
    };
    assert_eq!(sizes["1080p"], Credits(200_000));
    assert_eq!(model.price_date.as_deref(), Some("2026-11-24"));
    let routes = model.listings.iter().map(|listing| &listing.route);
    let names = routes.clone().map(|route| route.model.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(routes.map(|route| route.weight).max(), Some(3));
    assert!(
        model
            .listings
            .iter()
            .all(|listing| listing.route.dialect == "spoken")
    );
    assert_eq!(
        json!(model.listings[0].send.fields(&model.defaults)),
        json!({ "resolution": "720p", "seconds": "5", "audio": false })
    );
    assert!(model.prompt.is_required);
    assert_eq!(model.prompt.chars_max, 100);

    let provider = catalogue.provider("two").unwrap();
    assert_eq!(provider.recovery, Recovery::Lookup);
    assert_eq!(provider.on_lost_reply, OnLostReply::Resubmit);
    assert_eq!(provider.resubmit_below, Credits(250_000));
    assert_eq!(provider.origins, ["https://eu.two.test"]);
    assert_eq!(provider.delivery, Delivery::Data);
    assert_eq!(provider.call_timeout_ms, 30_000);
    assert_eq!(provider.secret_env.as_deref(), Some("TWO_API_KEY"));
    assert!(!provider.is_local && provider.wants_secret());
    let own = PROVIDER.replace("secret =", "local = true\nsecret =");
    let catalogue = load(MODEL, &own).unwrap();
    let provider = catalogue.provider("two").unwrap();
    assert!(provider.is_local && !provider.wants_secret());
}

#[test]
fn the_sandbox_is_always_there() {
    let catalogue = Catalogue::load(&[], &[]).unwrap();
    let sandbox = catalogue.provider(SANDBOX).unwrap();
    assert_eq!(sandbox.base_url, "http://sandbox.internal");
}

#[test]
fn every_kind_is_read() {
    let lines = "duration = { numbers = [2.5, 10.0], default = 10.0 }\n\
        a = { words = [\"x\"], description = \"A.\" }\n\
        b = { number = [-1, 1.5], description = \"B.\" }\n\
        c = { integer = [1, 9], description = \"C.\" }\n\
        d = { flag = true, description = \"D.\" }\n\
        e = { text = 10, description = \"E.\" }\n\
        f = { urls = 3, description = \"F.\" }\n\
        g = { shots = { items_max = 5, chars_max = 9, seconds_max = 3 }, description = \"G.\" }";
    let text = MODEL.replace("duration = { integer = [4, 15], default = 5.0 }", lines);
    let (text, _) = text.split_once("[[routes]]").unwrap();
    let text = text.to_owned();
    let catalogue = load(&text, PROVIDER).unwrap();
    let model = catalogue.model("video_generate.test_1").unwrap();
    let kind = |name| model.parameter(name).unwrap().kind.clone();
    assert_eq!(kind("a"), Kind::Words(vec!["x".to_owned()]));
    let (min, max) = (-1.0, 1.5);
    assert_eq!(kind("b"), Kind::Number { min, max });
    assert_eq!(kind("c"), Kind::Integer { min: 1, max: 9 });
    assert_eq!(kind("d"), Kind::Flag);
    assert_eq!(kind("e"), Kind::Text { chars_max: 10 });
    assert_eq!(kind("f"), Kind::Urls { items_max: 3 });
    let (items_max, chars_max, seconds_max) = (5, 9, 3);
    let rule = ShotsRule {
        items_max,
        chars_max,
        seconds_max,
    };
    assert_eq!(kind("g"), Kind::Shots(rule));
    let numbers = vec![json!(2.5), json!(10)];
    assert_eq!(json!(kind("duration").allowed()), json!(numbers));
    assert_eq!(model.defaults["duration"], json!(10));
    assert!(matches!(
        model.price.form,
        Form::PerSecond {
            seconds_max: 10,
            ..
        }
    ));
}

#[test]
fn every_problem_is_named_at_once() {
    let files = [
        file("models/a.b.toml", "id = \"a.b\"\nname = 5\nspeed = 1\n"),
        file("models/c.d.toml", "id = \nname = \"x\n"),
        file("providers/sandbox.toml", "id = \"sandbox\""),
        file("readme.md", ""),
    ];
    let problems = Catalogue::load(&files, &[]).unwrap_err();
    let of = |path: &str| problems.iter().filter(|p| p.path == path).count();
    assert_eq!(of("models/a.b.toml"), 6, "{problems:#?}");
    assert_eq!(of("models/c.d.toml"), 2, "{problems:#?}");
    assert_eq!(of("providers/sandbox.toml"), 1, "{problems:#?}");
    assert_eq!(of("readme.md"), 1, "{problems:#?}");
    assert!(problems.is_sorted());
}

#[test]
fn wrong_lines_of_a_model_are_named() {
    check(
        "id = \"video",
        "id = \"image",
        &[(1, "must be the file's name")],
    );
    check(
        "vendor",
        "maker",
        &[(1, "`vendor` is missing"), (3, "unknown key `maker`")],
    );
    check(
        "\"video\"",
        "\"film\"",
        &[(4, "must be one of video, image, chat")],
    );
    check("\"For a test.\"", "7", &[(5, "must be a text")]);
    check("chars_max = 100", "chars_max = 0", &[(6, "between 1 and")]);
    check(
        "chars_max = 100",
        "length = 1",
        &[(6, "unknown key `length`")],
    );
}

#[test]
fn wrong_lines_of_the_tables_are_named() {
    check(
        "default = \"720p\"",
        "default = \"4k\"",
        &[(9, "must be one of 720p, 1080p")],
    );
    check("default = 5.0", "default = 16", &[(10, "between 4 and 15")]);
    check(
        "integer = [4, 15]",
        "integer = [15, 4]",
        &[(10, "least first"), (12, "`duration` above 0")],
    );
    check(
        "integer = [4, 15]",
        "flag = true",
        &[(10, "public contract"), (12, "`duration`")],
    );
    check(
        "integer = [4, 15]",
        "integer = [4, 15], text = 1",
        &[(10, "exactly one of"), (12, "`duration`")],
    );
    check("duration =", "resolution =", &[(10, "duplicate key")]);
    check(
        "duration =",
        "Length =",
        &[(10, "lower-case"), (10, "description"), (12, "`duration`")],
    );
    check(
        "[price]",
        "pace = { integer = [1, 2] }\n[price]",
        &[(11, "description")],
    );
    check(
        "[price]",
        "watermark = { text = 9, default = \"x\" }\n[price]",
        &[(11, "can only be false")],
    );
    check(
        "date = \"2026-11-24\"",
        "date = \"2026-13-24\"",
        &[(11, "must be a date")],
    );
    check(
        "margin = 1.25",
        "margin = 1.00001",
        &[(13, "must be a factor")],
    );
    check(
        "provider = \"two\"",
        "provider = \"three\"",
        &[(18, "not in the catalogue")],
    );
    check("weight = 3", "weight = 0", &[(25, "between 1 and")]);
    check("weight = 3", "map = 0", &[(25, "unknown key `map`")]);
    check("[[routes]]", "[routes]", &[(22, "")]);
}

#[test]
fn wrong_lines_of_a_provider_are_named() {
    for (line, instead, expected, part) in [
        ("\"two\"", "\"three\"", 1, "must be the file's name"),
        (
            "\"spoken\"",
            "\"sung\"",
            3,
            "unknown dialect sung; known are spoken",
        ),
        ("two.test\"", "two.test/\"", 4, "without a slash at the end"),
        ("https://", "https://me@", 4, "must be an http or https URL"),
        ("TWO_API_KEY", "two-api-key", 5, "environment variable"),
        ("\"data\"", "\"mail\"", 7, "must be one of link"),
        ("\"lookup\"", "\"hope\"", 8, "must be one of idempotent"),
        ("0.25", "-1", 10, "must not be negative"),
        ("30_000", "0", 11, "between 1 and"),
        ("30_000", "\"30s\"", 11, "must be an integer"),
        ("call_timeout_ms", "timeout", 11, "unknown key `timeout`"),
        ("send.video", "send.film", 13, "unknown key `film`"),
        (
            "text = \"duration\"",
            "text = 7",
            15,
            "`text` must be a text",
        ),
    ] {
        let mut problems = load(MODEL, &PROVIDER.replacen(line, instead, 1)).unwrap_err();
        problems.retain(|problem| problem.path.starts_with("providers/"));
        assert_eq!(problems.len(), 1, "{instead}: {problems:#?}");
        assert_eq!(problems[0].line, expected, "{problems:#?}");
        assert!(problems[0].message.contains(part), "{problems:#?}");
    }
}

#[test]
fn ids_have_one_form() {
    for id in ["x", "a.b.c", "A.b", ".b", "a.", "a-b.c", "ä.b"] {
        let text = format!("id = \"{id}\"");
        let problems = Catalogue::load(&[file(&format!("models/{id}.toml"), &text)], &[]);
        let problems = problems.unwrap_err();
        let is_named = |p: &Problem| p.message.contains("<function>.<variant>");
        assert!(problems.iter().any(is_named), "{id}: {problems:#?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in ".*") {
        let _ = load(&text, &text);
    }

    #[test]
    fn damaged_files_never_panic(at in 0..MODEL.len(), length in 0_usize..40, instead in "[\\[\\]{}=\",.0-9a-z\n -]{0,6}") {
        let end = (at + length).min(MODEL.len());
        let text = format!("{}{instead}{}", &MODEL[..at], &MODEL[end..]);
        let _ = load(&text, PROVIDER);
    }
}
