//! What is read, what is refused, and that nothing secret is shown.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::*;

fn load(variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    load_with(None, variables)
}

fn load_with(file: Option<&Path>, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let pairs = variables.iter();
    Config::load(
        file,
        pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    )
}

/// A file that is removed at the end.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("routerbase-config-{}-{name}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn the_embedded_file_is_the_default() {
    let config = load(&[]).unwrap();
    assert_eq!(config.server.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.server.public_url, None);
    assert!(config.server.trusted_proxies.is_empty());
    assert_eq!(config.server.role, Role::All);
    assert_eq!(config.server.connections_max, 10_000);
    assert_eq!(config.server.connections_per_ip_max, None);
    assert_eq!(config.server.drain_ms, 30_000);
    assert_eq!(
        config.database.url.reveal(),
        "sqlite://./data/routerbase.db"
    );
    assert_eq!(config.media.url, "file://./data/media");
    assert_eq!(config.media.folder(), Some(Path::new("./data/media")));
    assert_eq!(config.media.options, Options::default());
    assert_eq!(config.media.retention_days, 14);
    assert_eq!(config.media.file_bytes_max, 2 << 30);
    assert_eq!(config.media.upload_bytes_max, 100 << 20);
    assert!(config.egress.allow.is_empty());
    assert_eq!(config.bootstrap.key, None);
    assert_eq!(config.bootstrap.credits, Credits(100_000_000));
    assert_eq!(config.worker.concurrency, 256);
    assert_eq!(config.catalogue.folder, None);
    assert_eq!(config.prices.margin_bp, 10_000);
    assert_eq!(config.prices.failover_bp, 20_000);
    let stripe = &config.stripe;
    assert_eq!(stripe.base_url, "https://api.stripe.com");
    assert!(stripe.secret_key.is_none() && stripe.webhook_secret.is_none());
    assert!(stripe.success_url.is_none() && stripe.cancel_url.is_none());
    let bounds = (stripe.amount_min, stripe.amount_max);
    assert_eq!(bounds, (Credits(1_000_000), Credits(10_000_000_000)));
    assert!(config.smtp.is_none());
    assert_eq!(config.log.level, "info");
    assert_eq!(config.log.format, LogFormat::Text);
    assert!(config.providers.is_empty());
}

#[test]
fn every_setting_has_a_comment() {
    let mut before = "";
    for line in DEFAULTS.lines() {
        let is_setting = line.contains(" = ") && !line.starts_with('#');
        let is_explained = before.starts_with('#') || before.starts_with("s3_");
        assert!(!is_setting || is_explained, "{line}");
        before = line;
    }
}

