//! Who may know whom, inside the crates: the arrows of ARCHITECTURE.md.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::source::Source;
use super::tree::Problem;

/// What a part of the gateway may name of its crate.
enum Knows {
    /// Itself and these.
    Only(&'static [&'static str]),
    /// Everything but these, `app` and `config`.
    AllBut(&'static [&'static str]),
}

use Knows::{AllBut, Only};

const GATEWAY: [(&str, Knows); 19] = [
    ("clock", Only(&[])),
    ("entropy", Only(&[])),
    ("spawn", Only(&[])),
    ("typeset", Only(&[])),
    ("config", Only(&[])),
    // Entropy only names a lock of PostgreSQL; nothing that is recorded depends on it.
    ("store", Only(&["clock", "entropy", "spawn", "values"])),
    ("metrics", Only(&[])),
    ("traffic", Only(&["clock"])),
    ("view", Only(&["clock", "store"])),
    ("net", Only(&["clock", "entropy", "spawn"])),
    ("stripe", Only(&["net"])),
    ("alerts", Only(&["clock", "metrics", "store"])),
    ("hooks", Only(&["clock", "metrics", "net", "store"])),
    ("media", AllBut(&["api", "worker", "callbacks", "edge"])),
    (
        "sandbox",
        AllBut(&["api", "worker", "callbacks", "edge", "store"]),
    ),
    ("worker", AllBut(&["api", "callbacks", "edge"])),
    (
        "callbacks",
        AllBut(&["api", "worker", "media", "sandbox", "edge"]),
    ),
    (
        "api",
        AllBut(&[
            "worker",
            "net",
            "media",
            "callbacks",
            "sandbox",
            "stripe",
            "alerts",
            "hooks",
        ]),
    ),
    ("edge", AllBut(&["worker", "store", "callbacks", "media"])),
];

/// A name that only some places may use.
struct Fenced {
    /// Idents, with `::` between them.
    name: &'static str,
    /// Starts of the paths it is for.
    only_in: &'static [&'static str],
    reason: &'static str,
}

const NET: &str = "crates/gateway/src/net/";
const MEDIA: &str = "crates/gateway/src/media/";
const ALERTS: &str = "crates/gateway/src/alerts/";
const CONFIG: &str = "crates/gateway/src/config/";
const DB: &str = "crates/gateway/src/store/db/";
const OUTBOUND: &str = "only net opens outbound connections";
const DRIVER: &str = "only store/db names a database driver";
const PURE: &str = "domain and dialects do no input or output and read no clock";

const FENCED: [Fenced; 12] = [
    fenced("TcpStream::connect", &[NET], OUTBOUND),
    fenced("TcpSocket", &[NET], OUTBOUND),
    fenced("UnixStream::connect", &[NET], OUTBOUND),
    fenced("hyper::client", &[NET], OUTBOUND),
    fenced("hyper_util::client", &[NET], OUTBOUND),
    fenced("TlsConnector", &[NET, DB], OUTBOUND),
    // The object store brings its own client, which is pointed at the operator's bucket.
    fenced("reqwest", &[NET, MEDIA], OUTBOUND),
    // It connects to the operator's mail server by itself; settings only name its types.
    fenced("lettre", &[ALERTS, CONFIG], OUTBOUND),
    fenced("rusqlite", &[DB], DRIVER),
    fenced("tokio_postgres", &[DB], DRIVER),
    fenced(
        "dialects",
        &[
            "crates/gateway/src/worker/",
            "crates/gateway/src/app/",
            "crates/gateway/src/app.rs",
            "crates/gateway/src/hooks/",
        ],
        "only worker and hooks speak dialects",
    ),
    fenced("env::var", &[CONFIG], "settings are read once, in config"),
];

/// Names that the pure crates never use.
const IMPURE: [&str; 8] = [
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant::now",
    "include_dir",
];

const fn fenced(
    name: &'static str,
    only_in: &'static [&'static str],
    reason: &'static str,
) -> Fenced {
    Fenced {
        name,
        only_in,
        reason,
    }
}

/// What the file names and must not. Tests may name what they like.
pub fn check(source: &Source) -> Vec<Problem> {
    let Some((crate_folder, modules)) = source.module() else {
        return Vec::new();
    };
    let mut seen = Vec::new();
    let modules: Vec<_> = modules.into_iter().map(str::to_owned).collect();
    collect(&source.tokens, &modules, &mut seen);
    seen.retain(|name| !source.is_test_line(name.line));
    let mut problems = match crate_folder {
        "crates/gateway" => inside_gateway(source, modules.first(), &seen),
        _ => Vec::new(),
    };
    match crate_folder {
        "crates/gateway" | "crates/cli" => problems.extend(behind_fences(source, &seen)),
        "crates/domain" | "crates/dialects" => {
            let impure = seen.iter().filter_map(|name| {
                let found = IMPURE.iter().find(|impure| name.contains(impure))?;
                Some(Problem::new(
                    &source.path,
                    name.line,
                    format!("`{found}`: {PURE}"),
                ))
            });
            problems.extend(impure);
        }
        _ => {}
    }
    problems
}

