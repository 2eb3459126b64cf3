//! From named values to typed settings.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use domain::credits::Credits;
use domain::key::ApiKey;
use ipnet::IpNet;
use tracing_subscriber::EnvFilter;
use url::Url;

use super::layers::{Layers, Value};
use super::{
    BootstrapSettings, CatalogueSettings, Config, ConfigError, ConfigErrors, DatabaseSettings,
    EgressSettings, Hidden, LogFormat, LogSettings, MediaSettings, Options, PriceSettings,
    ProviderSettings, Role, Secrets, ServerSettings, TranslationSettings, WorkerSettings, billing,
};

/// Variables of other programs that object stores of Amazon's kind are set up by.
const AWS_PREFIX: &str = "AWS_";

/// The settings of the layers.
pub(super) fn config(mut layers: Layers, secrets: Secrets) -> Result<Config, ConfigErrors> {
    let problems = std::mem::take(&mut layers.problems);
    let mut reader = Reader { layers, problems };
    let config = Config {
        server: server(&mut reader),
        database: DatabaseSettings {
            url: Hidden::new(reader.parsed("database.url", database_url)),
        },
        media: media(&mut reader, &secrets),
        egress: EgressSettings {
            allow: reader.networks("egress.allow"),
        },
        bootstrap: bootstrap(&mut reader),
        worker: WorkerSettings {
            concurrency: reader.int("worker.concurrency", 1..=100_000),
        },
        catalogue: CatalogueSettings {
            folder: reader.text_or_none("catalogue.folder").map(PathBuf::from),
        },
        prices: PriceSettings {
            margin_bp: reader.parsed("prices.margin", basis_points),
            failover_bp: reader.parsed("prices.failover", basis_points),
        },
        translation: TranslationSettings {
            model: reader.text_or_none("translation.model"),
        },
        stripe: billing::stripe(&mut reader, &secrets),
        smtp: billing::smtp(&mut reader, &secrets),
        log: LogSettings {
            level: reader.parsed("log.level", level),
            format: reader.choice(
                "log.format",
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
            ),
        },
        providers: providers(&mut reader),
        secrets,
    };
    if reader.problems.is_empty() {
        return Ok(config);
    }
    Err(ConfigErrors(reader.problems))
}

fn server(reader: &mut Reader) -> ServerSettings {
    let per_ip: usize = reader.int("server.connections_per_ip_max", 0..=1_000_000);
    let drain_s: u64 = reader.int("server.drain_s", 0..=3_600);
    ServerSettings {
        listen: reader.parsed("server.listen", |text| {
            let listen = text.parse().ok();
            listen.ok_or("must be an address and a port, such as 0.0.0.0:8080 or [::]:8080")
        }),
        public_url: reader.optional("server.public_url", base_url),
        trusted_proxies: reader.networks("server.trusted_proxies"),
        role: reader.choice(
            "server.role",
            &[
                ("all", Role::All),
                ("api", Role::Api),
                ("worker", Role::Worker),
            ],
        ),
        connections_max: reader.int("server.connections_max", 1..=1_000_000),
        connections_per_ip_max: (per_ip > 0).then_some(per_ip),
        drain_ms: drain_s * 1_000,
    }
}

fn media(reader: &mut Reader, secrets: &Secrets) -> MediaSettings {
    let aws = secrets.starting_with(AWS_PREFIX);
    let aws = aws.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    let mut options: BTreeMap<String, String> = aws.collect();
    for (key, name) in [
        ("media.s3_endpoint", "aws_endpoint"),
        ("media.s3_region", "aws_region"),
        ("media.s3_access_key_id", "aws_access_key_id"),
        ("media.s3_secret_access_key", "aws_secret_access_key"),
    ] {
        if let Some(value) = reader.text_or_none(key) {
            options.insert(name.to_owned(), value);
        }
    }
    let endpoints = ["aws_endpoint", "aws_endpoint_url"];
    let is_plain = |name: &&str| {
        options
            .get(*name)
            .is_some_and(|url| url.starts_with("http://"))
    };
    // Whoever names an endpoint without TLS means it.
    if endpoints.iter().any(is_plain) {
        options.insert("aws_allow_http".to_owned(), "true".to_owned());
    }
    MediaSettings {
        url: reader.parsed("media.url", media_url),
        options: Options(options),
        retention_days: reader.int("media.retention_days", 1..=3_650),
        file_bytes_max: reader.int("media.file_bytes_max", 1_024..=i64::MAX),
        upload_bytes_max: reader.int("media.upload_bytes_max", 1_024..=i64::MAX),
    }
}

fn bootstrap(reader: &mut Reader) -> BootstrapSettings {
    BootstrapSettings {
        key: reader.optional("bootstrap.key", |text| {
            ApiKey::parse(text).ok_or("must have the form sk-t0-<public id>-<secret>")
        }),
        credits: reader.parsed("bootstrap.credits", |text| {
            let credits = Credits::parse(text).ok();
            let credits = credits.filter(|credits| *credits >= Credits::ZERO);
            credits.ok_or("must be a decimal number of credits, 0 or more")
        }),
    }
}

fn providers(reader: &mut Reader) -> BTreeMap<String, ProviderSettings> {
    let mut providers = BTreeMap::new();
    for id in reader.layers.providers() {
        let base_url = format!("providers.{id}.base_url");
        let enabled = format!("providers.{id}.enabled");
        let upload_url = format!("providers.{id}.upload_url");
        let at = [&base_url, &enabled, &upload_url].map(|key| reader.at(key));
        let settings = ProviderSettings {
            base_url: reader.optional(&base_url, self::base_url),
            upload_url: reader.optional(&upload_url, self::base_url),
            is_enabled: match reader.layers.get(&enabled).map(|setting| &setting.value) {
                Some(Value::Flag(flag)) => *flag,
                _ => true,
            },
            at: at.into_iter().flatten().next().unwrap_or_default(),
        };
        providers.insert(id, settings);
    }
    providers
}

