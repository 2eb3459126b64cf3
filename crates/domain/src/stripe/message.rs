//! What Stripe says to a webhook of payments.
//!
//! Invariant: what a body says of accounts is never acted upon: whoever sells something else through
//! the same Stripe account writes such words too.

use serde::Deserialize;
use serde::de::Error;
use serde_json::Value;

use crate::credits::Credits;

/// Where a session and its payment say which account they are for. It is for people and for the log.
pub const ACCOUNT_KEY: &str = "routerbase_account";

/// Micro-credits in a cent.
const MICROS_PER_CENT: i64 = 10_000;

/// What a body says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A session was paid.
    Paid(Payment),
    /// Money of a payment goes back, or may have to.
    Returned(Return),
    /// Something that nothing follows from: of this type.
    Other(String),
}

/// A session that was paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The session, `cs_…`.
    pub session: String,
    /// What was paid, in the smallest unit of the currency.
    pub cents: i64,
    /// Three lower-case letters.
    pub currency: String,
    /// The payment, `pi_…`.
    pub payment: Option<String>,
    /// What the session says of an account, if it does.
    pub account: Option<String>,
}

/// Why money of a payment goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The operator refunded it, or a part.
    Refund,
    /// The customer's bank disputes it.
    Dispute,
}

/// Money that goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    /// Why.
    pub why: Why,
    /// Stripe's id of the charge or of the dispute.
    pub id: String,
    /// The payment, `pi_…`.
    pub payment: Option<String>,
    /// How much, in the smallest unit of the currency; of a refund all that was refunded so far.
    pub cents: i64,
    /// Three lower-case letters.
    pub currency: String,
    /// What the charge says of an account, if it does.
    pub account: Option<String>,
}

impl Payment {
    /// What was paid in credits: a dollar is a credit. `None` for another currency and for nothing.
    #[must_use]
    pub fn credits(&self) -> Option<Credits> {
        let is_dollars = self.currency == "usd" && self.cents > 0;
        let micros = self.cents.checked_mul(MICROS_PER_CENT);
        micros.filter(|_| is_dollars).map(Credits)
    }
}

/// An amount in cents; `None` where it is not whole cents.
#[must_use]
pub fn cents(credits: Credits) -> Option<i64> {
    let is_whole = credits.0.checked_rem(MICROS_PER_CENT) == Some(0);
    credits.0.checked_div(MICROS_PER_CENT).filter(|_| is_whole)
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    data: Content,
}

#[derive(Deserialize)]
struct Content {
    object: Value,
}

/// What the objects have in common, as far as it is read.
#[derive(Deserialize)]
struct Object {
    id: String,
    /// Null in a session of another product that only notes a card.
    currency: Option<String>,
    #[serde(default)]
    payment_intent: Value,
    #[serde(default)]
    metadata: Value,
    payment_status: Option<String>,
    amount_total: Option<i64>,
    amount_refunded: Option<i64>,
    amount: Option<i64>,
}

impl Message {
    /// Reads a body whose signature was checked.
    ///
    /// # Errors
    /// It is not in a form that Stripe documents.
    pub fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        let Envelope { kind, data } = serde_json::from_slice(body)?;
        let object = || serde_json::from_value::<Object>(data.object);
        match kind.as_str() {
            "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
                Ok(object()?.paid()?.unwrap_or(Self::Other(kind)))
            }
            "charge.refunded" => {
                let object = object()?;
                let cents = object.amount_refunded;
                Ok(Self::Returned(object.returned(Why::Refund, cents)?))
            }
            "charge.dispute.created" => {
                let object = object()?;
                let cents = object.amount;
                Ok(Self::Returned(object.returned(Why::Dispute, cents)?))
            }
            _ => Ok(Self::Other(kind)),
        }
    }
}

impl Object {
    /// A completed session may wait for its money still: another message follows then.
    fn paid(self) -> Result<Option<Message>, serde_json::Error> {
        if self.payment_status.as_deref() != Some("paid") {
            return Ok(None);
        }
        Ok(Some(Message::Paid(Payment {
            payment: self.payment(),
            account: self.account(),
            session: self.id,
            cents: self.amount_total.ok_or_else(missing)?,
            currency: self.currency.ok_or_else(missing)?,
        })))
    }

    fn returned(self, why: Why, cents: Option<i64>) -> Result<Return, serde_json::Error> {
        Ok(Return {
            why,
            payment: self.payment(),
            account: self.account(),
            id: self.id,
            cents: cents.ok_or_else(missing)?,
            currency: self.currency.ok_or_else(missing)?,
        })
    }

    /// An id, or the object itself where the operator had it expanded.
    fn payment(&self) -> Option<String> {
        let id = self.payment_intent.get("id");
        let id = id.unwrap_or(&self.payment_intent).as_str();
        id.map(str::to_owned)
    }

