//! Saving the results of a task.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;
use tokio::fs;
use tokio::io::AsyncWriteExt;

use crate::client::{Client, ClientError};
use crate::output;

/// Where results go.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// Under names of our own.
    Folder(PathBuf),
    /// Under this name; further ones with a number.
    File(PathBuf),
    /// To stdout, one after the other.
    Stdout,
}

impl Target {
    /// A path is a folder when it is one, or ends like one.
    pub fn of(path: &Path) -> Self {
        let text = path.to_string_lossy();
        if text == "-" {
            Self::Stdout
        } else if path.is_dir() || text.ends_with('/') {
            Self::Folder(path.to_owned())
        } else {
            Self::File(path.to_owned())
        }
    }

    /// The path of a result, counted from 0.
    fn path(&self, model: &str, task: &str, ending: &str, index: usize) -> Option<PathBuf> {
        let number = match index {
            0 => String::new(),
            index => format!("-{}", index + 1),
        };
        match self {
            Self::Stdout => None,
            Self::Folder(folder) => {
                // The end of the id is its random part.
                let variant = model.rsplit('.').next().unwrap_or(model);
                let random = task.rsplit('-').next().unwrap_or(task);
                Some(folder.join(format!("{variant}-{random}{number}{ending}")))
            }
            Self::File(path) if index == 0 => Some(path.clone()),
            Self::File(path) => {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                let ending = path
                    .extension()
                    .map(|ending| format!(".{}", ending.to_string_lossy()));
                let ending = ending.unwrap_or_default();
                Some(path.with_file_name(format!("{stem}{number}{ending}")))
            }
        }
    }
}

/// Saves every result; the paths of the files.
pub async fn save(
    client: &Client,
    task: &Value,
    model: &str,
    target: &Target,
) -> anyhow::Result<Vec<PathBuf>> {
    let id = task["task_id"].as_str().unwrap_or_default();
    let urls = task["result_urls"].as_array().into_iter().flatten();
    let mut paths = Vec::new();
    for (index, url) in urls.filter_map(Value::as_str).enumerate() {
        match target.path(model, id, &ending(url), index) {
            Some(path) => {
                let written = write(client, url, &path).await;
                written.with_context(|| format!("{} is not saved", path.display()))?;
                paths.push(path);
            }
            None => {
                let mut download = client.download(url).await?;
                while let Some(bytes) = download.body.chunk().await? {
                    output::bytes(&bytes)?;
                }
            }
        }
    }
    Ok(paths)
}

/// `.png` of a link's last part, where it has a plain ending.
fn ending(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    match name.rsplit_once('.') {
        Some((_, ending))
            if (1..=5).contains(&ending.len())
                && ending.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
        {
            format!(".{ending}")
        }
        _ => String::new(),
    }
}

/// Writes beside the name first: a file under it is whole.
async fn write(client: &Client, url: &str, path: &Path) -> anyhow::Result<()> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder).await?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let copied = copy(client, url, &part).await;
    if let Err(error) = copied {
        let _ = fs::remove_file(&part).await;
        return Err(error);
    }
    Ok(fs::rename(&part, path).await?)
}

async fn copy(client: &Client, url: &str, part: &Path) -> anyhow::Result<()> {
    let mut download = client.download(url).await?;
    let mut file = fs::File::create(part).await?;
    let broken = |error: gateway::net::SendError| ClientError::Unreachable(error.to_string());
    while let Some(bytes) = download.body.chunk().await.map_err(broken)? {
        file.write_all(&bytes).await?;
    }
    Ok(file.sync_all().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sensible() {
        let (model, task) = (
            "video_generate.kling_2_6",
            "0199f3c2-0000-7000-8000-0123456789ab",
        );
        let folder = Target::of(Path::new("out/"));
        let path = |target: &Target, index| target.path(model, task, ".mp4", index).unwrap();
        assert_eq!(
            path(&folder, 0),
            Path::new("out/kling_2_6-0123456789ab.mp4")
        );
        assert_eq!(
            path(&folder, 1),
            Path::new("out/kling_2_6-0123456789ab-2.mp4")
        );
        let file = Target::of(Path::new("a/waves.mp4"));
        assert_eq!(path(&file, 0), Path::new("a/waves.mp4"));
        assert_eq!(path(&file, 2), Path::new("a/waves-3.mp4"));
        assert_eq!(Target::of(Path::new("-")), Target::Stdout);
        assert_eq!(
            Target::of(Path::new(".")),
            Target::Folder(PathBuf::from("."))
        );
    }

    #[test]
    fn endings_come_from_links() {
        assert_eq!(ending("http://a/results/x/image.png?b=c.d"), ".png");
        assert_eq!(ending("http://a/results/x/image"), "");
        assert_eq!(ending("http://a/b.c/../.."), "");
    }
}
