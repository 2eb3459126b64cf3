//! What the operator switched off while the gateway runs: submits, features, models, providers.
//!
//! Invariant: what nobody switched off is on, and a name that this version does not know changes
//! nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::catalogue::Model;
use crate::order::Modality;

/// What can be switched off as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// Running chat models.
    Chat,
    /// Running image models.
    Image,
    /// Running video models.
    Video,
    /// Asking for a callback, sending one again, testing one. Those asked for before are delivered.
    Callbacks,
}

impl Feature {
    /// Every feature.
    pub const ALL: [Self; 4] = [Self::Chat, Self::Image, Self::Video, Self::Callbacks];

    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Image => "image",
            Self::Video => "video",
            Self::Callbacks => "callbacks",
        }
    }

    /// The feature that running a model is.
    #[must_use]
    pub fn of(modality: Modality) -> Self {
        match modality {
            Modality::Chat => Self::Chat,
            Modality::Image => Self::Image,
            Modality::Video => Self::Video,
        }
    }
}

/// That the operator takes no submits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// What clients are told, instead of a sentence of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Since when, Unix milliseconds.
    pub since_ms: i64,
}

/// What is switched off.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Switches {
    /// Whether submits are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    features_off: BTreeSet<String>,
    models_off: BTreeSet<String>,
    providers_off: BTreeSet<String>,
}

/// Switches to be turned, by name; true is on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Turns {
    /// Of features.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub features: BTreeMap<String, bool>,
    /// Of models.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, bool>,
    /// Of providers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub providers: BTreeMap<String, bool>,
}

impl Switches {
    /// Whether a feature is on.
    #[must_use]
    pub fn has(&self, feature: Feature) -> bool {
        !self.features_off.contains(feature.as_str())
    }

    /// Whether a model is on; its modality may be off.
    #[must_use]
    pub fn has_model(&self, id: &str) -> bool {
        !self.models_off.contains(id)
    }

    /// Whether a provider is on.
    #[must_use]
    pub fn has_provider(&self, id: &str) -> bool {
        !self.providers_off.contains(id)
    }

    /// Whether a model may be run: neither it nor its modality is off, nor its file says so.
    #[must_use]
    pub fn may_run(&self, model: &Model) -> bool {
        !model.disabled && self.has_model(&model.id) && self.has(Feature::of(model.modality))
    }

    /// The models that are off, by id.
    pub fn models_off(&self) -> impl Iterator<Item = &str> {
        self.models_off.iter().map(String::as_str)
    }

    /// The providers that are off, by id.
    pub fn providers_off(&self) -> impl Iterator<Item = &str> {
        self.providers_off.iter().map(String::as_str)
    }

    /// The same with some switches turned.
    #[must_use]
    pub fn turned(mut self, turns: &Turns) -> Self {
        turn(&mut self.features_off, &turns.features);
        turn(&mut self.models_off, &turns.models);
        turn(&mut self.providers_off, &turns.providers);
        self
    }

    /// How the switches stand that `turns` names.
    #[must_use]
    pub fn standing(&self, turns: &Turns) -> Turns {
        Turns {
            features: standing(&self.features_off, &turns.features),
            models: standing(&self.models_off, &turns.models),
            providers: standing(&self.providers_off, &turns.providers),
        }
    }
}

fn turn(off: &mut BTreeSet<String>, turns: &BTreeMap<String, bool>) {
    for (name, is_on) in turns {
        match is_on {
            true => off.remove(name),
            false => off.insert(name.clone()),
        };
    }
}

fn standing(off: &BTreeSet<String>, turns: &BTreeMap<String, bool>) -> BTreeMap<String, bool> {
    let names = turns.keys();
    names
        .map(|name| (name.clone(), !off.contains(name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_switched_off_is_on() {
        let none: Switches = serde_json::from_str("{}").unwrap();
        assert_eq!(none, Switches::default());
        assert!(Feature::ALL.into_iter().all(|feature| none.has(feature)));
        let words = Feature::ALL.map(Feature::as_str);
        for feature in Feature::ALL {
            let off = |is_on| Turns {
                features: [(feature.as_str().to_owned(), is_on)].into(),
                ..Turns::default()
            };
            let turned = none.clone().turned(&off(false));
            let on: Vec<_> = Feature::ALL
                .into_iter()
                .filter(|one| turned.has(*one))
                .collect();
            assert_eq!(on.len() + 1, words.len());
            assert!(!on.contains(&feature));
            assert_eq!(turned.standing(&off(true)), off(false));
            assert_eq!(turned.turned(&off(true)), none);
        }
    }

    #[test]
    fn a_name_of_a_later_version_changes_nothing() {
        let text = r#"{"features_off":["later"],"models_off":["a.b"],"more":1}"#;
        let switches: Switches = serde_json::from_str(text).unwrap();
        assert!(
            Feature::ALL
                .into_iter()
                .all(|feature| switches.has(feature))
        );
        assert!(!switches.has_model("a.b") && switches.has_provider("a.b"));
        let kept = serde_json::to_string(&switches).unwrap();
        assert!(kept.contains("later"), "{kept}");
    }
}
