//! Payments and mails, as far as the operator set them up.

use std::sync::Arc;

use domain::stripe::EndpointSecret;

use super::{AppError, Parts};
use crate::alerts::{Alerts, Login, MailError, MailSettings, Post, Tls};
use crate::api::desk::{Desk, Mails, NoPage, PageWish, PayPage, Till};
use crate::config::{Config, SmtpTls};
use crate::stripe::{Order, Stripe, StripeError, StripeSettings};

/// How often balances are compared with alerts, in milliseconds.
const LOOK_MS: u64 = 3_000;

/// What sends mails, where it is set up.
///
/// # Errors
/// The certificates cannot be used.
pub(super) fn post(config: &Config, public_url: &str) -> Result<Option<Post>, AppError> {
    let Some(settings) = &config.smtp else {
        return Ok(None);
    };
    let roots = match &settings.ca_file {
        Some(path) => std::fs::read(path)
            .map_err(|error| MailError::new(format!("{}: {error}", path.display())))?,
        None => Vec::new(),
    };
    let login = settings.login.as_ref().map(|login| Login {
        username: login.username.clone(),
        password: login.password.reveal().to_owned(),
    });
    Ok(Some(Post::new(MailSettings {
        host: settings.host.clone(),
        port: settings.port,
        tls: match settings.tls {
            SmtpTls::StartTls => Tls::StartTls,
            SmtpTls::Always => Tls::Always,
            SmtpTls::Never => Tls::Never,
        },
        roots,
        login,
        from: settings.from.clone(),
        public_url: public_url.to_owned(),
    })?))
}

impl Parts {
    /// What the API needs of them.
    pub(super) fn desk(&self, public_url: &str) -> Desk {
        let secret = self.config.stripe.webhook_secret.as_ref();
        Desk {
            till: self.till(public_url),
            // Without the other secret nothing more is sold, and what was sold still comes in.
            stripe_secret: secret.map(|secret| EndpointSecret::new(secret.reveal().to_owned())),
            mails: self.config.smtp.as_ref().map(|settings| Mails {
                is_address: Post::is_address,
                operator: settings.from.email.to_string(),
            }),
        }
    }

    /// Looks at balances, where mails are set up.
    pub(super) fn alerts(&self, post: Post) -> Alerts {
        Alerts::new(
            self.store.clone(),
            post,
            self.clock.clone(),
            self.metrics.clone(),
            LOOK_MS,
        )
    }

    /// Nothing is sold whose payment would not be heard of.
    fn till(&self, public_url: &str) -> Option<Till> {
        let settings = &self.config.stripe;
        let secret_key = settings.secret_key.as_ref()?;
        if settings.webhook_secret.is_none() {
            tracing::warn!("credits are not sold: STRIPE_WEBHOOK_SECRET is not set");
            return None;
        }
        let stripe = StripeSettings::new(
            settings.base_url.clone(),
            secret_key.reveal().to_owned(),
            url_or(settings.success_url.as_deref(), public_url, "billing/paid"),
            url_or(
                settings.cancel_url.as_deref(),
                public_url,
                "billing/cancelled",
            ),
        );
        let stripe = Arc::new(Stripe::new(self.net.clone(), stripe));
        Some(Till {
            least: settings.amount_min,
            most: settings.amount_max,
            open: Arc::new(move |wish| {
                let stripe = Arc::clone(&stripe);
                Box::pin(async move { open(&stripe, wish).await })
            }),
        })
    }
}

fn url_or(url: Option<&str>, public_url: &str, page: &str) -> String {
    url.map_or_else(|| format!("{public_url}/{page}"), str::to_owned)
}

async fn open(stripe: &Stripe, wish: PageWish) -> Result<PayPage, NoPage> {
    let order = Order {
        account: wish.account,
        cents: wish.cents,
        key: wish.key,
    };
    match stripe.open(&order).await {
        Ok(page) => Ok(PayPage {
            id: page.id,
            url: page.url,
        }),
        Err(StripeError::Reused) => Err(NoPage::Reused),
        Err(StripeError::Twin) => Err(NoPage::Twin),
        Err(StripeError::Away(detail)) => Err(NoPage::Away(detail)),
    }
}