    fn account(&self) -> Option<String> {
        let account = self.metadata.get(ACCOUNT_KEY)?.as_str();
        account.map(str::to_owned)
    }
}

fn missing() -> serde_json::Error {
    serde_json::Error::custom("an amount or its currency is missing")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(kind: &str, object: Value) -> Result<Message, serde_json::Error> {
        let body = json!({"id": "evt_1", "type": kind, "data": {"object": object}});
        Message::read(body.to_string().as_bytes())
    }

    fn session(status: &str) -> Value {
        json!({"id": "cs_1", "object": "checkout.session", "amount_total": 1050, "currency": "usd",
            "payment_status": status, "payment_intent": "pi_1",
            "metadata": {"routerbase_account": "acc_1"}})
    }

    #[test]
    fn a_session_counts_once_it_is_paid() {
        let wanted = Payment {
            session: "cs_1".to_owned(),
            cents: 1_050,
            currency: "usd".to_owned(),
            payment: Some("pi_1".to_owned()),
            account: Some("acc_1".to_owned()),
        };
        assert_eq!(wanted.credits(), Some(Credits(10_500_000)));
        for kind in [
            "checkout.session.completed",
            "checkout.session.async_payment_succeeded",
        ] {
            let message = read(kind, session("paid")).unwrap();
            assert_eq!(message, Message::Paid(wanted.clone()));
            for status in ["unpaid", "no_payment_required"] {
                let message = read(kind, session(status)).unwrap();
                assert_eq!(message, Message::Other(kind.to_owned()));
            }
        }
        let setup = json!({"id": "cs_1", "amount_total": null, "currency": null,
            "payment_status": "no_payment_required"});
        let message = read("checkout.session.completed", setup).unwrap();
        assert!(matches!(message, Message::Other(_)));
        let message = read("checkout.session.expired", session("paid")).unwrap();
        assert!(matches!(message, Message::Other(_)));
        let mut bare = session("paid");
        bare["payment_intent"] = json!({"id": "pi_2", "object": "payment_intent"});
        bare["metadata"] = Value::Null;
        let Message::Paid(paid) = read("checkout.session.completed", bare).unwrap() else {
            panic!("it is paid");
        };
        assert_eq!(
            (paid.payment.as_deref(), paid.account),
            (Some("pi_2"), None)
        );
    }

    #[test]
    fn only_dollars_are_credits() {
        let paid = |cents, currency: &str| Payment {
            session: String::new(),
            cents,
            currency: currency.to_owned(),
            payment: None,
            account: None,
        };
        assert_eq!(paid(1, "usd").credits(), Some(Credits(10_000)));
        for (cents, currency) in [(100, "eur"), (0, "usd"), (-5, "usd"), (i64::MAX, "usd")] {
            assert_eq!(paid(cents, currency).credits(), None, "{cents} {currency}");
        }
        assert_eq!(cents(Credits(10_500_000)), Some(1_050));
        assert_eq!(cents(Credits(10_500_001)), None);
    }

    #[test]
    fn money_that_goes_back_names_its_payment() {
        let charge = json!({"id": "ch_1", "amount": 1050, "amount_refunded": 400, "currency": "usd",
            "payment_intent": "pi_1", "metadata": {"routerbase_account": "acc_1"}});
        let dispute = json!({"id": "dp_1", "amount": 1050, "currency": "usd", "charge": "ch_1",
            "payment_intent": "pi_1", "metadata": {}});
        for (kind, object, why, id, cents) in [
            ("charge.refunded", charge, Why::Refund, "ch_1", 400),
            (
                "charge.dispute.created",
                dispute,
                Why::Dispute,
                "dp_1",
                1_050,
            ),
        ] {
            let Message::Returned(returned) = read(kind, object).unwrap() else {
                panic!("{kind}");
            };
            assert_eq!((returned.why, returned.id.as_str()), (why, id));
            assert_eq!(returned.cents, cents);
            assert_eq!(returned.payment.as_deref(), Some("pi_1"));
        }
    }

    #[test]
    fn what_is_not_in_the_form_is_an_error() {
        for body in ["", "[]", "{}", r#"{"type":1}"#, r#"{"type":"x"}"#] {
            assert!(Message::read(body.as_bytes()).is_err(), "{body}");
        }
        for (name, value) in [
            ("amount_total", Value::Null),
            ("amount_total", json!("10")),
            ("currency", Value::Null),
            ("id", json!(1)),
        ] {
            let mut object = session("paid");
            object[name] = value;
            assert!(
                read("checkout.session.completed", object).is_err(),
                "{name}"
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body in any::<Vec<u8>>()) {
            let _ = Message::read(&body);
        }
    }
}
