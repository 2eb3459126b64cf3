//! What the gateway does itself where no provider of a model does it.

use std::sync::Arc;

use domain::order::{Modality, Order};

use super::Parts;
use crate::api::DoesItself;
use crate::clock::Clock;
use crate::config::Config;
use crate::media::{Films, unsettable};

/// The programs that lay texts over films, where they are installed.
pub(super) async fn films(config: &Config, clock: &Clock) -> Option<Films> {
    let path = config.secrets.get("PATH")?;
    Films::find(path, clock.now_ms()).await
}

impl Parts {
    pub(super) fn means(&self) -> Arc<DoesItself> {
        let marks_films = self.media.marks_films();
        Arc::new(move |name, order| match name {
            "watermark" => marks(order, marks_films),
            _ => Err("only a provider can do that".to_owned()),
        })
    }
}

/// Whether the text of an order can be laid over its results.
fn marks(order: &Order, marks_films: bool) -> Result<(), String> {
    if let Some(letter) = order.text("watermark").and_then(unsettable) {
        return Err(format!("its font has no {letter:?}"));
    }
    match order.modality {
        Modality::Image => Ok(()),
        Modality::Video if marks_films => Ok(()),
        Modality::Video => Err("ffmpeg is not installed".to_owned()),
        Modality::Chat => Err("a text has no place for it".to_owned()),
    }
}
