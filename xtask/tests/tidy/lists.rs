//! Lists that must agree with folders: the catalogue, the dialects, the migrations, the decisions.

use std::collections::BTreeSet;

use proc_macro2::{Spacing, TokenTree};

use super::source::{Source, flatten};
use super::tree::{Problem, Tree};

const DIALECTS: &str = "crates/dialects/src/";
const FIXTURES: &str = "crates/dialects/fixtures/";
const MIGRATIONS: &str = "crates/gateway/src/store/migrations/";
const MIGRATE: &str = "crates/gateway/src/store/migrate.rs";
const DECISIONS: &str = "docs/decisions/";
const ARCHITECTURE: &str = "ARCHITECTURE.md";
const ARCHITECTURE_LINES_MAX: usize = 300;

/// Modules of the dialects that are shared by several, and so are no protocols themselves.
const SHARED: [&str; 7] = [
    "lib",
    "chat",
    "conversation",
    "fault",
    "hook",
    "kie_files",
    "queue",
];

/// All of them.
pub fn check(tree: &Tree, sources: &[Source]) -> Vec<Problem> {
    let mut problems = catalogue(tree);
    problems.extend(dialects(tree, sources));
    problems.extend(migrations(tree, sources));
    problems.extend(decisions(tree));
    problems.extend(documents(tree));
    problems
}

/// A file of the catalogue is named after its id.
fn catalogue(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for path in ["models/", "providers/"]
        .map(|folder| format!("catalogue/{folder}"))
        .iter()
        .flat_map(|folder| tree.under(folder))
    {
        let name = path.rsplit('/').next().unwrap_or_default();
        let Some(id) = name.strip_suffix(".toml") else {
            problems.push(Problem::new(path, 0, "only TOML files belong here"));
            continue;
        };
        let text = tree.text(path).unwrap_or_default();
        let parsed = text.parse::<toml::Table>().ok();
        let given = parsed.as_ref().and_then(|file| file.get("id"));
        let given = given.and_then(toml::Value::as_str).unwrap_or_default();
        if given != id {
            let what = format!("the id is `{given}`, so the file's name is `{given}.toml`");
            problems.push(Problem::new(path, 1, what));
        }
    }
    problems
}

/// The list in `lib.rs` names every protocol's file, and nothing else.
fn dialects(tree: &Tree, sources: &[Source]) -> Vec<Problem> {
    let lib = format!("{DIALECTS}lib.rs");
    let listed: Vec<_> = literals(sources, &lib, "DIALECTS");
    let names: BTreeSet<&str> = listed.iter().map(|(_, name)| name.as_str()).collect();
    let mut files = BTreeSet::new();
    for source in sources.iter().filter(|source| !source.is_test) {
        if let Some(("crates/dialects", modules)) = source.module() {
            files.insert(*modules.first().unwrap_or(&"lib"));
        }
    }
    let mut problems = Vec::new();
    for (line, name) in &listed {
        if !files.contains(name.as_str()) {
            let what = format!("no file `{name}.rs` for the dialect of this name");
            problems.push(Problem::new(&lib, *line, what));
        }
    }
    for file in files.difference(&names) {
        if !SHARED.contains(file) {
            let path = format!("{DIALECTS}{file}.rs");
            let what = "neither in DIALECTS nor shared (SHARED in tidy/lists.rs)";
            problems.push(Problem::new(&path, 0, what));
        }
    }
    let folders: BTreeSet<_> = tree
        .under(FIXTURES)
        .filter_map(|path| path[FIXTURES.len()..].split('/').next())
        .collect();
    for folder in folders.difference(&names) {
        let path = format!("{FIXTURES}{folder}");
        problems.push(Problem::new(&path, 0, "fixtures of no dialect"));
    }
    problems
}

