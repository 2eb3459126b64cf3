//! The text as it is laid over: white letters with a dark edge, in the lower right corner.

use image::{Rgba, RgbaImage};

use crate::typeset::{Room, fit};

/// Height of the largest type, in parts of the picture's shorter side.
const TYPE: f32 = 0.045;

/// Smallest type in pixels; below it nothing can be read.
const PX_MIN: f32 = 10.0;

/// Distance from the corner, in parts of the shorter side.
const MARGIN: f32 = 0.03;

/// Most of the picture's width and height that the text takes.
const WIDTH: f32 = 0.7;
const HEIGHT: f32 = 0.3;

/// Width of the edge, in heights of the type.
const EDGE: f32 = 0.08;

/// How much of the picture the letters and the edge take away.
const LETTERS: f32 = 0.94;
const DARK: f32 = 0.7;

/// In how many directions the letters are moved to make their edge.
const DIRECTIONS: u8 = 16;

/// A small picture and its place on the large one.
pub(super) struct Stamp {
    /// Column of its left edge.
    pub(super) left: u32,
    /// Row of its upper edge.
    pub(super) top: u32,
    /// White and black with what they cover. Never empty.
    pub(super) pixels: RgbaImage,
}

/// How much of each pixel is covered, 0 to 1.
struct Cover {
    width: u32,
    height: u32,
    parts: Vec<f32>,
}

impl Cover {
    fn new(width: u32, height: u32) -> Self {
        let parts = vec![0.0; width as usize * height as usize];
        Self {
            width,
            height,
            parts,
        }
    }

    fn ink(&mut self, x: i32, y: i32, part: f32) {
        let inside = |at: i32, size: u32| u32::try_from(at).ok().filter(|at| *at < size);
        if let (Some(x), Some(y)) = (inside(x, self.width), inside(y, self.height)) {
            let old = &mut self.parts[(y * self.width + x) as usize];
            *old = old.max(part.clamp(0.0, 1.0));
        }
    }
}

impl Stamp {
    /// The stamp for a picture of so many pixels, in the largest type that fits.
    pub(super) fn new(text: &str, width: u32, height: u32) -> Self {
        let (across, down) = (width as f32, height as f32);
        let shorter = across.min(down);
        let px_max = (shorter * TYPE).max(PX_MIN);
        let block = fit(
            text,
            Room {
                width: across * WIDTH,
                height: down * HEIGHT,
                px_max,
                px_min: (px_max / 2.0).max(PX_MIN),
            },
        );
        let edge = (block.px * EDGE).max(1.0);
        let side = |length: f32, most: u32| ((length + 2.0 * edge).ceil() as u32).clamp(1, most);
        let (wide, high) = (side(block.width(), width), side(block.height(), height));
        let (mut letters, mut dark) = (Cover::new(wide, high), Cover::new(wide, high));
        block.write(edge, edge, |x, y, part| letters.ink(x, y, part));
        for direction in 0..DIRECTIONS {
            let angle = f32::from(direction) * std::f32::consts::TAU / f32::from(DIRECTIONS);
            let (right, below) = (edge * angle.cos(), edge * angle.sin());
            let (right, below) = (right.round() as i32, below.round() as i32);
            block.write(edge, edge, |x, y, part| {
                dark.ink(x + right, y + below, part)
            });
        }
        let margin = (shorter * MARGIN).round() as u32;
        Self {
            left: width.saturating_sub(wide.saturating_add(margin)),
            top: height.saturating_sub(high.saturating_add(margin)),
            pixels: blended(&letters, &dark),
        }
    }

    /// Lays it over the bytes of a picture with so many channels, colours first.
    pub(super) fn lay(&self, picture: &mut [u8], width: u32, channels: usize) {
        for (x, y, Rgba([grey, _, _, cover])) in self.pixels.enumerate_pixels() {
            let row = (self.top + y) as usize * width as usize;
            let at = (row + (self.left + x) as usize) * channels;
            let Some(pixel) = picture.get_mut(at..at + channels) else {
                continue;
            };
            let (colours, rest) = pixel.split_at_mut(3);
            // Over nothing there is only the ink.
            let below = rest.first().copied().unwrap_or(255);
            let under = u32::from(below) * u32::from(255 - cover) / 255;
            let whole = under + u32::from(*cover);
            for colour in colours {
                let sum = u32::from(*colour) * under + u32::from(*grey) * u32::from(*cover);
                *colour = (sum / whole.max(1)).min(255) as u8;
            }
            if let Some(alpha) = rest.first_mut() {
                *alpha = whole.min(255) as u8;
            }
        }
    }
}

/// Letters over their edge.
fn blended(letters: &Cover, dark: &Cover) -> RgbaImage {
    RgbaImage::from_fn(letters.width, letters.height, |x, y| {
        let at = (y * letters.width + x) as usize;
        let light = letters.parts[at] * LETTERS;
        let cover = light + dark.parts[at] * DARK * (1.0 - light);
        let grey = if cover > 0.0 { light / cover } else { 0.0 };
        let grey = (grey * 255.0).round() as u8;
        Rgba([grey, grey, grey, (cover * 255.0).round() as u8])
    })
}
