//! From files to a catalogue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::source::{Page, Section};
use super::{Catalogue, Model, Problem, Provider, SANDBOX, SourceFile, model_file, provider_file};
use crate::price::MARGIN_BP_NONE;

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
        let mut seen = BTreeSet::new();
        let mut providers = BTreeMap::from([(SANDBOX, Provider::sandbox())]);
        let mut models = BTreeMap::new();
        let mut problems = Vec::new();
        let mut later = Vec::new();
        for file in files {
            let page = Page::new(file);
            let subject = subject(&file.path);
            match subject {
                Some(subject) if !seen.insert(subject) => page.note(0, "the file is there twice"),
                Some(_) => {}
                None => page.note(0, "is neither models/<id>.toml nor providers/<id>.toml"),
            }
            match subject {
                Some(Subject::Provider(id)) => {
                    if let Some(provider) = read_provider(&page, id, dialects) {
                        providers.insert(id, provider);
                    }
                }
                // A model names providers, so they are read first.
                Some(Subject::Model(id)) => later.push((file, id)),
                None => {}
            }
            problems.extend(page.problems());
        }
        for (file, id) in later {
            let page = Page::new(file);
            if let Some(model) = read_model(&page, id, &providers, dialects) {
                models.insert(id.to_owned(), Arc::new(model));
            }
            problems.extend(page.problems());
        }
        if problems.is_empty() {
            let shared = |(id, provider): (&str, Provider)| (id.to_owned(), Arc::new(provider));
            let providers = providers.into_iter().map(shared).collect();
            return Ok(Self {
                models,
                providers,
                failover_bp: MARGIN_BP_NONE,
            });
        }
        problems.sort();
        problems.dedup();
        Err(problems)
    }
}

fn read_model(
    page: &Page<'_>,
    id: &str,
    providers: &BTreeMap<&str, Provider>,
    dialects: &[&str],
) -> Option<Model> {
    let table = page.parse()?;
    let root = Section::new(page, &table, 0, &model_file::KEYS);
    check_id(&root, id, is_model_id, "<function>.<variant>");
    model_file::model(&root, id, providers, dialects)
}

fn read_provider(page: &Page<'_>, id: &str, dialects: &[&str]) -> Option<Provider> {
    let table = page.parse()?;
    let root = Section::new(page, &table, 0, &provider_file::KEYS);
    check_id(&root, id, super::is_name, "one name");
    if id == SANDBOX {
        root.note("the provider sandbox is built in");
        return None;
    }
    Some(provider_file::provider(&root, id, dialects))
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
