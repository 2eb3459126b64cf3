//! Looking for what would keep a gateway from working, before it does.

mod providers;

use std::path::Path;
use std::process::Command;

use clap::Args;
use gateway::app::load_catalogue;
use gateway::clock::{Clock, DIFFERENCE_MS_MAX, rfc3339};
use gateway::config::{Config, ConfigErrors, Role};
use gateway::media::{Media, MediaSettings};
use gateway::store::db::Location;
use gateway::store::{Access, MIGRATIONS, Store, StoreError};
use url::Url;

use crate::client::Connection;
use crate::{FAILED, Failure, Settings, USAGE, output};

/// Before this program was written: no clock may say so.
const CLOCK_MS_MIN: i64 = 1_760_000_000_000;

/// Free space below which it fails, or warns, in KiB.
const FREE_KIB_FAIL: u64 = 100 << 10;
const FREE_KIB_WARN: u64 = 2 << 20;

/// Check settings, database, media, catalogue, providers and machine
#[derive(Debug, Args)]
#[command(
    after_help = "A line for each check: ok, warn or fail, with what to do. Nothing is changed, but an
empty folder for media is made and a probe file written in it.
With an operator's key, the gateway that runs is asked how the providers fare.
Exit code 1 when something fails, 2 when the settings are wrong.

Example:
  routerbase doctor --config /etc/routerbase.toml"
)]
pub struct Doctor {
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// What the checks found so far.
#[derive(Default)]
struct Findings {
    warnings: usize,
    failures: usize,
}

impl Findings {
    /// A line, with what to do where something is wrong.
    fn tell(
        &mut self,
        verdict: Verdict,
        subject: &str,
        text: &str,
        hint: &str,
    ) -> anyhow::Result<()> {
        let word = match verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => {
                self.warnings += 1;
                "warn"
            }
            Verdict::Fail => {
                self.failures += 1;
                "fail"
            }
        };
        output::line(&format!("{word:<5} {subject:<10} {text}"))?;
        if verdict != Verdict::Ok && !hint.is_empty() {
            output::line(&format!("{:>17}-> {hint}", ""))?;
        }
        Ok(())
    }

    fn ok(&mut self, subject: &str, text: &str) -> anyhow::Result<()> {
        self.tell(Verdict::Ok, subject, text, "")
    }
}

impl Doctor {
    pub async fn run(self, settings: &Settings) -> anyhow::Result<()> {
        let mut findings = Findings::default();
        let config = match settings.load() {
            Ok(config) => config,
            Err(ConfigErrors(errors)) => {
                for error in errors {
                    let hint = "`routerbase config` lists every setting";
                    findings.tell(Verdict::Fail, "settings", &error.to_string(), hint)?;
                }
                return Err(Failure::new(USAGE, "the settings are wrong").into());
            }
        };
        findings.ok("settings", "read")?;
        address(&config, &mut findings)?;
        database(&config, &mut findings).await?;
        media(&config, &mut findings).await?;
        match load_catalogue(&config) {
            Ok(catalogue) => {
                let (models, providers) =
                    (catalogue.models().count(), catalogue.providers().count());
                let text = format!("{models} models, {providers} providers");
                findings.ok("catalogue", &text)?;
                providers::settings(&config, &catalogue, &mut findings)?;
            }
            Err(problems) => {
                for problem in problems {
                    let hint = "correct the file; the built-in ones are sound";
                    findings.tell(Verdict::Fail, "catalogue", &problem, hint)?;
                }
            }
        }
        providers::running(&self.connection, &mut findings).await?;
        machine(&config, &mut findings)?;
        let Findings { warnings, failures } = findings;
        if failures > 0 {
            let message = format!("{failures} checks failed, {warnings} warnings");
            return Err(Failure::new(FAILED, message).into());
        }
        output::complain(&format!("all is well, {warnings} warnings"));
        Ok(())
    }
}

fn address(config: &Config, findings: &mut Findings) -> anyhow::Result<()> {
    let server = &config.server;
    let (listen, public_url) = (server.listen, server.public_url.as_deref());
    match public_url {
        Some(url) => findings.ok("address", &format!("{listen}, public as {url}")),
        None if listen.ip().is_loopback() || server.role == Role::Worker => {
            findings.ok("address", &format!("{listen}, only for this machine"))
        }
        None => {
            let text = format!("links to results would start with http://{listen}");
            let hint = "set server.public_url to the address clients use";
            findings.tell(Verdict::Warn, "address", &text, hint)
        }
    }
}

/// The database without its password.
fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) if url.scheme() != "sqlite" => {
            let (host, path) = (url.host_str().unwrap_or_default(), url.path());
            format!("{}://{host}{path}", url.scheme())
        }
        _ => url.split('?').next().unwrap_or_default().to_owned(),
    }
}

