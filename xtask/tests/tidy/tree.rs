//! The tracked files of a tree.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders that are never looked into where Git cannot say what is tracked.
const BUILT: [&str; 5] = [".git", "target", "data", "node_modules", "dist"];

/// Something to put right.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// From the root, with `/`.
    pub path: String,
    /// From 1; 0 stands for the whole file.
    pub line: usize,
    /// What is wrong, and what the rule is.
    pub what: String,
}

impl Problem {
    /// A problem at a line of a file.
    pub fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// The files that are checked.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    files: Vec<String>,
}

impl Tree {
    /// The tree of `TIDY_ROOT`, else the one this test was built from.
    pub fn open() -> Self {
        let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        let root = std::env::var_os("TIDY_ROOT").map_or_else(
            || built_from.expect("xtask lies in the root").to_owned(),
            PathBuf::from,
        );
        let mut files = tracked(&root).unwrap_or_else(|| walk(&root));
        files.retain(|file| root.join(file).is_file());
        files.sort();
        assert!(!files.is_empty(), "no files in {}", root.display());
        Self { root, files }
    }

    /// Paths of the files in a folder and below, from the root.
    pub fn under<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a str> {
        let files = self.files.iter().map(String::as_str);
        files.filter(move |file| file.starts_with(folder))
    }

    /// Whether there is such a file.
    pub fn has(&self, path: &str) -> bool {
        self.files.iter().any(|file| file == path)
    }

    /// The text of a file; `None` for what is not UTF-8.
    pub fn text(&self, path: &str) -> Option<String> {
        let bytes = std::fs::read(self.root.join(path)).expect("a tracked file can be read");
        String::from_utf8(bytes).ok()
    }
}

/// What Git tracks; `None` where there is no Git or no repository, as in an unpacked archive.
fn tracked(root: &Path) -> Option<Vec<String>> {
    let mut git = Command::new("git");
    // Whoever runs the tests need not own the files.
    git.args(["-c", "safe.directory=*", "-C"]).arg(root);
    let listed = git.args(["ls-files", "-z"]).output().ok()?;
    let listed = listed.status.success().then_some(listed.stdout)?;
    let listed = String::from_utf8(listed).ok()?;
    let files: Vec<_> = listed.split_terminator('\0').map(str::to_owned).collect();
    (!files.is_empty()).then_some(files)
}

fn walk(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).expect("a folder can be read");
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if !path.is_dir() {
                let relative = path.strip_prefix(root).expect("below the root");
                files.push(relative.to_string_lossy().into_owned());
            } else if !BUILT.iter().any(|built| name == *built) {
                folders.push(path);
            }
        }
    }
    files
}
