//! Sizes and ratios in the forms providers want them.

use serde_json::{Map, Value};

/// Which part of a size is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The width, a number.
    Width,
    /// The height, a number.
    Height,
    /// Both as text with a character between: `1024x576`.
    Both(char),
}

/// The asked width and height, where both are given.
fn sides(params: &Map<String, Value>) -> Option<(i64, i64)> {
    let side = |name: &str| params.get(name).and_then(Value::as_i64);
    Some((side("width")?, side("height")?)).filter(|(width, height)| *width > 0 && *height > 0)
}

/// The two numbers of `16:9`.
#[must_use]
pub fn ratio_of(word: &str) -> Option<(f64, f64)> {
    let (width, height) = word.split_once(':')?;
    let (width, height) = (width.parse::<f64>().ok()?, height.parse::<f64>().ok()?);
    let is_sound = |side: f64| side.is_finite() && side > 0.0;
    (is_sound(width) && is_sound(height)).then_some((width, height))
}

/// Index of the ratio nearest to a width and height: the smallest difference of logarithms, so that
/// twice as wide is as far as twice as high.
#[must_use]
pub fn nearest_ratio(width: f64, height: f64, among: &[&str]) -> Option<usize> {
    let wanted = (width / height).ln();
    let distance = |word: &str| {
        ratio_of(word).map_or(f64::INFINITY, |(wide, high)| {
            ((wide / high).ln() - wanted).abs()
        })
    };
    let nearest = among
        .iter()
        .enumerate()
        .min_by(|(_, one), (_, other)| distance(one).total_cmp(&distance(other)));
    nearest.map(|(index, _)| index)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "sides are below a million pixels"
)]
pub(super) fn ratio(params: &Map<String, Value>, among: &[(String, Value)]) -> Option<Value> {
    if let Some((width, height)) = sides(params) {
        let words: Vec<&str> = among.iter().map(|(word, _)| word.as_str()).collect();
        let nearest = nearest_ratio(width as f64, height as f64, &words)?;
        return among.get(nearest).map(|(_, value)| value.clone());
    }
    let asked = params.get("aspect_ratio").and_then(Value::as_str)?;
    let found = among.iter().find(|(word, _)| word == asked);
    found.map(|(_, value)| value.clone())
}

pub(super) fn tier(params: &Map<String, Value>, tiers: &[(String, i64)]) -> Option<Value> {
    let Some((width, height)) = sides(params) else {
        return tiers.first().map(|(name, _)| Value::from(name.as_str()));
    };
    let longer = width.max(height);
    let fits = tiers.iter().find(|(_, most)| longer <= *most);
    let chosen = fits.or(tiers.last());
    chosen.map(|(name, _)| Value::from(name.as_str()))
}

pub(super) fn pixels(
    params: &Map<String, Value>,
    part: Part,
    side: i64,
    step: i64,
) -> Option<Value> {
    let (width, height) = sides(params).or_else(|| {
        let word = params.get("aspect_ratio").and_then(Value::as_str)?;
        let (wide, high) = ratio_of(word)?;
        Some((
            scaled(side, (wide / high).sqrt(), step),
            scaled(side, (high / wide).sqrt(), step),
        ))
    })?;
    Some(match part {
        Part::Width => Value::from(width),
        Part::Height => Value::from(height),
        Part::Both(between) => Value::from(format!("{width}{between}{height}")),
    })
}

/// A side times a factor, to the nearest multiple of `step`.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "sides are below a million pixels"
)]
fn scaled(side: i64, factor: f64, step: i64) -> i64 {
    let steps = (side as f64 * factor / step as f64).round().max(1.0);
    (steps as i64).saturating_mul(step)
}
