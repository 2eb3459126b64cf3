//! Real files for an order without any model: a PNG of the asked size, an MP4 of the asked length.
//!
//! Invariant: pure and deterministic; the same order gives the same bytes. All of it is work for
//! the processor, so call it where blocking is allowed.

pub(super) mod dice;
mod film;
mod layout;
mod mp4;
mod overlay;
mod picture;
mod size;
#[cfg(test)]
mod tests;

use domain::order::{Modality, Order};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use layout::Sheet;
use size::Size;

/// Most pictures of one order.
const PICTURES_MAX: u32 = 16;

/// A finished file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its media type.
    pub content_type: &'static str,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The order asks for something that cannot be drawn; safe to show.
    #[error("{0}")]
    Refused(String),
    /// The order has no file of this number.
    #[error("there is no such file")]
    Missing,
    /// An encoder failed.
    #[error("encoding failed: {0}")]
    Encoder(String),
}

/// How many files an order makes. An answer in text is none: it is part of the reply.
#[must_use]
pub fn count(order: &Order) -> u32 {
    match order.modality {
        Modality::Chat => 0,
        Modality::Video => 1,
        Modality::Image => {
            let asked = order.int("n").and_then(|n| u32::try_from(n).ok());
            asked.unwrap_or(1).clamp(1, PICTURES_MAX)
        }
    }
}

/// Whether the files of an order can be drawn, without drawing them.
///
/// # Errors
/// A size or a length beyond what the renderer does.
pub fn check(order: &Order) -> Result<(), RenderError> {
    match order.modality {
        Modality::Chat => Ok(()),
        Modality::Image => size::of_image(order).map(|_| ()),
        Modality::Video => film::plan(order).map(|_| ()),
    }
}

/// Draws file `n` of an order, counted from 0.
///
/// # Errors
/// What [`check`] refuses, a number that [`count`] does not cover, or a failing encoder.
pub fn file(order: &Order, n: u32) -> Result<File, RenderError> {
    if n >= count(order) {
        return Err(RenderError::Missing);
    }
    match order.modality {
        Modality::Chat => Err(RenderError::Missing),
        Modality::Image => still(order, n),
        Modality::Video => Ok(File {
            content_type: "video/mp4",
            bytes: film::shoot(order)?,
        }),
    }
}

fn still(order: &Order, n: u32) -> Result<File, RenderError> {
    let size = size::of_image(order)?;
    let mut picture = picture::paint(dice::seed(order).wrapping_add(u64::from(n)), size);
    let part = match count(order) {
        1 => None,
        all => Some(format!("picture {} of {all}", n + 1)),
    };
    for overlay in layout::overlays(&Sheet { order, size, part }) {
        overlay.onto(&mut picture, size);
    }
    Ok(File {
        content_type: "image/png",
        bytes: png(&picture, size)?,
    })
}

fn png(picture: &[u8], size: Size) -> Result<Vec<u8>, RenderError> {
    let mut bytes = Vec::new();
    let encoder =
        PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive);
    encoder
        .write_image(picture, size.width, size.height, ExtendedColorType::Rgb8)
        .map_err(|error| RenderError::Encoder(error.to_string()))?;
    Ok(bytes)
}
