//! The catalogue as this deployment has it: the built-in files, the operator's over them, and the
//! settings of providers.

use std::collections::BTreeMap;
use std::path::Path;

use domain::catalogue::{Catalogue, SourceFile};
use include_dir::{Dir, include_dir};

use crate::config::Config;

static BUILT_IN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../catalogue");

/// The folders of a catalogue.
const FOLDERS: [&str; 2] = ["models", "providers"];

/// Loads it.
///
/// # Errors
/// Every problem of every file, a line each with its place.
pub fn load(config: &Config) -> Result<Catalogue, Vec<String>> {
    let mut files = BTreeMap::new();
    for folder in FOLDERS {
        for file in BUILT_IN.get_dir(folder).into_iter().flat_map(Dir::files) {
            let text = file.contents_utf8().unwrap_or_default();
            files.insert(file.path().display().to_string(), text.to_owned());
        }
        if let Some(root) = &config.catalogue.folder {
            files.extend(overlay(root, folder)?);
        }
    }
    let files: Vec<SourceFile> = files
        .into_iter()
        .map(|(path, text)| SourceFile { path, text })
        .collect();
    let dialects: Vec<&str> = dialects::DIALECTS.iter().map(|(name, _)| *name).collect();
    let catalogue = Catalogue::load(&files, &dialects);
    let mut catalogue = catalogue
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    for (id, settings) in &config.providers {
        let is_known = match &settings.base_url {
            Some(base_url) => catalogue.move_provider(id, base_url),
            None => catalogue.provider(id).is_some(),
        };
        if let Some(upload_url) = &settings.upload_url {
            catalogue.move_upload(id, upload_url);
        }
        if !is_known {
            // Not refused: settings outlive the catalogue they were written for.
            tracing::warn!(at = settings.at, "no provider is called {id}");
        }
    }
    Ok(catalogue
        .with_margin(config.prices.margin_bp)
        .with_failover(config.prices.failover_bp))
}

/// The operator's files of one folder, by their path in the catalogue.
fn overlay(root: &Path, folder: &str) -> Result<Vec<(String, String)>, Vec<String>> {
    let path = root.join(folder);
    let unreadable =
        |path: &Path, error: std::io::Error| vec![format!("{}: {error}", path.display())];
    let entries = match std::fs::read_dir(&path) {
        Ok(entries) => entries,
        // A folder with only models, or only providers, is fine; one with neither is a mistake.
        Err(_) if root.is_dir() => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(&path, error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(|error| unreadable(&path, error))?.path();
        let name = file.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|name| name.ends_with(".toml")) else {
            continue;
        };
        let text = std::fs::read_to_string(&file).map_err(|error| unreadable(&file, error))?;
        files.push((format!("{folder}/{name}"), text));
    }
    Ok(files)
}
