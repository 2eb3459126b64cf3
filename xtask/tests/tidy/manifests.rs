//! What the crates may depend on: the arrows between them.

use super::tree::{Problem, Tree};

/// What a crate may depend on outside its tests; a new name here is a decision to review.
const PURE: [(&str, &[&str]); 2] = [
    (
        "crates/domain",
        &[
            "base64",
            "hex",
            "hmac",
            "ipnet",
            "jiff",
            "ring",
            "serde",
            "serde_json",
            "sha2",
            "subtle",
            "thiserror",
            "toml",
            "url",
            "uuid",
        ],
    ),
    (
        "crates/dialects",
        &[
            "base64",
            "domain",
            "hex",
            "hmac",
            "serde",
            "serde_json",
            "sha2",
            "thiserror",
            "url",
        ],
    ),
];

/// What of the workspace a crate must not depend on.
const ARROWS: [(&str, &[&str]); 5] = [
    (
        "crates/domain",
        &["dialects", "gateway", "routerbase", "xtask"],
    ),
    ("crates/dialects", &["gateway", "routerbase", "xtask"]),
    ("crates/gateway", &["routerbase", "xtask"]),
    ("crates/cli", &["xtask"]),
    ("xtask", &["domain", "dialects", "gateway", "routerbase"]),
];

/// Dependencies of every crate.
pub fn check(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (folder, pure) in PURE {
        for found in dependencies(tree, folder, &["dependencies", "build-dependencies"]) {
            if !pure.contains(&found.name.as_str()) {
                let why = "not among the pure dependencies in tidy/manifests.rs";
                problems.push(found.problem(why));
            }
        }
    }
    let all = ["dependencies", "build-dependencies", "dev-dependencies"];
    for (folder, banned) in ARROWS {
        for found in dependencies(tree, folder, &all) {
            if banned.contains(&found.name.as_str()) {
                problems.push(found.problem("against the arrows between the crates"));
            }
        }
    }
    problems
}

struct Dependency {
    manifest: String,
    line: usize,
    name: String,
}

impl Dependency {
    fn problem(&self, why: &str) -> Problem {
        Problem::new(&self.manifest, self.line, format!("`{}`: {why}", self.name))
    }
}

fn dependencies(tree: &Tree, folder: &str, tables: &[&str]) -> Vec<Dependency> {
    let manifest = format!("{folder}/Cargo.toml");
    if !tree.has(&manifest) {
        return Vec::new();
    }
    let text = tree.text(&manifest).unwrap_or_default();
    let parsed: toml::Table = toml::from_str(&text).expect("Cargo reads it too");
    let mut found = Vec::new();
    for table in tables {
        let Some(toml::Value::Table(table)) = parsed.get(*table) else {
            continue;
        };
        for name in table.keys() {
            let is_it = |line: &str| line.starts_with(name.as_str());
            let line = text.lines().position(is_it).map_or(0, |line| line + 1);
            found.push(Dependency {
                manifest: manifest.clone(),
                line,
                name: name.clone(),
            });
        }
    }
    found
}
