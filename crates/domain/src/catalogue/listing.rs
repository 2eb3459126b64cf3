//! A listing: how one provider runs a model, which orders it takes, and in which words.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::catalogue::{Abilities, Route};
use crate::mapping::{Encoder, Mapping};
use crate::order::{Invalid, Order};
use crate::price::same;

/// How files reach a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// As links that the provider fetches.
    Link,
    /// As `data:` URLs in the request.
    Data,
}

impl Delivery {
    /// Every delivery by its word in a file.
    pub const ALL: [(&'static str, Self); 2] = [("link", Self::Link), ("data", Self::Data)];
}

/// One `[[routes]]` of a model file.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// Where it runs; what a task carries.
    pub route: Route,
    /// The only values it takes of some parameters.
    pub only: BTreeMap<String, Vec<Value>>,
    /// How many files it takes of each list, least and most.
    pub inputs: BTreeMap<String, (u32, u32)>,
    /// Parameters that have no place in its request.
    pub ignores: Vec<String>,
    /// How the others are said.
    pub send: Mapping,
    /// How files reach it.
    pub delivery: Delivery,
}

impl Listing {
    /// What it honours by itself of what must not be dropped: what its request has a place for.
    #[must_use]
    pub fn honours(&self) -> Abilities {
        let names = Abilities::NAMES.into_iter();
        let read = names.filter(|name| self.send.reads(name));
        read.fold(Abilities::NONE, Abilities::with)
    }

    /// Whether it can run an order.
    ///
    /// # Errors
    /// The first parameter whose value it does not take.
    pub fn takes(&self, order: &Order) -> Result<(), Invalid> {
        let path = |name: &str| format!("{}.{name}", order.modality.group());
        for (name, (least, most)) in &self.inputs {
            let links = order.list(name);
            let count = u32::try_from(links.len()).unwrap_or(u32::MAX);
            if !(*least..=*most).contains(&count) {
                let message = match (*least, *most) {
                    (_, 0) => "cannot be combined with the other parameters".to_owned(),
                    (least, most) if least == most => format!("must have {least} links here"),
                    (least, most) => format!("must have {least} to {most} links here"),
                };
                let allowed = json!({ "min_items": least, "max_items": most });
                return Err(Invalid::new(path(name), message).allowing(allowed));
            }
            let wants_bytes = self.wants_bytes(name);
            if links
                .iter()
                .any(|link| link.starts_with("data:") != wants_bytes)
            {
                let form = if wants_bytes {
                    "data: URLs"
                } else {
                    "http(s) links"
                };
                let message = format!("must be given as {form} to this model");
                return Err(Invalid::new(path(name), message));
            }
        }
        for (name, values) in &self.only {
            let Some(value) = order.params.get(name) else {
                continue;
            };
            if !values.iter().any(|allowed| same(allowed, value)) {
                let message = "is not possible together with the other parameters";
                return Err(Invalid::new(path(name), message).allowing(json!(values)));
            }
        }
        Ok(())
    }

    /// Whether files of a list are wanted as bytes in the request.
    fn wants_bytes(&self, list: &str) -> bool {
        let reads = |encoder: &Encoder| encoder.sources().contains(&list);
        let mut fields = self.send.0.iter().map(|field| &field.encoder);
        self.delivery == Delivery::Data
            || fields.any(|encoder| encoder.wants_bytes() && reads(encoder))
    }
}
