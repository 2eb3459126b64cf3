//! What a key may do, and when another may do more.
//!
//! Invariant: [`Grant::check_covers`] is a partial order, whatever order lists are written in and
//! however an address is spelt.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::credits::Credits;
use crate::limits::Limits;
use crate::network;
use crate::order::Invalid;

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Submit and cancel tasks.
    Run,
    /// Read tasks, callbacks and results.
    Read,
    /// Create, change and delete keys.
    Keys,
    /// Balance, transactions, top-ups.
    Billing,
    /// The operator's endpoints.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] = [
        Self::Run,
        Self::Read,
        Self::Keys,
        Self::Billing,
        Self::Admin,
    ];

    /// What a key may do unless it says otherwise: everything of its own account.
    pub const ACCOUNT: [Self; 4] = [Self::Run, Self::Read, Self::Keys, Self::Billing];

    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Read => "read",
            Self::Keys => "keys",
            Self::Billing => "billing",
            Self::Admin => "admin",
        }
    }

    /// The scope of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// What a key may do, besides who it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// For people.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// The only models it may run; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// When it stops working, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
    /// Whether its runs go to the sandbox and cost nothing.
    #[serde(default)]
    pub sandbox: bool,
    /// The only addresses it may be used from, as given; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_whitelist: Vec<String>,
    /// Requests per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit_rpm: Option<u32>,
    /// Requests per hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit_tph: Option<u32>,
    /// Requests per day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit_tpd: Option<u32>,
    /// Most credits a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily_credit_limit: Option<Credits>,
}

impl Grant {
    /// A key of an account without limits.
    #[must_use]
    pub fn account(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            scopes: Scope::ACCOUNT.to_vec(),
            models: None,
            expires_ms: None,
            sandbox: false,
            ip_whitelist: Vec::new(),
            rate_limit_rpm: None,
            rate_limit_tph: None,
            rate_limit_tpd: None,
            daily_credit_limit: None,
        }
    }

    /// Whether the key may be used for `scope`.
    #[must_use]
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// What the key may do in how much time.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            requests: [
                self.rate_limit_rpm,
                self.rate_limit_tph,
                self.rate_limit_tpd,
            ],
            daily_credits: self.daily_credit_limit,
        }
    }

    /// Whether the key may run a model.
    #[must_use]
    pub fn may_run(&self, model: &str) -> bool {
        let models = self.models.as_ref();
        models.is_none_or(|models| models.iter().any(|known| known == model))
    }

    /// Whether the key may be used from a network; one without a whitelist may from everywhere. An
    /// entry that cannot be read lets nobody in.
    #[must_use]
    pub fn may_come_from(&self, network: &IpNet) -> bool {
        let mut networks = self.ip_whitelist.iter();
        self.ip_whitelist.is_empty()
            || networks.any(|own| network::parse(own).is_some_and(|own| own.contains(network)))
    }

    /// Whether requests or credits are counted for the key.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.rates().iter().any(|(_, rate)| rate.is_some()) || self.daily_credit_limit.is_some()
    }

    /// Checks that a key with the grant `other` may do nothing this one may not.
    ///
    /// # Errors
    /// The first field in which it may do more, and what would be allowed there.
    pub fn check_covers(&self, other: &Self) -> Result<(), Invalid> {
        self.check_scopes(other)?;
        self.check_models(other)?;
        if self.expires_ms.is_some_and(|own| other.ends_after(own)) {
            let message = "must not be after the end of the key that asks for it";
            return Err(Invalid::new("expires_at", message));
        }
        if self.sandbox && !other.sandbox {
            let message = "must be true: the runs of the key that asks for it go to the sandbox";
            return Err(Invalid::new("sandbox", message).allowing(vec![true]));
        }
        self.check_whitelist(other)?;
        for ((name, own), (_, asked)) in self.rates().into_iter().zip(other.rates()) {
            check_limit(name, own.map(u64::from), asked.map(u64::from))?;
        }
        let (own, asked) = (self.daily_credit_limit, other.daily_credit_limit);
        check_limit("daily_credit_limit", own, asked)
    }

    fn check_scopes(&self, other: &Self) -> Result<(), Invalid> {
        if other.scopes.iter().all(|scope| self.has(*scope)) {
            return Ok(());
        }
        let own: Vec<&str> = self.scopes.iter().map(|scope| scope.as_str()).collect();
        let message = format!("must be some of {}", own.join(", "));
        Err(Invalid::new("scopes", message).allowing(own))
    }

    fn check_models(&self, other: &Self) -> Result<(), Invalid> {
        let Some(own) = &self.models else {
            return Ok(());
        };
        let Some(asked) = &other.models else {
            let message = "must be a list: the key that asks for it may not run all models";
            return Err(Invalid::new("models", message).allowing(own.clone()));
        };
        match asked.iter().find(|id| !self.may_run(id)) {
            Some(id) => {
                let message = format!("names {id:?}, which the key that asks for it may not run");
                Err(Invalid::new("models", message).allowing(own.clone()))
            }
            None => Ok(()),
        }
    }

    fn ends_after(&self, instant_ms: i64) -> bool {
        self.expires_ms.is_none_or(|end_ms| end_ms > instant_ms)
    }

    fn check_whitelist(&self, other: &Self) -> Result<(), Invalid> {
        if self.ip_whitelist.is_empty() {
            return Ok(());
        }
        let refusal = |message: String| {
            Err(Invalid::new("ip_whitelist", message).allowing(self.ip_whitelist.clone()))
        };
        if other.ip_whitelist.is_empty() {
            let message = "must not be empty: the key that asks for it has one";
            return refusal(message.to_owned());
        }
        let is_inside = |entry: &&String| {
            network::parse(entry).is_some_and(|network| self.may_come_from(&network))
        };
        match other.ip_whitelist.iter().find(|entry| !is_inside(entry)) {
            Some(entry) => refusal(format!(
                "names {entry:?}, from where the key that asks for it may not be used"
            )),
            None => Ok(()),
        }
    }

    /// The limits of requests by name.
    fn rates(&self) -> [(&'static str, Option<u32>); 3] {
        [
            ("rate_limit_rpm", self.rate_limit_rpm),
            ("rate_limit_tph", self.rate_limit_tph),
            ("rate_limit_tpd", self.rate_limit_tpd),
        ]
    }
}

/// No limit is more than any, and a higher one more than a lower one.
fn check_limit<T>(name: &'static str, own: Option<T>, asked: Option<T>) -> Result<(), Invalid>
where
    T: Copy + PartialOrd + Serialize + std::fmt::Display,
{
    let Some(own) = own else {
        return Ok(());
    };
    if asked.is_some_and(|asked| asked <= own) {
        return Ok(());
    }
    let message = format!("must be at most {own}, the limit of the key that asks for it");
    Err(Invalid::new(name, message).allowing(serde_json::json!({ "max": own })))
}
