//! Words that say nothing, in the names of files, modules, types and functions.

use syn::Ident;
use syn::visit::Visit;

use super::source::Source;
use super::tree::{Problem, Tree};

/// Too vague; `job` means three things.
const BANNED: [&str; 12] = [
    "manager", "service", "handler", "helper", "util", "common", "info", "data", "process",
    "event", "job", "misc",
];

/// Where a banned word is the right one.
struct Allowed {
    word: &'static str,
    /// Start of the paths it is allowed in.
    under: &'static str,
    /// Whole names; empty for all of them.
    names: &'static [&'static str],
    reason: &'static str,
}

const ALLOWED: [Allowed; 4] = [
    Allowed {
        word: "process",
        under: "crates/cli/tests/process/",
        names: &[],
        reason: "these tests are about processes of the operating system",
    },
    Allowed {
        word: "event",
        under: "crates/gateway/src/api/",
        names: &[],
        reason: "server-sent events are what the standard calls them",
    },
    Allowed {
        word: "event",
        under: "crates/gateway/tests/api/",
        names: &[],
        reason: "server-sent events are what the standard calls them",
    },
    Allowed {
        word: "info",
        under: "crates/gateway/src/api/",
        names: &["Info"],
        reason: "the object of OpenAPI",
    },
];

/// Names of the items a file defines.
pub fn check(source: &Source) -> Vec<Problem> {
    let mut visitor = Names {
        path: &source.path,
        problems: Vec::new(),
    };
    visitor.visit_file(&source.items);
    visitor.problems
}

/// Names of files and folders we write code in.
pub fn check_paths(tree: &Tree) -> Vec<Problem> {
    let code = ["crates/", "xtask/", "console/src/", "console/tests/"];
    let files = code.iter().flat_map(|folder| tree.under(folder));
    let mut problems = Vec::new();
    for path in files {
        for part in path.split('/') {
            let stem = part.split('.').next().unwrap_or_default();
            if let Some(word) = banned(stem, path) {
                problems.push(Problem::new(path, 0, says(part, word)));
            }
        }
    }
    problems
}

/// The banned word in a name, unless it is allowed there.
pub fn banned(name: &str, path: &str) -> Option<&'static str> {
    let words = words(name);
    let found = BANNED.into_iter().find(|banned| {
        let is_it = |word: &String| word == banned || word.strip_suffix('s') == Some(banned);
        words.iter().any(is_it)
    })?;
    let is_allowed = ALLOWED.iter().any(|allowed| {
        let named = allowed.names.is_empty() || allowed.names.contains(&name);
        let is_here = path.starts_with(allowed.under) && !allowed.reason.is_empty();
        allowed.word == found && is_here && named
    });
    (!is_allowed).then_some(found)
}

/// The words of a snake, kebab or camel name, in lower case.
pub fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = '_';
    for letter in name.chars() {
        let starts = letter.is_uppercase() && !before.is_uppercase();
        if !letter.is_alphanumeric() || starts {
            words.push(String::new());
        }
        if letter.is_alphanumeric() {
            let word = words.last_mut().expect("never empty");
            word.extend(letter.to_lowercase());
        }
        before = letter;
    }
    words.retain(|word| !word.is_empty());
    words
}

fn says(name: &str, word: &str) -> String {
    format!("`{name}`: `{word}` says nothing; name the thing, or allow it in tidy/names.rs")
}

struct Names<'a> {
    path: &'a str,
    problems: Vec<Problem>,
}

impl Names<'_> {
    fn judge(&mut self, ident: &Ident) {
        let name = ident.to_string();
        if let Some(word) = banned(&name, self.path) {
            let line = ident.span().start().line;
            self.problems
                .push(Problem::new(self.path, line, says(&name, word)));
        }
    }
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        match item {
            syn::Item::Fn(item) => self.judge(&item.sig.ident),
            syn::Item::Struct(item) => self.judge(&item.ident),
            syn::Item::Enum(item) => self.judge(&item.ident),
            syn::Item::Trait(item) => self.judge(&item.ident),
            syn::Item::Type(item) => self.judge(&item.ident),
            syn::Item::Mod(item) => self.judge(&item.ident),
            // The names in an implementation are chosen by the trait.
            syn::Item::Impl(item) if item.trait_.is_some() => return,
            _ => {}
        }
        syn::visit::visit_item(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.judge(&item.sig.ident);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.judge(&item.sig.ident);
        syn::visit::visit_trait_item_fn(self, item);
    }
}
