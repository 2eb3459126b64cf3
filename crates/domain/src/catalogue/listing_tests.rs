//! Tests of routes: what they must say, and which orders they take.

use serde_json::json;

use super::load_tests::{MODEL, PROVIDER, check, load};
use super::{Abilities, Catalogue, Problem, SourceFile};
use crate::credits::Credits;

/// A model file whose first route has some lines more.
fn routed(lines: &str) -> Result<Catalogue, Vec<Problem>> {
    let text = MODEL.replace("rank = 1\n", &format!("rank = 1\n{lines}\n"));
    load(
        &text,
        &PROVIDER.replace("seconds = { text = \"duration\" }\n", ""),
    )
}

#[test]
fn a_route_leaves_nothing_unsaid() {
    let complaint = |lines: &str| {
        let problems = routed(lines).unwrap_err();
        problems
            .into_iter()
            .map(|problem| problem.message)
            .collect::<Vec<_>>()
    };
    for (lines, part) in [
        ("", "neither sends nor ignores the parameter duration"),
        (
            "ignores = [\"watermark\"]",
            "honoured or refused, never ignored",
        ),
        ("ignores = [\"length\"]", "is no parameter of this model"),
        (
            "only = { resolution = [\"4k\"] }",
            "which the model does not allow",
        ),
        ("only = { length = [1] }", "`length` is no parameter"),
        ("inputs = { length = [1, 2] }", "is no list of links"),
        (
            "send = { a = { word = \"resolution\", table = { 720p = 1 } } }",
            "no word for the resolution 1080p",
        ),
        (
            "send = { a = \"length\", b = \"duration\" }",
            "sends length, which is no parameter",
        ),
        ("send = { a = { ratio = [\"wide\"] } }", "must name ratios"),
        (
            "send = { a = { size = \"both\" } }",
            "must be width, height",
        ),
        ("dialect = \"sung\"", "unknown dialect sung"),
    ] {
        let complaints = complaint(lines);
        assert!(
            complaints.iter().any(|one| one.contains(part)),
            "{lines}: {complaints:#?}"
        );
    }
}

#[test]
fn shots_are_those_of_a_film_and_bounded() {
    let with = |shots: &str| {
        format!("s = {{ shots = {{ {shots} }}, description = \"S.\" }}\nresolution = {{ words")
    };
    let bounds = "items_max = 5, chars_max = 9, seconds_max = 3";
    let line = "resolution = { words";
    let text = MODEL.replacen(line, &with(bounds), 1);
    let named = |text: &str| load(text, PROVIDER).unwrap_err();
    assert!(load(&text, PROVIDER).is_ok());
    // A route that does not send them takes none.
    let taken = text.replace("rank = 1", "rank = 1\ninputs = { s = [1, 2] }");
    assert!(named(&taken)[0].message.contains("does not send"));
    let sent = taken.replace("[1, 2] }", "[1, 2] }\nsend = { s = \"s\" }");
    assert!(load(&sent, PROVIDER).is_ok());
    check(
        line,
        &with("items_max = 5"),
        &[(9, "`chars_max` is missing")],
    );
    check(
        line,
        &with(&bounds.replace('5', "0")),
        &[(9, "between 1 and")],
    );
    check(
        line,
        &with(&format!("{bounds}, least = 1")),
        &[(9, "unknown key `least`")],
    );
    let default = text.replace("\"S.\"", "\"S.\", default = []");
    assert!(
        named(&default)[0]
            .message
            .contains("must not give shots a default")
    );
    let endless = text.replace(", default = 5.0", "");
    let is_said = |problem: &Problem| problem.message.contains("with a default for `duration`");
    assert!(named(&endless).iter().any(is_said));
}

#[test]
fn no_order_goes_to_one_model_of_a_provider_twice() {
    let load_two = |first: &str, second: &str| {
        let text = MODEL
            .replace("model = \"a\"", "model = \"b\"")
            .replace("rank = 1\n", &format!("rank = 1\n{first}\n"))
            .replace("rank = 0\n", &format!("rank = 0\n{second}\n"));
        load(&text, PROVIDER).map_err(|problems| problems[0].message.clone())
    };
    let small = "only = { resolution = [\"720p\"] }";
    let large = "only = { resolution = [\"1080p\"] }";
    assert!(load_two(small, large).is_ok());
    for (first, second) in [("", ""), (small, ""), (small, small)] {
        let message = load_two(first, second).unwrap_err();
        assert!(message.contains("a route before it"), "{message}");
    }
}

