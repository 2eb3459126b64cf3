//! The parameters every client may send, whatever the model: their names, types and widest ranges.
//!
//! A model's own file decides what the model takes. This list decides what is worth a word when the
//! model has no use for it, and gives the descriptions the files need not repeat.

use std::sync::LazyLock;

use serde_json::Value;

use crate::catalogue::Abilities;
use crate::order::Modality;
use crate::parameter::{Kind, Parameter};

/// Most characters of a watermark.
const WATERMARK_CHARS_MAX: u32 = 200;

/// Most characters of a word or a text whose model has no use for it.
const TEXT_CHARS_MAX: u32 = 20_000;

/// Most links in a list whose model has no use for it.
const LINKS_MAX: u32 = 100;

static VIDEO: LazyLock<Vec<Parameter>> = LazyLock::new(|| {
    vec![
        text("aspect_ratio", "Width to height of the video."),
        number("duration", 0.0, 86_400.0, "Length in seconds."),
        text("resolution", "Size of the video."),
        links("image_urls", "Pictures to start from."),
        links("video_urls", "Videos to start from."),
        flag(
            "enable_translation",
            "Translate the prompt to English before it is sent to the model.",
        ),
        watermark(),
        flag("multi_shots", "Make several shots instead of one."),
    ]
});

static IMAGE: LazyLock<Vec<Parameter>> = LazyLock::new(|| {
    vec![
        text("aspect_ratio", "Width to height of the picture."),
        number(
            "width",
            0.0,
            1e9,
            "Width in pixels; wants `height` and takes the place of the ratio.",
        ),
        number(
            "height",
            0.0,
            1e9,
            "Height in pixels; wants `width` and takes the place of the ratio.",
        ),
        text("negative_prompt", "What should not be seen."),
        number("seed", -1e15, 1e15, "The same seed gives a similar result."),
        links("image_urls", "Pictures to start from."),
        watermark(),
        number(
            "guidance_scale",
            1.0,
            20.0,
            "How closely to follow the prompt.",
        ),
        number(
            "steps",
            0.0,
            1e9,
            "Number of refinement steps; more is slower.",
        ),
    ]
});

static CHAT: LazyLock<Vec<Parameter>> = LazyLock::new(|| {
    vec![
        number("temperature", 0.0, 2.0, "How freely words are chosen."),
        integer(
            "max_tokens",
            1,
            i64::MAX,
            "Most tokens of the answer, thinking included.",
        ),
        number(
            "top_p",
            0.0,
            1.0,
            "Share of the likeliest words to choose from.",
        ),
    ]
});

/// The contract's parameters of a modality.
pub(crate) fn parameters(modality: Modality) -> &'static [Parameter] {
    match modality {
        Modality::Video => &VIDEO,
        Modality::Image => &IMAGE,
        Modality::Chat => &CHAT,
    }
}

/// The contract's parameter of a name.
pub(crate) fn parameter(modality: Modality, name: &str) -> Option<&'static Parameter> {
    parameters(modality)
        .iter()
        .find(|parameter| parameter.name == name)
}

/// The parameters that every model of a modality takes, listed in its file or not, because they are
/// honoured or refused but never dropped.
pub(crate) fn abilities(modality: Modality) -> impl Iterator<Item = &'static Parameter> {
    parameters(modality)
        .iter()
        .filter(|parameter| Abilities::NAMES.contains(&parameter.name.as_str()))
}

fn parameter_of(name: &str, kind: Kind, default: Option<Value>, description: &str) -> Parameter {
    Parameter {
        name: name.to_owned(),
        kind,
        default,
        description: description.to_owned(),
    }
}

fn text(name: &str, description: &str) -> Parameter {
    let kind = Kind::Text {
        chars_max: TEXT_CHARS_MAX,
    };
    parameter_of(name, kind, None, description)
}

fn watermark() -> Parameter {
    let kind = Kind::Text {
        chars_max: WATERMARK_CHARS_MAX,
    };
    parameter_of("watermark", kind, None, "Text to lay over the result.")
}

fn number(name: &str, min: f64, max: f64, description: &str) -> Parameter {
    parameter_of(name, Kind::Number { min, max }, None, description)
}

fn integer(name: &str, min: i64, max: i64, description: &str) -> Parameter {
    parameter_of(name, Kind::Integer { min, max }, None, description)
}

fn flag(name: &str, description: &str) -> Parameter {
    parameter_of(name, Kind::Flag, Some(Value::Bool(false)), description)
}

fn links(name: &str, description: &str) -> Parameter {
    let kind = Kind::Urls {
        items_max: LINKS_MAX,
    };
    parameter_of(name, kind, None, description)
}