fn inside_gateway(source: &Source, module: Option<&String>, seen: &[Name]) -> Vec<Problem> {
    // The root of the crate, and `app`, know everything.
    let Some(module) = module.filter(|module| *module != "app") else {
        return Vec::new();
    };
    let rule = GATEWAY.iter().find(|(known, _)| known == module);
    let mut problems = Vec::new();
    for name in seen {
        let Some(other) = name.of_crate().filter(|other| *other != module) else {
            continue;
        };
        let is_fine = match rule {
            _ if matches!(other, "app" | "config") => false,
            Some((_, Only(known))) => known.contains(&other),
            Some((_, AllBut(unknown))) => !unknown.contains(&other),
            None => true,
        };
        if !is_fine {
            let what = format!("`{module}` must not know `{other}`");
            problems.push(Problem::new(&source.path, name.line, what));
        }
    }
    problems.dedup();
    problems
}

fn behind_fences(source: &Source, seen: &[Name]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for name in seen {
        for fenced in &FENCED {
            let is_inside = fenced
                .only_in
                .iter()
                .any(|path| source.path.starts_with(path));
            if !is_inside && name.contains(fenced.name) {
                let what = format!("`{}`: {}", fenced.name, fenced.reason);
                problems.push(Problem::new(&source.path, name.line, what));
            }
        }
    }
    problems
}

/// A path as it is written in the code, `crate`, `self` and `super` resolved.
#[derive(Debug)]
pub struct Name {
    /// Idents; the first is `crate` if the path was resolved.
    pub parts: Vec<String>,
    /// From 1.
    pub line: usize,
}

impl Name {
    /// The module or macro of the crate's root that the path leads to.
    fn of_crate(&self) -> Option<&str> {
        match &self.parts[..] {
            [root, module, ..] if root == "crate" => Some(module),
            _ => None,
        }
    }

    /// Whether the parts of `name` follow each other somewhere in it; the name of a crate leads.
    fn contains(&self, name: &str) -> bool {
        if !name.contains("::") && name.starts_with(|letter: char| letter.is_lowercase()) {
            return self.parts.len() > 1 && self.parts[0] == name;
        }
        let wanted: Vec<_> = name.split("::").collect();
        self.parts.windows(wanted.len()).any(|part| part == wanted)
    }
}

/// All paths in the tokens, those in macros and in trees of `use` too.
pub fn collect(tokens: &TokenStream, modules: &[String], seen: &mut Vec<Name>) {
    let tokens: Vec<_> = tokens.clone().into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(_) => {
                let inner = inline_module(&tokens[at..]);
                if let Some((name, body)) = inner {
                    let inside = [modules, &[name]].concat();
                    collect(&body, &inside, seen);
                    at += 3;
                } else {
                    at = path(&tokens, at, &[], modules, seen);
                }
            }
            TokenTree::Group(group) => {
                collect(&group.stream(), modules, seen);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// `mod name { … }`.
fn inline_module(tokens: &[TokenTree]) -> Option<(String, TokenStream)> {
    match tokens {
        [
            TokenTree::Ident(keyword),
            TokenTree::Ident(name),
            TokenTree::Group(body),
            ..,
        ] if keyword == "mod" => Some((name.to_string(), body.stream())),
        _ => None,
    }
}

/// Reads a path, or a tree of them; answers where it ends.
fn path(
    tokens: &[TokenTree],
    start: usize,
    before: &[String],
    modules: &[String],
    seen: &mut Vec<Name>,
) -> usize {
    let mut parts = before.to_vec();
    let mut at = start;
    let line = tokens[start].span().start().line;
    while let Some(TokenTree::Ident(ident)) = tokens.get(at) {
        step(&ident.to_string(), &mut parts, modules);
        at += 1;
        if !is_colons(tokens, at) {
            break;
        }
        at += 2;
        if let Some(TokenTree::Group(group)) = tokens.get(at) {
            if group.delimiter() == Delimiter::Brace {
                branches(&group.stream(), &parts, modules, seen);
                return at + 1;
            }
            break;
        }
    }
    seen.push(Name { parts, line });
    at.max(start + 1)
}

/// The part of a tree of `use` that is in braces.
fn branches(tree: &TokenStream, before: &[String], modules: &[String], seen: &mut Vec<Name>) {
    let tokens: Vec<_> = tree.clone().into_iter().collect();
    let is_comma =
        |token: &TokenTree| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ',');
    for branch in tokens.split(is_comma) {
        if matches!(branch.first(), Some(TokenTree::Ident(_))) {
            path(branch, 0, before, modules, seen);
        }
    }
}

fn step(part: &str, parts: &mut Vec<String>, modules: &[String]) {
    let root = || vec!["crate".to_owned()];
    match part {
        "crate" => *parts = root(),
        "self" if parts.is_empty() => *parts = [&root()[..], modules].concat(),
        "self" => {}
        "super" => {
            if parts.is_empty() {
                *parts = [&root()[..], modules].concat();
            }
            if parts.len() > 1 {
                parts.pop();
            }
        }
        part => parts.push(part.to_owned()),
    }
}

fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    let is_colon = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(mark)) if mark.as_char() == ':');
    is_colon(tokens.get(at)) && is_colon(tokens.get(at + 1))
}
