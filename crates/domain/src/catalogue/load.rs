//! From files to a catalogue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::source::{Page, Section};
use super::{Catalogue, Problem, Provider, SANDBOX, SourceFile, model_file, provider_file};

/// What a file describes, by its path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject<'f> {
    Model(&'f str),
    Provider(&'f str),
}

impl Catalogue {
    /// Reads a whole catalogue. The sandbox is always part of it.
    ///
    /// # Errors
    /// Everything that is wrong with any of the files, in the order of path and line.
    pub fn load(files: &[SourceFile], dialects: &[&str]) -> Result<Self, Vec<Problem>> {
        let named: BTreeSet<&str> = files
            .iter()
            .filter_map(|file| match subject(&file.path) {
                Some(Subject::Provider(id)) => Some(id),
                _ => None,
            })
            .chain([SANDBOX])
            .collect();
        let mut catalogue = Self {
            models: BTreeMap::new(),
            providers: BTreeMap::from([(SANDBOX.to_owned(), Arc::new(Provider::sandbox()))]),
        };
        let mut seen = BTreeSet::new();
        let mut problems = Vec::new();
        for file in files {
            let page = Page::new(file);
            match subject(&file.path) {
                Some(subject) => {
                    if !seen.insert(subject) {
                        page.note(0, "the file is there twice");
                    }
                    catalogue.read(&page, subject, &named, dialects);
                }
                None => page.note(0, "is neither models/<id>.toml nor providers/<id>.toml"),
            }
            problems.extend(page.problems());
        }
        if problems.is_empty() {
            return Ok(catalogue);
        }
        problems.sort();
        problems.dedup();
        Err(problems)
    }

    fn read(
        &mut self,
        page: &Page<'_>,
        subject: Subject<'_>,
        providers: &BTreeSet<&str>,
        dialects: &[&str],
    ) {
        let Some(table) = page.parse() else {
            return;
        };
        match subject {
            Subject::Model(id) => {
                let root = Section::new(page, &table, 0, &model_file::KEYS);
                check_id(&root, id, is_model_id, "<function>.<variant>");
                if let Some(model) = model_file::model(&root, id, providers) {
                    self.models.insert(id.to_owned(), Arc::new(model));
                }
            }
            Subject::Provider(id) => {
                let root = Section::new(page, &table, 0, &provider_file::KEYS);
                check_id(&root, id, super::is_name, "one name");
                if id == SANDBOX {
                    root.note("the provider sandbox is built in");
                    return;
                }
                let provider = provider_file::provider(&root, id, dialects);
                self.providers.insert(id.to_owned(), Arc::new(provider));
            }
        }
    }
}

fn subject(path: &str) -> Option<Subject<'_>> {
    let (folder, file) = path.split_once('/')?;
    let id = file.strip_suffix(".toml").filter(|id| !id.contains('/'))?;
    match folder {
        "models" => Some(Subject::Model(id)),
        "providers" => Some(Subject::Provider(id)),
        _ => None,
    }
}

fn check_id(root: &Section<'_>, file: &str, is_sound: fn(&str) -> bool, form: &str) {
    if !is_sound(file) {
        let message = format!(
            "the id must be {form}, in lower-case letters, digits and underscores, not {file}"
        );
        root.page.note(0, message);
    }
    if let Some(item) = root.demand("id")
        && item.text().is_some_and(|id| id != file)
    {
        item.note(format!("must be the file's name, {file}"));
    }
}

/// Lower-case letters, digits and underscores, with one dot inside.
fn is_model_id(id: &str) -> bool {
    id.split_once('.')
        .is_some_and(|(function, variant)| super::is_name(function) && super::is_name(variant))
}
