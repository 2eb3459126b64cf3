//! A Rust file, read once for every check.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::Visit;

use super::tree::{Problem, Tree};

/// A Rust file.
pub struct Source {
    /// From the root.
    pub path: String,
    /// The whole file.
    pub text: String,
    /// Its tokens.
    pub tokens: TokenStream,
    /// Its items.
    pub items: syn::File,
    /// Whether all of it is compiled for tests only.
    pub is_test: bool,
    /// Lines of the items under `#[cfg(test)]`.
    pub test_lines: Vec<RangeInclusive<usize>>,
}

impl Source {
    /// Reads a file.
    pub fn parse(path: &str, text: String) -> syn::Result<Self> {
        let tokens = text.parse::<TokenStream>()?;
        let items = syn::parse_file(&text)?;
        let mut found = TestItems::default();
        found.visit_file(&items);
        Ok(Self {
            path: path.to_owned(),
            text,
            tokens,
            items,
            is_test: path
                .split('/')
                .any(|part| part == "tests" || part == "benches")
                || path.ends_with("/tests.rs"),
            test_lines: found.lines,
        })
    }

    /// Whether a line is compiled for tests only.
    pub fn is_test_line(&self, line: usize) -> bool {
        self.is_test || self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// The modules of its crate that lead to this file, and the crate's folder.
    pub fn module(&self) -> Option<(&str, Vec<&str>)> {
        let (crate_folder, inside) = self.path.split_once("/src/")?;
        let mut parts: Vec<_> = inside.strip_suffix(".rs")?.split('/').collect();
        if matches!(parts.last(), Some(&("mod" | "lib" | "main"))) {
            parts.pop();
        }
        Some((crate_folder, parts))
    }
}

/// Reads every Rust file.
pub fn read_all(tree: &Tree, problems: &mut Vec<Problem>) -> Vec<Source> {
    let mut sources = Vec::new();
    for path in tree.under("").filter(|path| path.ends_with(".rs")) {
        let text = tree.text(path).unwrap_or_default();
        match Source::parse(path, text) {
            Ok(source) => sources.push(source),
            Err(error) => {
                let line = error.span().start().line;
                problems.push(Problem::new(path, line, format!("not Rust: {error}")));
            }
        }
    }
    mark_test_files(&mut sources);
    sources
}

/// Files that only a `#[cfg(test)] mod name;` leads to.
fn mark_test_files(sources: &mut [Source]) {
    let mut prefixes = BTreeSet::new();
    for source in &*sources {
        let Some((crate_folder, modules)) = source.module() else {
            continue;
        };
        let mut found = TestItems::default();
        found.visit_file(&source.items);
        for name in found.files {
            let path = [&modules[..], &[name.as_str()]].concat().join("/");
            prefixes.insert(format!("{crate_folder}/src/{path}"));
        }
    }
    for source in sources {
        source.is_test |= prefixes.iter().any(|prefix| {
            let rest = source.path.strip_prefix(prefix.as_str());
            rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        });
    }
}

/// Every token, a group before what it holds.
pub fn flatten(tokens: &TokenStream, each: &mut impl FnMut(&TokenTree)) {
    for token in tokens.clone() {
        each(&token);
        if let TokenTree::Group(group) = &token {
            flatten(&group.stream(), each);
        }
    }
}

/// Comments that are not documentation: line and text after the slashes.
pub fn comments(source: &Source) -> Vec<(usize, String)> {
    let mut literals = Vec::new();
    flatten(&source.tokens, &mut |token| {
        if let TokenTree::Literal(literal) = token {
            literals.push(literal.span());
        }
    });
    let is_quoted = |line: usize, column: usize| {
        let at = (line, column);
        let covers = |span: &Span| {
            let (start, end) = (span.start(), span.end());
            (start.line, start.column) <= at && at < (end.line, end.column)
        };
        literals.iter().any(covers)
    };
    let mut found = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        let starts = line.match_indices("//").map(|(at, _)| at);
        for at in starts {
            let column = line[..at].chars().count();
            if !is_quoted(number + 1, column) {
                found.push((number + 1, line[at + 2..].trim().to_owned()));
                break;
            }
        }
    }
    found
}

/// Items under `#[cfg(test)]`.
#[derive(Default)]
struct TestItems {
    lines: Vec<RangeInclusive<usize>>,
    /// Names of modules that lie in files of their own.
    files: Vec<String>,
}

impl Visit<'_> for TestItems {
    fn visit_item(&mut self, item: &syn::Item) {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Struct(item) => &item.attrs,
            syn::Item::Enum(item) => &item.attrs,
            syn::Item::Const(item) => &item.attrs,
            _ => return,
        };
        if attributes.iter().any(is_for_tests) {
            let span = item.span();
            self.lines.push(span.start().line..=span.end().line);
            if let syn::Item::Mod(syn::ItemMod {
                content: None,
                ident,
                ..
            }) = item
            {
                self.files.push(ident.to_string());
            }
        } else {
            syn::visit::visit_item(self, item);
        }
    }
}

fn is_for_tests(attribute: &syn::Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else {
        return attribute.path().is_ident("test");
    };
    list.path.is_ident("cfg") && list.tokens.to_string() == "test"
}
