//! What is written on a picture: the prompt over a darkened foot, a caption, a watermark.

use domain::order::{Modality, Order};
use serde_json::Value;

use super::overlay::{Area, Overlay};
use super::size::Size;
use crate::typeset::{Block, Room, clean, fit};

/// Longest prompt that is set, in characters; the rest would not be legible anyway.
const PROMPT_CHARS_MAX: usize = 1_200;

/// Longest watermark that is set, in characters.
const WATERMARK_CHARS_MAX: usize = 200;

/// Longest single word of the caption, in characters.
const CAPTION_CHARS_MAX: usize = 80;

/// Darkening of the foot and of the ground of a watermark, of 255.
const FOOT_SHADE: f32 = 176.0;
const WATERMARK_SHADE: u8 = 120;

/// What is to be written, and on what.
pub(crate) struct Sheet<'a> {
    /// What was asked for.
    pub(crate) order: &'a Order,
    /// Size of the picture.
    pub(crate) size: Size,
    /// Which one of several pictures or shots this is, in words.
    pub(crate) part: Option<String>,
}

/// Everything that is written on the sheet.
pub(crate) fn overlays(sheet: &Sheet<'_>) -> Vec<Overlay> {
    let mut overlays = vec![foot(sheet)];
    overlays.extend(watermark(sheet));
    overlays
}

fn foot(sheet: &Sheet<'_>) -> Overlay {
    let size = sheet.size;
    let (short, width) = (size.shorter() as f32, size.width as f32);
    let (height, margin) = (size.height as f32, (short * 0.05).round());
    let px_min = (short * 0.024).max(9.0);
    let room = Room {
        width: width - 2.0 * margin,
        height: height * 0.42,
        px_max: (short * 0.056).max(px_min),
        px_min,
    };
    let prompt = fit(&clean(&sheet.order.prompt_text(), PROMPT_CHARS_MAX), room);
    let caption_px = (short * 0.028).max(10.0);
    let caption = fit(
        &caption(sheet),
        Room {
            height: caption_px,
            px_max: caption_px,
            px_min: caption_px * 0.8,
            ..room
        },
    );
    // On the smallest pictures the prompt matters more than its caption.
    let has_caption = height >= 96.0;
    let caption_height = if has_caption {
        caption.height() + caption_px * 0.6
    } else {
        0.0
    };
    let top = height - margin - caption_height - prompt.height();
    let feather = (short * 0.16).max(2.0);
    let start = (top - feather * 0.8).max(0.0);
    let shade = |_: u32, y: u32| {
        let depth = ((y as f32 - start) / feather).clamp(0.0, 1.0);
        (FOOT_SHADE * depth * depth * (3.0 - 2.0 * depth)) as u8
    };
    let area = Area {
        left: 0,
        top: start as u32,
        right: size.width,
        bottom: size.height,
    };
    let mut overlay = Overlay::new(area, size, shade);
    prompt.write(margin, top, |x, y, ink| overlay.write(x, y, ink));
    if has_caption {
        let top = height - margin - caption.height();
        caption.write(margin, top, |x, y, ink| overlay.write(x, y, ink * 0.72));
    }
    overlay
}

/// The watermark on a rounded ground in the upper right corner.
fn watermark(sheet: &Sheet<'_>) -> Option<Overlay> {
    let text = clean(sheet.order.text("watermark")?, WATERMARK_CHARS_MAX);
    if text.is_empty() {
        return None;
    }
    let size = sheet.size;
    let (short, width) = (size.shorter() as f32, size.width as f32);
    let px_max = (short * 0.034).max(9.0);
    let block: Block = fit(
        &text,
        Room {
            width: width * 0.6,
            height: px_max * 2.6,
            px_max,
            px_min: (px_max * 0.6).max(8.0),
        },
    );
    let (margin, pad) = ((short * 0.035).round(), (block.px * 0.55).round());
    let right = width - margin;
    let left = (right - block.width() - 2.0 * pad).max(0.0);
    let bottom = margin + block.height() + pad;
    let area = Area {
        left: left as u32,
        top: margin as u32,
        right: right as u32,
        bottom: bottom as u32,
    };
    let radius = (block.px * 0.5).min((bottom - margin) / 2.0);
    let shade = |x: u32, y: u32| {
        // Distance from the rounded rectangle's inner frame; the edge is a pixel soft.
        let outside = |at: f32, from: f32, to: f32| (from - at).max(at - to).max(0.0);
        let x = outside(x as f32 + 0.5, left + radius, right - radius);
        let y = outside(y as f32 + 0.5, margin + radius, bottom - radius);
        let edge = (radius + 0.5 - x.hypot(y)).clamp(0.0, 1.0);
        (f32::from(WATERMARK_SHADE) * edge) as u8
    };
    let mut overlay = Overlay::new(area, size, shade);
    block.write(left + pad, margin + pad / 2.0, |x, y, ink| {
        overlay.write(x, y, ink * 0.94);
    });
    Some(overlay)
}

fn caption(sheet: &Sheet<'_>) -> String {
    let order = sheet.order;
    let Size { width, height } = sheet.size;
    let mut parts = vec![
        clean(&order.model, CAPTION_CHARS_MAX),
        format!("{width}×{height}"),
    ];
    if order.modality == Modality::Video {
        parts.push(format!("{:.1} s", super::film::seconds(order)));
    }
    parts.extend(sheet.part.clone());
    if let Some(Value::Number(seed)) = order.params.get("seed") {
        parts.push(format!("seed {seed}"));
    }
    if order.flag("enable_translation") {
        // Nothing here speaks any language; nobody shall think that something did.
        parts.push("prompt not translated".to_owned());
    }
    for (name, one, many) in [
        ("image_urls", "image", "images"),
        ("video_urls", "video", "videos"),
    ] {
        match order.list(name).len() {
            0 => {}
            1 => parts.push(format!("from 1 {one}")),
            count => parts.push(format!("from {count} {many}")),
        }
    }
    parts.push("RouterBase sandbox".to_owned());
    parts.join("  ·  ")
}
