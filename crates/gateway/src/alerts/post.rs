//! One mail, handed to the operator's server.
//!
//! Invariant: the one place that speaks SMTP. Where TLS is wanted nothing is said without it; no
//! secret is shown by `Debug`.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls as LettreTls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tokio::time::timeout;

use crate::clock::rfc3339;
use crate::store::mails::Mail;

/// Time for a whole conversation, name and connection included, in milliseconds; well below a lease.
const TIMEOUT_MS: u64 = 15_000;

/// Longest address, in bytes (RFC 5321, section 4.5.3.1.3, less the brackets).
const ADDRESS_BYTES_MAX: usize = 254;

/// Replies that say that *we* may not send, whoever the mail is for (RFC 4954, section 6): the
/// operator can mend that.
const LOGIN_REPLIES: [u16; 4] = [530, 534, 535, 538];

/// How the server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// In the clear until both have agreed on TLS, which is insisted on.
    StartTls,
    /// TLS from the first byte.
    Always,
    /// In the clear.
    Never,
}

/// How to log in.
#[derive(Clone)]
pub struct Login {
    /// The name.
    pub username: String,
    /// The password.
    pub password: String,
}

/// What the operator chose.
#[derive(Clone)]
pub struct MailSettings {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub tls: Tls,
    /// Certificates to trust besides the public roots, as PEM; may be empty.
    pub roots: Vec<u8>,
    /// How to log in, if at all.
    pub login: Option<Login>,
    /// Whom mails are from.
    pub from: Mailbox,
    /// Where the gateway is reached, without a slash at the end.
    pub public_url: String,
}

/// Why mails cannot be sent at all.
#[derive(Debug, thiserror::Error)]
#[error("mails cannot be sent: {0}")]
pub struct MailError(String);

impl MailError {
    /// For this reason.
    #[must_use]
    pub fn new(reason: String) -> Self {
        Self(reason)
    }
}

/// Why a mail was not sent, with the reason for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsent {
    /// The server does not want it, now or later.
    #[error("refused: {0}")]
    Refused(String),
    /// It may be taken another time.
    #[error("{0}")]
    NotNow(String),
}

/// Sends mails.
pub struct Post {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    public_url: String,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

impl Post {
    /// A sender over the operator's server; connects for each mail.
    ///
    /// # Errors
    /// The certificates cannot be used.
    pub fn new(settings: MailSettings) -> Result<Self, MailError> {
        let MailSettings {
            host,
            port,
            tls,
            roots,
            login,
            from,
            public_url,
        } = settings;
        let ours = || parameters(&host, &roots).map_err(|error| MailError(error.to_string()));
        let tls = match tls {
            Tls::StartTls => LettreTls::Required(ours()?),
            Tls::Always => LettreTls::Wrapper(ours()?),
            Tls::Never => LettreTls::None,
        };
        // The name of the machine is nobody's concern, and often none that a server believes.
        let name = ClientId::Domain(from.email.domain().to_owned());
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host.clone())
            .port(port)
            .tls(tls)
            .hello_name(name);
        if let Some(Login { username, password }) = login {
            builder = builder.credentials(Credentials::new(username, password));
        }
        Ok(Self {
            transport: builder.build(),
            from,
            public_url,
        })
    }

    /// Sends a mail once.
    pub(super) async fn send(&self, mail: &Mail) -> Result<(), Unsent> {
        let message = self.message(mail)?;
        let limit = Duration::from_millis(TIMEOUT_MS);
        let sent = timeout(limit, self.transport.send(message)).await;
        let sent = sent.map_err(|_| Unsent::NotNow("the server took too long".to_owned()))?;
        sent.map(drop).map_err(|error| {
            let status = error.status().map(u16::from);
            let is_ours = status.is_some_and(|status| LOGIN_REPLIES.contains(&status));
            match error.is_permanent() && !is_ours {
                true => Unsent::Refused(error.to_string()),
                false => Unsent::NotNow(error.to_string()),
            }
        })
    }

    /// The same bytes at every try.
    fn message(&self, mail: &Mail) -> Result<Message, Unsent> {
        let unfit = |error: &dyn fmt::Display| Unsent::Refused(format!("no mail: {error}"));
        let to: Address = mail.email.parse().map_err(|error| unfit(&error))?;
        let crossed_ms = u64::try_from(mail.crossed_ms).unwrap_or(0);
        let domain = self.from.email.domain();
        let auto = HeaderName::new_from_ascii_str("Auto-Submitted");
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(format!("Balance below {} credits", mail.threshold))
            .message_id(Some(format!("<{}.{}@{domain}>", mail.alert, mail.crossing)))
            .date(UNIX_EPOCH + Duration::from_millis(crossed_ms))
            // RFC 3834: so that no holiday notice comes back.
            .raw_header(HeaderValue::new(auto, "auto-generated".to_owned()))
            .header(ContentType::TEXT_PLAIN)
            .body(self.text(mail))
            .map_err(|error| unfit(&error))
    }

    fn text(&self, mail: &Mail) -> String {
        let Mail {
            alert,
            account,
            threshold,
            left_over,
            ..
        } = mail;
        let (at, url) = (rfc3339(mail.crossed_ms), &self.public_url);
        format!(
            "The balance of the account {account} is below {threshold} credits:\n\
             {left_over} credits could be spent at {at}.\n\
             Requests are refused when their price is not covered any more.\n\
             \n\
             This is said once; again only after the balance was back at {threshold}.\n\
             \n\
             Gateway: {url}\n\
             Alert: {alert}\n"
        )
    }

    /// Whether mail can go to an address: ASCII, as not every server takes more.
    #[must_use]
    pub fn is_address(text: &str) -> bool {
        let is_short = text.is_ascii() && text.len() <= ADDRESS_BYTES_MAX;
        is_short && text.parse::<Address>().is_ok()
    }
}

fn parameters(host: &str, roots: &[u8]) -> Result<TlsParameters, lettre::transport::smtp::Error> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if !roots.is_empty() {
        builder = builder.add_root_certificate(Certificate::from_pem(roots)?);
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_plain_address() {
        for text in ["a@example.com", "a.b+c@mail.example.org", "a@localhost"] {
            assert!(Post::is_address(text), "{text}");
        }
        let long = format!("{}@example.com", "a".repeat(250));
        for text in [
            "",
            "a",
            "@example.com",
            "a@",
            "a b@example.com",
            "A <a@example.com>",
            "a@example.com,b@example.com",
            "a@example.com\r\nBcc: b@example.com",
            "a@exa mple.com",
            "\u{e4}@example.com",
            &long,
        ] {
            assert!(!Post::is_address(text), "{text}");
        }
    }
}