#[test]
fn every_setting_can_be_a_variable() {
    let config = load(&[
        ("ROUTERBASE_SERVER__LISTEN", "0.0.0.0:0"),
        ("ROUTERBASE_SERVER__PUBLIC_URL", "https://ai.example.com/"),
        ("ROUTERBASE_SERVER__TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
        ("ROUTERBASE_SERVER__ROLE", "worker"),
        ("ROUTERBASE_SERVER__CONNECTIONS_MAX", "5"),
        ("ROUTERBASE_SERVER__CONNECTIONS_PER_IP_MAX", "2"),
        ("ROUTERBASE_SERVER__DRAIN_S", "7"),
        ("ROUTERBASE_DATABASE__URL", "postgres://u:hush@db/rb"),
        ("ROUTERBASE_MEDIA__URL", "s3://bucket/some/prefix"),
        ("ROUTERBASE_MEDIA__RETENTION_DAYS", "30"),
        ("ROUTERBASE_MEDIA__FILE_BYTES_MAX", "4096"),
        ("ROUTERBASE_MEDIA__UPLOAD_BYTES_MAX", "2048"),
        ("ROUTERBASE_MEDIA__S3_ENDPOINT", "http://minio:9000"),
        ("ROUTERBASE_MEDIA__S3_REGION", "eu-central-1"),
        ("ROUTERBASE_MEDIA__S3_ACCESS_KEY_ID", "hush-id"),
        ("AWS_SECRET_ACCESS_KEY", "hush-aws"),
        ("ROUTERBASE_EGRESS__ALLOW", "127.0.0.0/8,10.1.0.0/16"),
        ("ROUTERBASE_BOOTSTRAP__KEY", "sk-t0-first-hush0123456789"),
        ("ROUTERBASE_BOOTSTRAP__CREDITS", "2.5"),
        ("ROUTERBASE_WORKER__CONCURRENCY", "8"),
        ("ROUTERBASE_CATALOGUE__FOLDER", "/etc/routerbase"),
        ("ROUTERBASE_PRICES__MARGIN", "1.25"),
        ("ROUTERBASE_LOG__LEVEL", "warn,gateway=debug"),
        ("ROUTERBASE_LOG__FORMAT", "json"),
        ("ROUTERBASE_PROVIDERS__KIE__BASE_URL", "http://127.0.0.1:9/"),
        (
            "ROUTERBASE_PROVIDERS__KIE__UPLOAD_URL",
            "http://127.0.0.1:10/",
        ),
        ("ROUTERBASE_PROVIDERS__MY__OWN__ENABLED", "false"),
        ("KIE_API_KEY", "hush-kie"),
        ("ROUTERBASE_URL", "http://client"),
        ("ROUTERBASE_API_KEY", "hush-client"),
    ])
    .unwrap();
    assert_eq!(config.server.listen.port(), 0);
    let public_url = config.server.public_url.as_deref();
    assert_eq!(public_url, Some("https://ai.example.com"));
    assert_eq!(config.server.trusted_proxies.len(), 2);
    assert!(config.server.role.works() && !config.server.role.answers());
    assert_eq!(config.server.connections_max, 5);
    assert_eq!(config.server.connections_per_ip_max, Some(2));
    assert_eq!(config.server.drain_ms, 7_000);
    assert_eq!(config.database.url.reveal(), "postgres://u:hush@db/rb");
    assert_eq!(config.media.folder(), None);
    let options = &config.media.options.0;
    assert_eq!(options["aws_endpoint"], "http://minio:9000");
    assert_eq!(options["aws_region"], "eu-central-1");
    assert_eq!(options["aws_access_key_id"], "hush-id");
    assert_eq!(options["aws_secret_access_key"], "hush-aws");
    assert_eq!(options["aws_allow_http"], "true");
    assert_eq!(config.egress.allow.len(), 2);
    assert_eq!(config.bootstrap.credits, Credits(2_500_000));
    assert!(config.bootstrap.key.is_some());
    assert_eq!(config.prices.margin_bp, 12_500);
    assert_eq!(config.log.format, LogFormat::Json);
    let kie = config.providers["kie"].base_url.as_deref();
    assert_eq!(kie, Some("http://127.0.0.1:9"));
    let upload = config.providers["kie"].upload_url.as_deref();
    assert_eq!(upload, Some("http://127.0.0.1:10"));
    assert!(!config.providers["my__own"].is_enabled);
    assert_eq!(config.secrets.get("KIE_API_KEY"), Some("hush-kie"));
    let at = &config.providers["my__own"].at;
    assert_eq!(at, "ROUTERBASE_PROVIDERS__MY__OWN__ENABLED");
    assert!(!format!("{config:?}").contains("hush"), "{config:?}");
}

#[test]
fn variables_stand_over_the_file_and_the_file_over_the_defaults() {
    let text = "[server]\nlisten = \"127.0.0.1:1\"\nrole = \"api\"\n[prices]\nmargin = 2\n\
        [providers.fal]\nenabled = false\n";
    let file = File::new("layers", text);
    let variables = [("ROUTERBASE_SERVER__LISTEN", "127.0.0.1:2")];
    let config = load_with(Some(&file.0), &variables).unwrap();
    assert_eq!(config.server.listen.port(), 2);
    assert_eq!(config.server.role, Role::Api);
    assert_eq!(config.prices.margin_bp, 20_000);
    assert!(!config.providers["fal"].is_enabled);
    assert_eq!(config.worker.concurrency, 256);
}

#[test]
fn all_problems_are_told_at_once_with_their_places() {
    let text = "[server]\nlisten = 8080\nlistne = \"x\"\n\n[worker]\nconcurrency = 0\n[nosuch]\n\
        [providers.kie]\nsecret = \"hush\"\n[providers]\nfal = 1\n";
    let file = File::new("problems", text);
    let path = file.0.display();
    let variables = [
        ("ROUTERBASE_SERVER__NOPE", "hush"),
        ("ROUTERBASE_LISTEN", "hush"),
        ("ROUTERBASE_WORKER__CONCURRENCY_", "hush"),
        ("ROUTERBASE_MEDIA__RETENTION_DAYS", "hush"),
        ("ROUTERBASE_DATABASE__URL", "mysql://u:hush@x"),
        ("ROUTERBASE_BOOTSTRAP__KEY", "hush"),
        ("ROUTERBASE_EGRESS__ALLOW", "10.0.0.0/8,hush"),
        ("ROUTERBASE_PRICES__MARGIN", "1.00001"),
        ("ROUTERBASE_PROVIDERS__KIE__BASE_URL", "ftp://hush"),
        ("ROUTERBASE_LOG__LEVEL", "a=b=c"),
    ];
    let errors = load_with(Some(&file.0), &variables).unwrap_err();
    let shown = errors.to_string();
    let places = [2, 3, 6, 7, 9, 11].map(|line| format!("{path}:{line}: "));
    let names = variables.iter().map(|(name, _)| format!("{name}: "));
    for place in places.into_iter().chain(names) {
        assert!(shown.contains(&place), "{place} is not in\n{shown}");
    }
    assert_eq!(errors.0.len(), 16, "{shown}");
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn payments_and_mails_are_set_up_by_variables() {
    let config = load(&[
        ("ROUTERBASE_STRIPE__BASE_URL", "http://127.0.0.1:12111/"),
        (
            "ROUTERBASE_STRIPE__SUCCESS_URL",
            "https://shop.example/?p=1",
        ),
        ("ROUTERBASE_STRIPE__CANCEL_URL", "https://shop.example/"),
        ("ROUTERBASE_STRIPE__AMOUNT_MIN", "0.5"),
        ("ROUTERBASE_STRIPE__AMOUNT_MAX", "20"),
        ("STRIPE_SECRET_KEY", "sk_hush"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_hush"),
        ("ROUTERBASE_SMTP__HOST", "mail.example.com"),
        ("ROUTERBASE_SMTP__PORT", "465"),
        ("ROUTERBASE_SMTP__TLS", "tls"),
        ("ROUTERBASE_SMTP__USERNAME", "billing"),
        ("SMTP_PASSWORD", "hush-mail"),
        ("ROUTERBASE_SMTP__FROM", "Billing <billing@example.com>"),
    ])
    .unwrap();
    let stripe = &config.stripe;
    assert_eq!(stripe.base_url, "http://127.0.0.1:12111");
    let page = stripe.success_url.as_deref();
    assert_eq!(page, Some("https://shop.example/?p=1"));
    assert_eq!(stripe.amount_min, Credits(500_000));
    let key = stripe.secret_key.as_ref().map(Hidden::reveal);
    assert_eq!(key, Some("sk_hush"));
    let smtp = config.smtp.as_ref().unwrap();
    assert_eq!((smtp.port, smtp.tls), (465, SmtpTls::Always));
    assert_eq!(smtp.from.email.to_string(), "billing@example.com");
    let login = smtp.login.as_ref().unwrap();
    assert_eq!(login.password.reveal(), "hush-mail");
    assert!(!format!("{config:?}").contains("hush"), "{config:?}");
}

#[test]
fn payments_and_mails_are_set_up_whole_or_not_at_all() {
    let wrong = |variables: &[(&str, &str)], name: &str| {
        let errors = load(variables).unwrap_err();
        assert_eq!(errors.0.len(), 1, "{errors}");
        assert!(errors.to_string().contains(name), "{errors}");
    };
    for amount in ["0.49", "1000000", "1.005", "x", "-1"] {
        wrong(
            &[("ROUTERBASE_STRIPE__AMOUNT_MAX", amount)],
            "stripe.amount_max",
        );
    }
    wrong(
        &[("ROUTERBASE_STRIPE__AMOUNT_MIN", "10000.01")],
        "stripe.amount_max",
    );
    wrong(
        &[("ROUTERBASE_STRIPE__SUCCESS_URL", "/paid")],
        "stripe.success_url",
    );
    let host = ("ROUTERBASE_SMTP__HOST", "mail.example.com");
    wrong(&[host], "smtp.from");
    wrong(&[host, ("ROUTERBASE_SMTP__FROM", "nobody")], "smtp.from");
    let from = ("ROUTERBASE_SMTP__FROM", "a@example.com");
    let name = ("ROUTERBASE_SMTP__USERNAME", "a");
    wrong(&[host, from, name], "SMTP_PASSWORD");
    wrong(&[host, from, ("ROUTERBASE_SMTP__TLS", "ssl")], "smtp.tls");
    assert!(load(&[host, from]).unwrap().smtp.is_some());
}

#[test]
fn a_file_that_is_named_must_be_there_and_be_toml() {
    let errors = load_with(Some(Path::new("/nowhere/rb.toml")), &[]).unwrap_err();
    assert!(errors.to_string().contains("cannot be read"), "{errors}");
    let file = File::new("broken", "[server\nlisten =");
    let errors = load_with(Some(&file.0), &[]).unwrap_err();
    assert!(errors.to_string().contains("not valid TOML"), "{errors}");
}

#[test]
fn blank_variables_are_not_set() {
    let config = load(&[
        ("ROUTERBASE_SERVER__PUBLIC_URL", ""),
        ("ROUTERBASE_EGRESS__ALLOW", ""),
        ("KIE_API_KEY", " "),
    ])
    .unwrap();
    assert_eq!(config.server.public_url, None);
    assert_eq!(config.secrets.get("KIE_API_KEY"), None);
}