/// `NNNN_name.sql`, counted from 1 without gaps, each in the list.
fn migrations(tree: &Tree, sources: &[Source]) -> Vec<Problem> {
    let listed = literals(sources, MIGRATE, "MIGRATIONS");
    let mut problems = Vec::new();
    let files: Vec<_> = tree.under(MIGRATIONS).collect();
    for (number, path) in (1..).zip(&files) {
        let name = &path[MIGRATIONS.len()..];
        let stem = name.strip_suffix(".sql").and_then(|stem| {
            let (digits, stem) = stem.split_once('_')?;
            (digits == format!("{number:04}") && is_snake(stem)).then_some(stem)
        });
        let Some(stem) = stem else {
            let what = format!("not named `{number:04}_name.sql`: counted from 1, without gaps");
            problems.push(Problem::new(path, 0, what));
            continue;
        };
        let wanted = [
            number.to_string(),
            stem.to_owned(),
            format!("migrations/{name}"),
        ];
        let at = 3 * (number - 1);
        let entry = listed.get(at..at + 3).unwrap_or_default();
        if !entry.iter().map(|(_, literal)| literal).eq(&wanted) {
            let line = entry.first().map_or(0, |(line, _)| *line);
            let what = format!("entry {number} of MIGRATIONS is not version, name, {wanted:?}");
            problems.push(Problem::new(MIGRATE, line, what));
        }
    }
    if let Some((line, literal)) = listed.get(3 * files.len()) {
        let what = format!("no script for entry {literal} of MIGRATIONS");
        problems.push(Problem::new(MIGRATE, *line, what));
    }
    problems
}

/// `NNNN-title.md`, counted from 1 without gaps.
fn decisions(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    let records = tree
        .under(DECISIONS)
        .filter(|path| !path.ends_with("README.md"));
    for (number, path) in (1..).zip(records) {
        let name = &path[DECISIONS.len()..];
        let title = name.strip_suffix(".md").and_then(|stem| {
            let (digits, title) = stem.split_once('-')?;
            (digits == format!("{number:04}")).then_some(title)
        });
        if title.is_none_or(str::is_empty) {
            let what = format!("not named `{number:04}-title.md`: counted from 1, without gaps");
            problems.push(Problem::new(path, 0, what));
        }
    }
    problems
}

/// Documents that must exist, and their length.
fn documents(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    let has_api = tree.under("crates/gateway/src/api/").next().is_some();
    if has_api && !tree.has("docs/openapi.json") {
        problems.push(Problem::new(
            "docs/openapi.json",
            0,
            "there is an API but no description",
        ));
    }
    if tree.has(ARCHITECTURE) {
        let text = tree.text(ARCHITECTURE).unwrap_or_default();
        let lines = text.lines().count();
        if lines > ARCHITECTURE_LINES_MAX {
            let what = format!("{lines} lines, {ARCHITECTURE_LINES_MAX} are allowed");
            problems.push(Problem::new(ARCHITECTURE, ARCHITECTURE_LINES_MAX + 1, what));
        }
    }
    problems
}

fn is_snake(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !name.is_empty() && name.bytes().all(is_letter)
}

/// Literals in the value of a constant, in order, without their quotes.
fn literals(sources: &[Source], path: &str, constant: &str) -> Vec<(usize, String)> {
    let Some(source) = sources.iter().find(|source| source.path == path) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut is_inside = false;
    let mut is_value = false;
    for token in source.tokens.clone() {
        match &token {
            TokenTree::Ident(ident) if ident == constant => is_inside = true,
            TokenTree::Punct(mark) if mark.as_char() == ';' => is_inside = false,
            TokenTree::Punct(mark) if mark.as_char() == '=' && mark.spacing() == Spacing::Alone => {
                is_value = is_inside;
            }
            TokenTree::Group(group) if is_inside && is_value => {
                flatten(&group.stream(), &mut |token| {
                    if let TokenTree::Literal(literal) = token {
                        let line = literal.span().start().line;
                        found.push((line, literal.to_string().trim_matches('"').to_owned()));
                    }
                });
            }
            _ => {}
        }
    }
    found
}
