//! A listing: how one provider runs a model, which orders it takes, and in which words.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::catalogue::{Abilities, Route};
use crate::mapping::{Encoder, Mapping};
use crate::order::{Invalid, Order};
use crate::price::{Price, same};

/// How files reach a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// As links that the provider fetches; files of ours as well.
    Link,
    /// As `data:` URLs in the request.
    Data,
    /// Links of others as they are, files of ours as `data:` URLs.
    Either,
    /// Links of others as they are, files of ours by the provider's own upload.
    Upload,
}

impl Delivery {
    /// Every delivery by its word in a file.
    pub const ALL: [(&'static str, Self); 4] = [
        ("link", Self::Link),
        ("data", Self::Data),
        ("either", Self::Either),
        ("upload", Self::Upload),
    ];
}

/// One `[[routes]]` of a model file.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// Where it runs; what a task carries.
    pub route: Route,
    /// The only values it takes of some parameters.
    pub only: BTreeMap<String, Vec<Value>>,
    /// How many items it takes of each list of files or shots, least and most.
    pub inputs: BTreeMap<String, (u32, u32)>,
    /// Parameters that have no place in its request.
    pub ignores: Vec<String>,
    /// How the others are said.
    pub send: Mapping,
    /// How files reach it.
    pub delivery: Delivery,
    /// What it takes for a run, where that is not the model's price.
    pub price: Option<Price>,
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
            let items = order.params.get(name).and_then(Value::as_array);
            let count = u32::try_from(items.map_or(0, Vec::len)).unwrap_or(u32::MAX);
            if !(*least..=*most).contains(&count) {
                let message = match (*least, *most) {
                    (_, 0) => "cannot be combined with the other parameters".to_owned(),
                    (least, most) if least == most => format!("must have {least} items here"),
                    (least, most) => format!("must have {least} to {most} items here"),
                };
                let allowed = json!({ "min_items": least, "max_items": most });
                return Err(Invalid::new(path(name), message).allowing(allowed));
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

    /// How the files of a list reach it.
    #[must_use]
    pub fn delivery(&self, list: &str) -> Delivery {
        let reads = |encoder: &Encoder| encoder.sources().contains(&list);
        let mut fields = self.send.0.iter().map(|field| &field.encoder);
        match fields.any(|encoder| encoder.wants_bytes() && reads(encoder)) {
            true => Delivery::Data,
            false => self.delivery,
        }
    }
}
