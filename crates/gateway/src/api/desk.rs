//! What the API needs to take payments and to promise mails; each part is there if the operator set
//! it up.

use std::sync::Arc;

use domain::credits::Credits;
use domain::ids::AccountId;
use domain::stripe::EndpointSecret;
use futures_util::future::BoxFuture;

/// Everything about money that comes from outside.
#[derive(Default)]
pub struct Desk {
    /// Opens payment pages.
    pub till: Option<Till>,
    /// Tells Stripe's messages from others.
    pub stripe_secret: Option<EndpointSecret>,
    /// Sends mails.
    pub mails: Option<Mails>,
}

/// What is known of mails without sending one.
pub struct Mails {
    /// Whether mail can go to an address.
    pub is_address: fn(&str) -> bool,
    /// The operator's address.
    pub operator: String,
}

/// Opens payment pages.
pub struct Till {
    /// The least that can be paid at once.
    pub least: Credits,
    /// The most.
    pub most: Credits,
    /// Opens one.
    pub open: Arc<dyn Fn(PageWish) -> BoxFuture<'static, Result<PayPage, NoPage>> + Send + Sync>,
}

/// A wish for a payment page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageWish {
    /// Whose credits.
    pub account: AccountId,
    /// What is to be paid, in US cents.
    pub cents: i64,
    /// The same key gives the same page.
    pub key: String,
}

/// A payment page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayPage {
    /// Stripe's id of the session.
    pub id: String,
    /// Where it is.
    pub url: String,
}

/// Why there is no page; nobody was charged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoPage {
    /// The key was used for another wish.
    Reused,
    /// The same wish is being answered.
    Twin,
    /// Stripe is away, or does not want to; why, for the log.
    Away(String),
}
