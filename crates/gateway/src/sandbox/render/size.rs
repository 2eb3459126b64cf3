//! How large a picture is, from what the order says.

use domain::order::Order;

use super::RenderError;

/// Most pixels of a picture.
const PIXELS_MAX: u64 = 4_096 * 4_096;

/// Longest side of a picture: anything longer is a mistake, not a picture.
const SIDE_MAX: u32 = 16_384;

/// Longer side of a picture without any word about its size.
const SIDE_DEFAULT: u32 = 1_024;

/// Shorter side of a film without any word about its size.
const LINES_DEFAULT: u32 = 720;

/// The encoder's limits, longer and shorter side.
const FILM_MAX: (u32, u32) = (3_840, 2_160);

/// Shortest side of a film that the encoder takes gladly.
const FILM_MIN: u32 = 32;

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Pixels from left to right.
    pub(crate) width: u32,
    /// Pixels from top to bottom.
    pub(crate) height: u32,
}

impl Size {
    /// How many pixels there are.
    pub(crate) fn pixels(self) -> usize {
        self.width as usize * self.height as usize
    }

    /// The shorter side.
    pub(crate) fn shorter(self) -> u32 {
        self.width.min(self.height)
    }
}

/// The size of an order's pictures: `width` and `height` to the pixel, else by ratio and tier.
pub(crate) fn of_image(order: &Order) -> Result<Size, RenderError> {
    let side = |name| match order.number(name) {
        Some(pixels) if pixels >= 1.0 && pixels <= f64::from(SIDE_MAX) => {
            Ok(Some(pixels.round() as u32))
        }
        Some(_) => Err(refuse(format!("`{name}` must be from 1 to {SIDE_MAX}"))),
        None => Ok(None),
    };
    let size = match (side("width")?, side("height")?) {
        (Some(width), Some(height)) => Size { width, height },
        _ => by_tier(ratio(order, (1.0, 1.0))?, tier(order)),
    };
    if u64::from(size.width) * u64::from(size.height) > PIXELS_MAX {
        return Err(refuse(format!(
            "{}x{} is more than {PIXELS_MAX} pixels",
            size.width, size.height
        )));
    }
    Ok(size)
}

/// The size of an order's film: `resolution` names the shorter side.
pub(crate) fn of_video(order: &Order) -> Result<Size, RenderError> {
    let ratio = ratio(order, (16.0, 9.0))?;
    let lines = match tier(order) {
        Tier::Shorter(lines) => lines,
        // Films are named by their lines; `4K` is 2160 of them.
        Tier::Longer(side) => side / 1_024 * 540,
        Tier::Unknown => LINES_DEFAULT,
    };
    let size = by_tier(ratio, Tier::Shorter(lines));
    let (longer, shorter) = (size.width.max(size.height), size.shorter());
    if shorter < FILM_MIN || longer > FILM_MAX.0 || shorter > FILM_MAX.1 {
        let Size { width, height } = size;
        return Err(refuse(format!("a film of {width}x{height} is not drawn")));
    }
    Ok(size)
}

/// What `resolution` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tier {
    /// `2K`: pixels of the longer side.
    Longer(u32),
    /// `720p`: pixels of the shorter side.
    Shorter(u32),
    /// Nothing that says a size.
    Unknown,
}

fn tier(order: &Order) -> Tier {
    let text = order.text("resolution").unwrap_or_default().trim();
    let number = |text: &str| text.parse().ok().filter(|side| *side <= SIDE_MAX);
    let lines = |text: &str| number(text).map_or(Tier::Unknown, Tier::Shorter);
    if let Some(tier) = text.strip_suffix(['K', 'k']) {
        let side = number(tier).and_then(|tier| tier.checked_mul(1_024));
        side.map_or(Tier::Unknown, Tier::Longer)
    } else {
        lines(text.strip_suffix(['p', 'P']).unwrap_or(text))
    }
}

/// What `aspect_ratio` says; words (`auto`) mean the default.
fn ratio(order: &Order, default: (f64, f64)) -> Result<(f64, f64), RenderError> {
    let text = order.text("aspect_ratio").unwrap_or_default();
    let parts = text.split_once(':').and_then(|(width, height)| {
        let part = |text: &str| text.trim().parse::<f64>().ok();
        Some((part(width)?, part(height)?))
    });
    let Some((width, height)) = parts else {
        return Ok(default);
    };
    let quotient = width / height;
    if width > 0.0 && height > 0.0 && (0.05..=20.0).contains(&quotient) {
        Ok((width, height))
    } else {
        Err(refuse(
            "`aspect_ratio` must be between 1:20 and 20:1".to_owned(),
        ))
    }
}

