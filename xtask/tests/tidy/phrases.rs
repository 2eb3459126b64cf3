//! Things that must not be left behind in a text.

use proc_macro2::TokenTree;

use super::source::{Source, comments, flatten};
use super::tree::{Problem, Tree};

/// Folders of one machine. In two parts, as this file is checked too.
const MACHINE_PATHS: [&str; 5] = [
    concat!("/wo", "rk/main"),
    concat!("/wo", "rk/shared"),
    concat!("/wo", "rk/."),
    concat!("/tmp", "/wt"),
    concat!("/ro", "ot/"),
];

/// Where a folder of the superuser is meant.
const MACHINE_PATHS_ALLOWED: [&str; 1] = ["deploy/Dockerfile"];

/// Marks that mean that something is not finished.
const MARKS: [&str; 3] = [
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
];

/// Allowed with the number of an issue after it.
const MARK_OF_ISSUE: &str = concat!("TO", "DO");

/// Attributes, macros and comments of a Rust file.
pub fn check_rust(source: &Source) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut push = |line: usize, what: String| {
        problems.push(Problem::new(&source.path, line, what));
    };
    let mut before: [Option<String>; 2] = [None, None];
    flatten(&source.tokens, &mut |token| {
        let text = match token {
            TokenTree::Ident(ident) => ident.to_string(),
            TokenTree::Punct(mark) => mark.as_char().to_string(),
            TokenTree::Group(_) => "(".to_owned(),
            TokenTree::Literal(_) => "literal".to_owned(),
        };
        let line = token.span().start().line;
        let [second, first] = &before;
        let is_attribute = second.as_deref() == Some("#") && first.as_deref() == Some("(");
        if is_attribute && text == "ignore" {
            push(
                line,
                "no test is ignored: repair it or remove it".to_owned(),
            );
        }
        let unfinished = first
            .as_deref()
            .filter(|first| matches!(*first, "todo" | "unimplemented"));
        if let (Some(name), "!") = (unfinished, text.as_str()) {
            push(line, format!("`{name}!`: finish it"));
        }
        before = [before[1].take(), Some(text)];
    });
    for (line, comment) in comments(source) {
        let is_code = comment.ends_with(';') || comment.ends_with('}');
        if is_code && syn::parse_str::<syn::Block>(&format!("{{ {comment} }}")).is_ok() {
            push(line, "commented-out code: remove it".to_owned());
        }
    }
    problems
}

/// Lines of every text file.
pub fn check_texts(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    let is_written = |path: &&str| !path.ends_with(".lock") && !path.ends_with("-lock.json");
    for path in tree.under("").filter(is_written) {
        let Some(text) = tree.text(path) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            let found = MACHINE_PATHS.iter().find(|found| line.contains(**found));
            if let Some(found) = found.filter(|_| !MACHINE_PATHS_ALLOWED.contains(&path)) {
                let what = format!("`{found}` is a folder of one machine");
                problems.push(Problem::new(path, number + 1, what));
            }
            if let Some(mark) = unfinished(line) {
                problems.push(Problem::new(
                    path,
                    number + 1,
                    format!("`{mark}`: finish it"),
                ));
            }
        }
    }
    problems
}

/// The mark in a line that says that something is not finished.
pub fn unfinished(line: &str) -> Option<&'static str> {
    let is_word = |mark: &str, at: usize| {
        let before = line[..at].chars().next_back();
        let after = line[at + mark.len()..].chars().next();
        let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    };
    let marks = MARKS.into_iter().chain([MARK_OF_ISSUE]);
    for mark in marks {
        for (at, _) in line.match_indices(mark) {
            let has_issue = line[at + mark.len()..].starts_with("(#");
            if is_word(mark, at) && !(mark == MARK_OF_ISSUE && has_issue) {
                return Some(mark);
            }
        }
    }
    None
}