#[test]
fn an_order_takes_the_routes_that_can_run_it() {
    let text = MODEL
        .replace("[price]", "image_urls = { urls = 2 }\n[price]")
        .replace("rank = 1\n", "rank = 1\nonly = { resolution = [\"720p\"] }\nignores = [\"duration\"]\n")
        .replace("rank = 0\n", "rank = 0\ninputs = { image_urls = [1, 1] }\nsend = { frame = { item = \"image_urls\" }, mark = \"watermark\" }\n");
    let catalogue = load(&text, PROVIDER).unwrap();
    let model = catalogue.model("video_generate.test_1").unwrap();
    let order = |params: serde_json::Value| {
        let body = json!({ "prompt": "a fox", "video_params": params });
        model.submission(&body, None).unwrap().order
    };
    let routes = |params, is_usable: bool| {
        let routes = catalogue.routes(model, &order(params), |_| is_usable);
        routes.map(|routes| {
            routes
                .into_iter()
                .map(|route| route.model)
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(routes(json!({}), true).unwrap(), ["b"]);
    let picture = json!({ "image_urls": ["data:image/png;base64,QUJD"], "resolution": "1080p" });
    assert_eq!(routes(picture.clone(), true).unwrap(), ["a"]);
    assert_eq!(routes(json!({}), false).unwrap(), ["video_generate.test_1"]);
    // What no route takes is refused; without any provider the sandbox takes what the model does.
    let tall = json!({ "resolution": "1080p" });
    let refusal = routes(tall.clone(), true).unwrap_err();
    assert_eq!(refusal.param, "video_params.image_urls");
    assert!(routes(tall, false).is_ok());
    let order = order(picture);
    let listing = &model.listings[0];
    assert_eq!(catalogue.listing(&listing.route, &order), Some(listing));
    assert!(catalogue.honours(&listing.route, &order) == Abilities::NONE.with("watermark"));
}

/// Four providers; the price of the first is the client's, and what may step in is bounded by it.
#[test]
fn the_first_route_names_the_price_and_dearer_ones_step_in_so_far() {
    let provider = |id: &str| SourceFile {
        path: format!("providers/{id}.toml"),
        text: format!(
            "id = \"{id}\"\nname = \"P\"\ndialect = \"sandbox\"\nbase_url = \"https://{id}.test\"\n"
        ),
    };
    let route = |id: &str, price: &str| {
        format!("[[routes]]\nprovider = \"{id}\"\nmodel = \"m\"\n{price}\n")
    };
    let routes = [
        route("a", ""),
        route("b", "price = { per_run = 0.15 }"),
        route("c", "price = { per_run = 0.2 }"),
        route("d", "price = { per_run = 0.01 }"),
    ];
    let model = SourceFile {
        path: "models/image_generate.m.toml".to_owned(),
        text: format!(
            "id = \"image_generate.m\"\nname = \"M\"\nvendor = \"V\"\nmodality = \"image\"\n\
             description = \"D.\"\n[price]\nper_run = 0.1\n{}",
            routes.concat()
        ),
    };
    let files: Vec<SourceFile> = ["a", "b", "c", "d"].map(provider).into_iter().collect();
    let files = [files, vec![model]].concat();
    let catalogue = Catalogue::load(&files, &["sandbox"]).unwrap();
    let stepping_in = |catalogue: &Catalogue, usable: &str| {
        let model = catalogue.model("image_generate.m").unwrap();
        let body = json!({ "prompt": "a fox" });
        let order = model.submission(&body, None).unwrap().order;
        let routes = catalogue.routes(model, &order, |one| usable.contains(&one.id));
        let (price, routes) = catalogue.priced(model, &order, routes.unwrap());
        let shown = catalogue.price(model, |one| usable.contains(&one.id));
        assert_eq!(shown, price);
        let names: Vec<&str> = routes.iter().map(|route| route.provider.as_str()).collect();
        (price.hold(&order), names.concat())
    };
    let at = |micro: i64, names: &str| (Credits(micro), names.to_owned());
    assert_eq!(stepping_in(&catalogue, "abcd"), at(100_000, "ad"));
    assert_eq!(stepping_in(&catalogue, "bcd"), at(150_000, "bd"));
    let margin = catalogue.clone().with_margin(15_000);
    assert_eq!(stepping_in(&margin, "abcd"), at(150_000, "abd"));
    let loss = catalogue.clone().with_failover(20_000);
    assert_eq!(stepping_in(&loss, "abcd"), at(100_000, "abcd"));
    // Below cost, the first is still the first.
    let cheap = catalogue.with_margin(5_000);
    assert_eq!(stepping_in(&cheap, "abcd"), at(50_000, "ad"));
}
