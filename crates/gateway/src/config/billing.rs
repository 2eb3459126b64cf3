//! The settings of payments and of mails about low balances.

use std::path::PathBuf;

use domain::credits::Credits;
use domain::stripe::message::cents;
use lettre::message::Mailbox;
use url::Url;

use super::read::{Reader, base_url};
use super::{Hidden, Secrets};

/// The least amount that Stripe takes: half a dollar.
const STRIPE_LEAST: Credits = Credits(500_000);

/// The largest amount that Stripe takes: eight digits of cents.
const STRIPE_MOST: Credits = Credits(999_999_990_000);

/// `[stripe]`
#[derive(Debug, Clone)]
pub struct StripeSettings {
    /// Where its API is, without a slash at the end.
    pub base_url: String,
    /// `STRIPE_SECRET_KEY`
    pub secret_key: Option<Hidden>,
    /// `STRIPE_WEBHOOK_SECRET`
    pub webhook_secret: Option<Hidden>,
    /// Where customers are sent who paid; `None` for this server.
    pub success_url: Option<String>,
    /// Where customers are sent who turned back; `None` for this server.
    pub cancel_url: Option<String>,
    /// The least that can be bought at once.
    pub amount_min: Credits,
    /// The most that can be bought at once.
    pub amount_max: Credits,
}

/// How a mail server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// In the clear until both have agreed on TLS, which is insisted on.
    StartTls,
    /// TLS from the first byte.
    Always,
    /// In the clear.
    Never,
}

/// How to log in.
#[derive(Debug, Clone)]
pub struct Login {
    /// The name.
    pub username: String,
    /// `SMTP_PASSWORD`
    pub password: Hidden,
}

/// `[smtp]`
#[derive(Debug, Clone)]
pub struct SmtpSettings {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub tls: SmtpTls,
    /// Certificates to trust besides the public roots.
    pub ca_file: Option<PathBuf>,
    /// How to log in, if at all.
    pub login: Option<Login>,
    /// Whom mails are from.
    pub from: Mailbox,
}

fn secret(secrets: &Secrets, name: &str) -> Option<Hidden> {
    let text = secrets.get(name)?;
    Some(Hidden::new(text.to_owned()))
}

pub(super) fn stripe(reader: &mut Reader, secrets: &Secrets) -> StripeSettings {
    let settings = StripeSettings {
        base_url: reader.parsed("stripe.base_url", base_url),
        secret_key: secret(secrets, "STRIPE_SECRET_KEY"),
        webhook_secret: secret(secrets, "STRIPE_WEBHOOK_SECRET"),
        success_url: reader.optional("stripe.success_url", page_url),
        cancel_url: reader.optional("stripe.cancel_url", page_url),
        amount_min: reader.parsed("stripe.amount_min", amount),
        amount_max: reader.parsed("stripe.amount_max", amount),
    };
    // One that could not be read is told of already.
    if (STRIPE_LEAST..settings.amount_min).contains(&settings.amount_max) {
        reader.note("stripe.amount_max", "must not be below stripe.amount_min");
    }
    settings
}

pub(super) fn smtp(reader: &mut Reader, secrets: &Secrets) -> Option<SmtpSettings> {
    let port = reader.int("smtp.port", 1..=65_535);
    let tls = reader.choice(
        "smtp.tls",
        &[
            ("starttls", SmtpTls::StartTls),
            ("tls", SmtpTls::Always),
            ("none", SmtpTls::Never),
        ],
    );
    let ca_file = reader.text_or_none("smtp.ca_file").map(PathBuf::from);
    let username = reader.text_or_none("smtp.username");
    let from: Option<Mailbox> = reader.optional("smtp.from", |text| {
        let mailbox = text.parse().ok();
        mailbox.ok_or("must be an address, such as Billing <billing@example.com>")
    });
    let host = reader.text_or_none("smtp.host")?;
    if from.is_none() && reader.text_or_none("smtp.from").is_none() {
        reader.note("smtp.from", "must be set when smtp.host is");
    }
    let login = username.and_then(|username| {
        let Some(password) = secret(secrets, "SMTP_PASSWORD") else {
            reader.note("smtp.username", "needs the variable SMTP_PASSWORD");
            return None;
        };
        Some(Login { username, password })
    });
    Some(SmtpSettings {
        host,
        port,
        tls,
        ca_file,
        login,
        from: from?,
    })
}

fn page_url(text: &str) -> Result<String, &'static str> {
    let url = Url::parse(text).ok();
    url.filter(|url| matches!(url.scheme(), "http" | "https"))
        .map(|_| text.to_owned())
        .ok_or("must be an http or https URL")
}

fn amount(text: &str) -> Result<Credits, &'static str> {
    const FORM: &str = "must be between 0.5 and 999999.99 with at most 2 decimal places";
    let credits = Credits::parse(text).map_err(|_| FORM)?;
    let is_sound = (STRIPE_LEAST..=STRIPE_MOST).contains(&credits) && cents(credits).is_some();
    is_sound.then_some(credits).ok_or(FORM)
}