/// The named side exactly, the other one to the nearest even number of pixels.
fn by_tier((width, height): (f64, f64), tier: Tier) -> Size {
    let is_wide = width >= height;
    let quotient = if is_wide {
        width / height
    } else {
        height / width
    };
    let (longer, shorter) = match tier {
        Tier::Longer(side) => (even(f64::from(side)), even(f64::from(side) / quotient)),
        Tier::Shorter(side) => (even(f64::from(side) * quotient), even(f64::from(side))),
        Tier::Unknown => return by_tier((width, height), Tier::Longer(SIDE_DEFAULT)),
    };
    if is_wide {
        Size {
            width: longer,
            height: shorter,
        }
    } else {
        Size {
            width: shorter,
            height: longer,
        }
    }
}

fn even(pixels: f64) -> u32 {
    let halves = (pixels / 2.0).round().max(1.0) as u32;
    halves.saturating_mul(2)
}

fn refuse(message: String) -> RenderError {
    RenderError::Refused(message)
}

#[cfg(test)]
mod tests {
    use domain::order::Modality;
    use serde_json::{Value, json};

    use super::*;

    fn order(params: Value) -> Order {
        Order {
            model: "any".to_owned(),
            modality: Modality::Image,
            prompt: String::new(),
            messages: None,
            params: serde_json::from_value(params).unwrap(),
            scenario: None,
        }
    }

    fn image(params: Value) -> (u32, u32) {
        let size = of_image(&order(params)).unwrap();
        (size.width, size.height)
    }

    fn video(params: Value) -> (u32, u32) {
        let size = of_video(&order(params)).unwrap();
        (size.width, size.height)
    }

    #[test]
    fn every_ratio_is_exact_to_a_pixel_and_even() {
        for ratio in [
            "1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "21:9", "9:21", "5:4", "4:5", "2:1",
            "1:2", "4:1", "1:8",
        ] {
            let (width, height) = ratio.split_once(':').unwrap();
            let quotient: f64 = width.parse::<f64>().unwrap() / height.parse::<f64>().unwrap();
            for (tier, side) in [("1K", 1_024), ("2K", 2_048), ("4K", 4_096)] {
                let (width, height) = image(json!({ "aspect_ratio": ratio, "resolution": tier }));
                assert_eq!(width.max(height), side, "{ratio} {tier}");
                assert_eq!((width % 2, height % 2), (0, 0), "{ratio} {tier}");
                let off = if quotient >= 1.0 {
                    f64::from(width) / quotient - f64::from(height)
                } else {
                    f64::from(height) * quotient - f64::from(width)
                };
                assert!(off.abs() <= 1.0, "{ratio} {tier}: {width}x{height}");
            }
        }
    }

    #[test]
    fn named_pixels_win_over_the_ratio() {
        let params = json!({ "width": 833, "height": 1.0, "aspect_ratio": "16:9" });
        assert_eq!(image(params), (833, 1));
        assert_eq!(image(json!({ "width": 640 })), (1_024, 1_024));
        assert_eq!(image(json!({ "aspect_ratio": "auto" })), (1_024, 1_024));
        assert_eq!(image(json!({ "resolution": "720p" })), (720, 720));
    }

    #[test]
    fn films_are_named_by_their_shorter_side() {
        assert_eq!(video(json!({})), (1_280, 720));
        assert_eq!(video(json!({ "resolution": "1080p" })), (1_920, 1_080));
        assert_eq!(video(json!({ "resolution": "480p" })), (854, 480));
        assert_eq!(video(json!({ "resolution": "768P" })), (1_366, 768));
        assert_eq!(video(json!({ "resolution": "4K" })), (3_840, 2_160));
        let tall = json!({ "resolution": "720p", "aspect_ratio": "9:16" });
        assert_eq!(video(tall), (720, 1_280));
        let square = json!({ "resolution": "540p", "aspect_ratio": "1:1" });
        assert_eq!(video(square), (540, 540));
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        for params in [
            json!({ "width": 4_097, "height": 4_096 }),
            json!({ "width": 0, "height": 10 }),
            json!({ "width": 1e300, "height": 10 }),
            json!({ "aspect_ratio": "1:0" }),
            json!({ "aspect_ratio": "-1:1" }),
            json!({ "aspect_ratio": "1:1000" }),
            json!({ "aspect_ratio": "NaN:inf" }),
            json!({ "resolution": "8K" }),
        ] {
            assert!(of_image(&order(params.clone())).is_err(), "{params}");
        }
        for params in [
            json!({ "resolution": "4320p" }),
            json!({ "resolution": "0p" }),
            json!({ "resolution": "4K", "aspect_ratio": "21:9" }),
        ] {
            assert!(of_video(&order(params.clone())).is_err(), "{params}");
        }
    }
}