async fn database(config: &Config, findings: &mut Findings) -> anyhow::Result<()> {
    let url = config.database.url.reveal();
    let place = shown(url);
    if let Some(Location::Sqlite(path)) = Location::parse(url)
        && !path.exists()
    {
        let text = format!("{place} is not there yet");
        let hint = "`routerbase serve` or `routerbase migrate` makes it";
        return findings.tell(Verdict::Warn, "database", &text, hint);
    }
    let schema = match Store::connect(url, Access::Beside).await {
        Ok(store) => {
            let schema = store.any_schema_version().await;
            clocks(&store, findings).await?;
            schema
        }
        Err(error) => Err(error),
    };
    let known = MIGRATIONS.last().map_or(0, |last| last.version);
    match schema {
        Ok(version) if version == known => {
            findings.ok("database", &format!("{place}, schema {version}"))
        }
        Ok(version) if version < known => {
            let text = format!("{place} has schema {version}, this program knows {known}");
            let hint = "`routerbase serve` or `routerbase migrate` brings it up to date";
            findings.tell(Verdict::Warn, "database", &text, hint)
        }
        Ok(version) => {
            let text = format!("{place} has schema {version}, this program knows only {known}");
            findings.tell(Verdict::Fail, "database", &text, "use a newer program")
        }
        Err(error) => {
            let hint = match error {
                StoreError::Unavailable(_) => {
                    "is it running, and are database.url and rights right?"
                }
                _ => "is it a database of RouterBase?",
            };
            findings.tell(
                Verdict::Fail,
                "database",
                &format!("{place}: {error}"),
                hint,
            )
        }
    }
}

/// Nodes compare instants that others wrote; all they have in common is the database's clock.
async fn clocks(store: &Store, findings: &mut Findings) -> anyhow::Result<()> {
    let Ok(Some(database_ms)) = store.any_clock_ms().await else {
        return Ok(());
    };
    let lead_ms = database_ms.saturating_sub(Clock::system().now_ms());
    let text = format!("the database's is {lead_ms} ms ahead of this machine's");
    if lead_ms.unsigned_abs() <= DIFFERENCE_MS_MAX.unsigned_abs() {
        return findings.ok("clock", &text);
    }
    let hint = "run an NTP client on every node, and on the database's machine";
    findings.tell(Verdict::Warn, "clock", &text, hint)
}

async fn media(config: &Config, findings: &mut Findings) -> anyhow::Result<()> {
    let media = &config.media;
    let opened = Media::open(
        MediaSettings {
            url: media.url.clone(),
            options: media.options.0.clone().into_iter().collect(),
            retention_ms: i64::from(media.retention_days).saturating_mul(86_400_000),
            bytes_max: media.file_bytes_max,
        },
        "a probe derives no names",
    );
    let probed = match opened {
        Ok(opened) => opened.probe().await,
        Err(error) => Err(error),
    };
    match probed {
        Ok(()) => findings.ok("media", &format!("{} takes files", media.url)),
        Err(error) => {
            let hint = match media.folder() {
                Some(_) => "may this user write there?",
                None => "are endpoint, region and keys right? see [media] in `routerbase config`",
            };
            findings.tell(
                Verdict::Fail,
                "media",
                &format!("{}: {error}", media.url),
                hint,
            )
        }
    }
}

fn machine(config: &Config, findings: &mut Findings) -> anyhow::Result<()> {
    let ffmpeg = Command::new("ffmpeg").arg("-version").output();
    if ffmpeg.is_ok_and(|output| output.status.success()) {
        findings.ok("ffmpeg", "is installed")?;
    } else {
        let text = "is not installed: watermarks on videos are refused where the provider has none";
        findings.tell(
            Verdict::Warn,
            "ffmpeg",
            text,
            "install ffmpeg, if you want them",
        )?;
    }
    let mut folders = Vec::new();
    if let Some(Location::Sqlite(path)) = Location::parse(config.database.url.reveal()) {
        folders.extend(path.parent().map(Path::to_owned));
    }
    folders.extend(config.media.folder().map(Path::to_owned));
    for folder in folders {
        disk(&folder, findings)?;
    }
    let now_ms = Clock::system().now_ms();
    if now_ms < CLOCK_MS_MIN {
        let text = format!("says {}", rfc3339(now_ms));
        return findings.tell(Verdict::Fail, "clock", &text, "set it; run an NTP client");
    }
    findings.ok("clock", &rfc3339(now_ms))
}

fn disk(folder: &Path, findings: &mut Findings) -> anyhow::Result<()> {
    let shown = folder.display();
    let Some(kib) = free_kib(folder) else {
        let text = format!("free space of {shown} is not known");
        return findings.tell(Verdict::Warn, "disk", &text, "look at it yourself");
    };
    let text = format!(
        "{:.1} GiB free for {shown}",
        kib as f64 / f64::from(1 << 20)
    );
    let verdict = match kib {
        0..FREE_KIB_FAIL => Verdict::Fail,
        FREE_KIB_FAIL..FREE_KIB_WARN => Verdict::Warn,
        _ => Verdict::Ok,
    };
    findings.tell(
        verdict,
        "disk",
        &text,
        "free some, or shorten media.retention_days",
    )
}

/// Free space where a folder is, or will be; the system's own tool knows it.
fn free_kib(folder: &Path) -> Option<u64> {
    let existing = folder.ancestors().find(|path| path.is_dir());
    let existing = existing.unwrap_or(Path::new("."));
    let output = Command::new("df").arg("-Pk").arg(existing).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(
            shown("postgres://u:hush@db:5432/rb?sslmode=x"),
            "postgres://db/rb"
        );
        assert_eq!(shown("sqlite://./data/rb.db"), "sqlite://./data/rb.db");
    }
}
