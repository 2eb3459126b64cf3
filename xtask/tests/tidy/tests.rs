//! The checks find what they are for.

use super::source::Source;
use super::tree::Problem;
use super::{arrows, names, phrases, sizes};

fn source(path: &str, text: &str) -> Source {
    Source::parse(path, text.to_owned()).expect("Rust")
}

fn lines(problems: &[Problem]) -> Vec<usize> {
    problems.iter().map(|problem| problem.line).collect()
}

#[test]
fn forbidden_modules_are_found_however_they_are_named() {
    let text = "use crate::{store::Store, net::{Client, Guard}};\n\
        use super::super::worker;\n\
        fn f() { crate::media::serve(); }\n\
        mod inner { use super::super::super::callbacks::X; }\n\
        fn g() { format!(\"{}\", crate::config::get()); }\n\
        use super::caller;\n\
        #[cfg(test)]\nmod tests { use crate::net::Client; }\n";
    let source = source("crates/gateway/src/api/submit.rs", text);
    let problems = arrows::check(&source);
    assert_eq!(lines(&problems), [1, 2, 3, 4, 5], "{problems:#?}");
}

#[test]
fn drivers_and_sockets_stay_behind_their_fences() {
    let text = "use rusqlite::Connection;\nuse tokio::net::TcpStream;\n\
        async fn f() { tokio::net::TcpStream::connect(\"a\").await; }\n\
        use hyper::{body::Body, client::conn};\n";
    let outside = source("crates/gateway/src/store/tasks.rs", text);
    assert_eq!(lines(&arrows::check(&outside)), [1, 3, 4]);
    let inside = source("crates/gateway/src/net/connect.rs", text);
    assert_eq!(lines(&arrows::check(&inside)), [1]);
    let pure = source("crates/domain/src/price.rs", "use std::{fs, fmt};\n");
    assert_eq!(lines(&arrows::check(&pure)), [1]);
}

#[test]
fn banned_words_are_whole_words() {
    let text = "struct TaskManager;\nstruct Metadata;\nfn get_info() {}\nmod utils {}\n\
        impl Server { fn handle_events(&self) {} }\n\
        impl Service for Server { fn event(&self) {} }\n";
    let source = source("crates/gateway/src/worker/a.rs", text);
    assert_eq!(lines(&names::check(&source)), [1, 3, 4, 5]);
    assert_eq!(
        names::words("HTTPServer2_of-Things"),
        ["httpserver2", "of", "things"]
    );
    assert_eq!(
        names::banned("events", "crates/gateway/src/api/events.rs"),
        None
    );
}

#[test]
fn long_functions_and_files_are_found() {
    let body = "    let _x = 1;\n".repeat(69);
    let just = format!("/// Doc.\n#[must_use]\nfn f() {{\n{}}}\n", &body[16..]);
    let over = format!("struct S;\nimpl S {{\nfn f() {{\n{body}}}\n}}\n");
    let path = "crates/domain/src/a.rs";
    assert_eq!(lines(&sizes::check(&source(path, &just))), []);
    assert_eq!(lines(&sizes::check(&source(path, &over))), [3]);
    let long = "\n".repeat(401);
    assert_eq!(lines(&sizes::check(&source(path, &long))), [401]);
    assert_eq!(lines(&sizes::check(&source("xtask/tests/a.rs", &long))), []);
}

#[test]
fn leftovers_are_found() {
    let text = "#[ignore]\nfn a() {}\nfn b() { todo!() }\n\
        // let x = f(1);\n// A sentence; another.\n\
        const URL: &str = \"http://a.b/c;\";\n// return;\n";
    let source = source("crates/domain/src/a.rs", text);
    assert_eq!(lines(&phrases::check_rust(&source)), [1, 3, 4, 7]);
    let mark = concat!("TO", "DO");
    assert_eq!(
        phrases::unfinished(&format!("// {mark}: later")),
        Some(mark)
    );
    assert_eq!(phrases::unfinished(&format!("// {mark}(#12): later")), None);
    assert_eq!(phrases::unfinished(&format!("MY_{mark}S")), None);
}
