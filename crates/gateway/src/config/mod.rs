//! The settings: the embedded defaults, a file over them, the environment over both.
//!
//! Invariant: read once, at the start; a setting that is unknown or wrong starts nothing, and every
//! problem is told at once. What is secret is never shown by `Debug`.

mod billing;
mod layers;
mod read;
mod secret;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use billing::{Login, SmtpSettings, SmtpTls, StripeSettings};
use domain::credits::Credits;
use domain::key::ApiKey;
use ipnet::IpNet;
use layers::Layers;
pub use secret::{Hidden, Options, Secrets};

/// The embedded file: every setting with its default and what it means.
pub const DEFAULTS: &str = include_str!("../../assets/routerbase.toml");

/// The file that is read where none is named.
const FILE: &str = "routerbase.toml";

/// What one setting is wrong about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {message}")]
pub struct ConfigError {
    /// `path:line`, or the name of a variable.
    pub at: String,
    /// What is wrong, for the operator; never the value.
    pub message: String,
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Answers requests and runs tasks.
    All,
    /// Answers requests.
    Api,
    /// Runs tasks; answers probes only.
    Worker,
}

impl Role {
    /// The role of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "all" => Some(Self::All),
            "api" => Some(Self::Api),
            "worker" => Some(Self::Worker),
            _ => None,
        }
    }

    /// Whether it answers requests.
    #[must_use]
    pub fn answers(self) -> bool {
        self != Self::Worker
    }

    /// Whether it runs tasks.
    #[must_use]
    pub fn works(self) -> bool {
        self != Self::Api
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Every setting.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[server]`
    pub server: ServerSettings,
    /// `[database]`
    pub database: DatabaseSettings,
    /// `[media]`
    pub media: MediaSettings,
    /// `[egress]`
    pub egress: EgressSettings,
    /// `[bootstrap]`
    pub bootstrap: BootstrapSettings,
    /// `[worker]`
    pub worker: WorkerSettings,
    /// `[catalogue]`
    pub catalogue: CatalogueSettings,
    /// `[prices]`
    pub prices: PriceSettings,
    /// `[translation]`
    pub translation: TranslationSettings,
    /// `[stripe]`
    pub stripe: StripeSettings,
    /// `[smtp]`; `None` without a host.
    pub smtp: Option<SmtpSettings>,
    /// `[log]`
    pub log: LogSettings,
    /// `[providers.<id>]`
    pub providers: BTreeMap<String, ProviderSettings>,
    /// The variables that are no settings; a provider file names the one with its secret.
    pub secrets: Secrets,
}

/// `[server]`
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Without a slash at the end; `None` for the bound address.
    pub public_url: Option<String>,
    /// Who may say who the client is.
    pub trusted_proxies: Vec<IpNet>,
    /// What this node does.
    pub role: Role,
    /// Most connections at the same time.
    pub connections_max: usize,
    /// Most connections from one address; `None` for any number.
    pub connections_per_ip_max: Option<usize>,
    /// How long requests under way may take to end.
    pub drain_ms: u64,
}

/// `[database]`
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// May hold a password.
    pub url: Hidden,
}

/// `[media]`
#[derive(Debug, Clone)]
pub struct MediaSettings {
    /// `file://FOLDER` or `s3://BUCKET/PREFIX`.
    pub url: String,
    /// Options of the object store, by the names it knows them by.
    pub options: Options,
    /// How long results can be fetched.
    pub retention_days: u32,
    /// The largest result.
    pub file_bytes_max: u64,
    /// The largest upload.
    pub upload_bytes_max: u64,
}

impl MediaSettings {
    /// The folder, where files are kept in one.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.url.strip_prefix("file://").map(Path::new)
    }
}

/// `[egress]`
#[derive(Debug, Clone)]
pub struct EgressSettings {
    /// Networks that outsiders' URLs may reach although they are not public.
    pub allow: Vec<IpNet>,
}

/// `[bootstrap]`
#[derive(Debug, Clone)]
pub struct BootstrapSettings {
    /// The first key; `None` for a random one.
    pub key: Option<ApiKey>,
    /// What the first account starts with.
    pub credits: Credits,
}

/// `[worker]`
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Most steps at the same time.
    pub concurrency: u32,
}

/// `[catalogue]`
#[derive(Debug, Clone)]
pub struct CatalogueSettings {
    /// Files over the built-in ones.
    pub folder: Option<PathBuf>,
}

/// `[prices]`
#[derive(Debug, Clone)]
pub struct PriceSettings {
    /// Factor on prices in basis points; 10 000 changes nothing.
    pub margin_bp: u32,
    /// What a fail-over may cost of what the client pays, in basis points; at least 10 000 counts.
    pub failover_bp: u32,
}

/// `[translation]`
#[derive(Debug, Clone)]
pub struct TranslationSettings {
    /// The chat model that translates prompts; `None` for no translations.
    pub model: Option<String>,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// A level or directives.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

/// `[providers.<id>]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSettings {
    /// Instead of the catalogue's; without a slash at the end.
    pub base_url: Option<String>,
    /// Where its upload of files is, instead of the catalogue's; without a slash at the end.
    pub upload_url: Option<String>,
    /// Whether it is used.
    pub is_enabled: bool,
    /// Where it is set, for complaints: `path:line` or the name of a variable.
    pub at: String,
}

impl Config {
    /// Reads the defaults, then `file` (else `./routerbase.toml` if it is there), then the variables.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let mut layers = Layers::defaults();
        let default = Path::new(FILE);
        if let Some(path) = file.or_else(|| default.exists().then_some(default)) {
            let shown = path.display().to_string();
            match std::fs::read_to_string(path) {
                Ok(text) => layers.add_file(&shown, &text),
                Err(error) => layers.note(shown, format!("cannot be read: {error}")),
            }
        }
        let mut secrets = Secrets::default();
        for (name, value) in env {
            if name.starts_with(layers::PREFIX) {
                layers.add_variable(&name, &value);
            } else {
                secrets.insert(name, value);
            }
        }
        read::config(layers, secrets)
    }
}

/// The process's variables; bytes that are no text are replaced.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| {
        let name = name.to_string_lossy().into_owned();
        (name, value.to_string_lossy().into_owned())
    })
}