pub(super) struct Reader {
    layers: Layers,
    problems: Vec<ConfigError>,
}

/// Every key read here is in the embedded file, with the kind it is read as; a test reads it whole.
impl Reader {
    fn text(&self, key: &str) -> String {
        match self.layers.get(key).map(|setting| &setting.value) {
            Some(Value::Text(text) | Value::Decimal(text)) => text.trim().to_owned(),
            _ => String::new(),
        }
    }

    pub(super) fn text_or_none(&self, key: &str) -> Option<String> {
        Some(self.text(key)).filter(|text| !text.is_empty())
    }

    pub(super) fn int<T: TryFrom<i64> + Default>(
        &mut self,
        key: &str,
        range: RangeInclusive<i64>,
    ) -> T {
        let int = match self.layers.get(key).map(|setting| &setting.value) {
            Some(Value::Int(int)) => *int,
            _ => 0,
        };
        let found = range.contains(&int).then(|| T::try_from(int).ok());
        found.flatten().unwrap_or_else(|| {
            let (least, most) = (range.start(), range.end());
            self.note(key, &format!("must be between {least} and {most}"));
            T::default()
        })
    }

    /// A text, or a decimal number as it is written.
    pub(super) fn parsed<T: Placeholder>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> T {
        parse(&self.text(key)).unwrap_or_else(|message| {
            self.note(key, message);
            T::placeholder()
        })
    }

    /// A text whose being empty means that it is not set.
    pub(super) fn optional<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        let text = self.text_or_none(key)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.note(key, message);
                None
            }
        }
    }

    pub(super) fn choice<T: Copy, const N: usize>(
        &mut self,
        key: &str,
        choices: &[(&str, T); N],
    ) -> T {
        let word = self.text(key);
        let found = choices.iter().find(|(known, _)| *known == word);
        if found.is_none() {
            let words = choices.map(|(known, _)| known).join(", ");
            self.note(key, &format!("must be one of {words}"));
        }
        found.map_or(choices[0].1, |(_, value)| *value)
    }

    fn networks(&mut self, key: &str) -> Vec<IpNet> {
        let items = match self.layers.get(key).map(|setting| &setting.value) {
            Some(Value::List(items)) => items.clone(),
            _ => Vec::new(),
        };
        let mut networks = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match network(item.trim()) {
                Some(network) => networks.push(network),
                None => {
                    let place = index + 1;
                    self.note(
                        key,
                        &format!("item {place} must be a CIDR such as 10.0.0.0/8"),
                    );
                }
            }
        }
        networks
    }

    fn at(&self, key: &str) -> Option<String> {
        self.layers.get(key).map(|setting| setting.at.clone())
    }

    pub(super) fn note(&mut self, key: &str, message: &str) {
        let at = self.at(key).unwrap_or_default();
        self.problems.push(ConfigError {
            at,
            message: format!("`{key}` {message}"),
        });
    }
}

/// What stands where a value could not be read; never seen, because the settings are refused.
pub(super) trait Placeholder {
    fn placeholder() -> Self;
}

impl Placeholder for String {
    fn placeholder() -> Self {
        Self::new()
    }
}

impl Placeholder for std::net::SocketAddr {
    fn placeholder() -> Self {
        Self::from(([127, 0, 0, 1], 0))
    }
}

impl Placeholder for u32 {
    fn placeholder() -> Self {
        0
    }
}

impl Placeholder for Credits {
    fn placeholder() -> Self {
        Self::ZERO
    }
}

/// A network, or a single address.
fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address)
}

pub(super) fn base_url(text: &str) -> Result<String, &'static str> {
    const FORM: &str = "must be an http or https URL without user, query and fragment";
    let url = Url::parse(text).map_err(|_| FORM)?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some_and(|host| !host.is_empty())
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !is_plain {
        return Err(FORM);
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn database_url(text: &str) -> Result<String, &'static str> {
    let starts = ["sqlite://", "postgres://", "postgresql://"];
    let is_known = |start: &&str| {
        text.strip_prefix(*start)
            .is_some_and(|rest| !rest.is_empty())
    };
    if !starts.iter().any(is_known) {
        return Err("must be sqlite://PATH or postgres://USER:PASSWORD@HOST/NAME");
    }
    Ok(text.to_owned())
}

fn media_url(text: &str) -> Result<String, &'static str> {
    let starts = ["file://", "s3://"];
    let is_known = |start: &&str| {
        text.strip_prefix(*start)
            .is_some_and(|rest| !rest.is_empty())
    };
    if !starts.iter().any(is_known) {
        return Err("must be file://FOLDER or s3://BUCKET/PREFIX");
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn basis_points(text: &str) -> Result<u32, &'static str> {
    const FORM: &str = "must be a decimal number between 0 and 1000 with at most 4 decimal places";
    let micros = Credits::parse(text).map_err(|_| FORM)?.0;
    if micros % 100 != 0 || !(0..=1_000_000_000).contains(&micros) {
        return Err(FORM);
    }
    u32::try_from(micros / 100).map_err(|_| FORM)
}

fn level(text: &str) -> Result<String, &'static str> {
    let filter = EnvFilter::try_new(text);
    filter.map_err(|_| "must be error, warn, info, debug, trace or directives such as a=debug")?;
    Ok(text.to_owned())
}
