//! What the gateway does itself where no provider of a model does it.

use std::sync::Arc;

use domain::catalogue::Catalogue;
use domain::order::{Modality, Order};

use super::{AppError, Parts, is_usable};
use crate::api::DoesItself;
use crate::clock::Clock;
use crate::config::Config;
use crate::media::{Films, Media, MediaError, MediaSettings, unsettable};
use crate::worker::{PROMPT_CHARS_MAX, Translation};

/// Milliseconds in a day.
const DAY_MS: i64 = 86_400_000;

/// The translation of prompts, or why there is none; safe to show.
pub(super) type Translates = Result<Arc<Translation>, String>;

/// The keeper of files, with the programs that lay texts over films where they are installed.
pub(super) async fn media(
    config: &Config,
    secret: &str,
    clock: &Clock,
) -> Result<Media, MediaError> {
    let settings = MediaSettings {
        url: config.media.url.clone(),
        options: config.media.options.0.clone().into_iter().collect(),
        retention_ms: i64::from(config.media.retention_days).saturating_mul(DAY_MS),
        bytes_max: config.media.file_bytes_max,
    };
    let media = Media::open(settings, secret)?;
    let path = config.secrets.get("PATH").unwrap_or_default();
    Ok(media.marking(Films::find(path, clock.now_ms()).await))
}

/// The translation that the settings ask for.
///
/// # Errors
/// They name a model that is no chat model; that none of its providers can be used is no error.
pub(super) fn translation(config: &Config, catalogue: &Catalogue) -> Result<Translates, AppError> {
    let Some(id) = &config.translation.model else {
        return Ok(Err("no model is set that translates".to_owned()));
    };
    let model = catalogue.model(id);
    if model.is_none_or(|model| model.modality != Modality::Chat) {
        return Err(AppError::Translation(id.clone()));
    }
    let translation = Translation::new(catalogue, id, |one| is_usable(config, one));
    if let Err(why) = &translation {
        tracing::warn!(model = id, "prompts are not translated: {why}");
    }
    Ok(translation.map(Arc::new))
}

impl Parts {
    pub(super) fn means(&self) -> Arc<DoesItself> {
        let marks_films = self.media.marks_films();
        let translates = self.translates.as_ref().map(drop).map_err(String::clone);
        Arc::new(move |name, order| match name {
            "watermark" => marks(order, marks_films),
            "enable_translation" if order.prompt.chars().count() > PROMPT_CHARS_MAX => {
                Err("the prompt is too long to be translated".to_owned())
            }
            "enable_translation" => translates.clone(),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn order(modality: Modality, text: &str) -> Order {
        let params = json!({ "watermark": text });
        let order = json!({ "model": "m", "modality": modality, "prompt": "x", "params": params });
        serde_json::from_value(order).unwrap()
    }

    #[test]
    fn what_cannot_be_laid_over_is_refused_with_the_reason() {
        let image = order(Modality::Image, "© Füchse");
        assert_eq!(marks(&image, false), Ok(()));
        let film = order(Modality::Video, "© Füchse");
        assert_eq!(marks(&film, true), Ok(()));
        assert_eq!(marks(&film, false).unwrap_err(), "ffmpeg is not installed");
        let boxes = order(Modality::Image, "狐");
        assert_eq!(marks(&boxes, true).unwrap_err(), "its font has no '狐'");
    }
}
