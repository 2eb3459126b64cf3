//! Tests of prices: what bounds every order loads, what does not is named.

use super::Catalogue;
use super::load_tests::{check, file};

/// The price of the model file.
const RATE: &str = "per_second = { 720p = 0.1, 1080p = 0.2 }";

#[test]
fn a_price_bounds_every_order_or_does_not_load() {
    check(RATE, "", &[(11, "exactly one of")]);
    check(RATE, "per_run = -1", &[(12, "must not be negative")]);
    check(
        RATE,
        "per_run = 0.0000001",
        &[(12, "at most 6 decimal places")],
    );
    check(RATE, "per_run = nan", &[(12, "is no price")]);
    check(
        RATE,
        "per_run = \"1\"",
        &[(12, "decimal number of credits")],
    );
    check(
        RATE,
        "per_second = { 720p = 0.1 }",
        &[(12, "no price for the size 1080p")],
    );
    check(
        RATE,
        "per_second = { 720p = 0.1, 1080p = 0.2, 4k = 1 }",
        &[(12, "price for 4k, which no order can have")],
    );
    check(RATE, "per_second = {}", &[(12, "must not be empty")]);
    check(
        "duration = { integer = [4, 15], default = 5.0 }",
        "",
        &[(12, "`duration` above 0")],
    );
    check(
        "integer = [4, 15]",
        "integer = [0, 15]",
        &[(12, "`duration` above 0")],
    );
    check(
        "words = [\"720p\", \"1080p\"], default = \"720p\"",
        "words = [\"720p\", \"1080p\"]",
        &[(12, "needs a default")],
    );
    check(
        RATE,
        "per_million_tokens = { input = 1, output = 1 }",
        &[(12, "needs a parameter `max_tokens`")],
    );
    check(
        RATE,
        "per_image = { 720p = 1 }",
        &[(12, "no price for the size 1080p")],
    );
}

#[test]
fn a_price_table_has_one_row_for_every_combination() {
    let table = |by, rows| format!("table = {{ by = {by}, rows = {rows} }}");
    let resolution = "[\"resolution\"]";
    for (by, rows, part) in [
        ("[\"speed\"]", "[]", "unknown parameter speed"),
        ("[]", "[]", "at least one parameter"),
        ("[\"watermark\"]", "[]", "cannot be listed"),
        (resolution, "[[\"720p\", 1]]", "no row for \"1080p\""),
        (
            resolution,
            "[[\"720p\", 1], [\"1080p\", 1], [\"4k\", 1]]",
            "does not allow",
        ),
        (
            resolution,
            "[[\"720p\", 1], [\"1080p\", 1], [\"720p\", 2]]",
            "two rows for",
        ),
        (
            resolution,
            "[[\"720p\", 1, 1], [\"1080p\", 1]]",
            "rows of 1 values and a price",
        ),
        (
            resolution,
            "[[\"720p\", -1], [\"1080p\", 1]]",
            "must not be negative",
        ),
    ] {
        check(RATE, &table(by, rows), &[(12, part)]);
    }
    let whole = table(resolution, "[[\"720p\", 1], [\"1080p\", 1.5]]");
    check(RATE, &whole, &[]);
    check(
        RATE,
        &table("[\"duration\", \"multi_shots\"]", "[]"),
        &[(12, "no row for"); 24],
    );
}

#[test]
fn picture_prices_follow_the_sides() {
    let check = |parameters: &str, price: &str, expected: Option<&str>| {
        let text = format!(
            "id = \"image_generate.x\"\nname = \"X\"\nvendor = \"X\"\nmodality = \"image\"\n\
             description = \"X.\"\n[parameters]\n{parameters}\n[price]\nper_image = {price}\n"
        );
        let loaded = Catalogue::load(&[file("models/image_generate.x.toml", &text)], &[]);
        match (loaded, expected) {
            (Ok(_), None) => {}
            (Err(problems), Some(part)) => {
                let has_part = problems
                    .iter()
                    .any(|problem| problem.message.contains(part));
                assert!(has_part, "{part}: {problems:#?}");
            }
            (loaded, expected) => panic!("{parameters}: {loaded:?} {expected:?}"),
        }
    };
    let sides = "width = { integer = [64, 2048] }\nheight = { integer = [64, 2048] }";
    check(sides, "{ 1K = 1, 2K = 2 }", None);
    check(sides, "{ 1K = 1 }", Some("no price for the size 2K"));
    check("", "{ 1K = 1 }", None);
    check("", "{ 1K = 1, 2K = 1 }", Some("no order can have"));
    check("width = { integer = [64, 2048] }", "1", Some("or neither"));
    check(
        "width = { integer = [1, 9], default = 5 }\nheight = { integer = [1, 9] }",
        "1",
        Some("a default"),
    );
    check(
        "width = { number = [1, 9] }\nheight = { number = [1, 9] }",
        "{ 1K = 1 }",
        Some("to be an integer"),
    );
    let n = |kind| format!("n = {{ {kind}, description = \"How many.\" }}");
    check(&n("integer = [1, 4]"), "1", None);
    check(&n("integer = [0, 4]"), "1", Some("integers above 0"));
    check(&n("number = [1, 4]"), "1", Some("integers above 0"));
}
