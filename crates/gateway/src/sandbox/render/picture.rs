//! The picture behind the words: domain-warped noise in a palette, both from a seed.

use std::f32::consts::TAU;

use super::dice::{Dice, mix};
use super::size::Size;

/// The picture is computed at a quarter of its size, but never finer than this: more detail would
/// only cost time.
const SAMPLES_MAX: u32 = 480;

/// Steps between the first and the last colour of a palette.
const SHADES: usize = 512;

/// Cosine palettes: offset, amplitude, frequency, phase of red, green and blue.
const PALETTES: [[[f32; 3]; 4]; 8] = [
    // Dawn over the sea.
    [
        [0.52, 0.42, 0.46],
        [0.46, 0.36, 0.30],
        [0.90, 0.90, 0.90],
        [0.02, 0.14, 0.36],
    ],
    // Northern lights.
    [
        [0.22, 0.46, 0.48],
        [0.24, 0.40, 0.34],
        [0.80, 1.00, 0.90],
        [0.55, 0.30, 0.12],
    ],
    // Embers.
    [
        [0.54, 0.28, 0.20],
        [0.46, 0.30, 0.22],
        [0.85, 0.95, 0.90],
        [0.00, 0.08, 0.18],
    ],
    // Deep water.
    [
        [0.18, 0.40, 0.56],
        [0.20, 0.34, 0.38],
        [0.90, 0.80, 0.70],
        [0.60, 0.45, 0.30],
    ],
    // Orchard.
    [
        [0.50, 0.52, 0.32],
        [0.42, 0.36, 0.28],
        [0.90, 0.80, 0.70],
        [0.10, 0.02, 0.30],
    ],
    // Violet hour.
    [
        [0.48, 0.32, 0.58],
        [0.42, 0.30, 0.36],
        [0.80, 0.90, 0.80],
        [0.10, 0.22, 0.92],
    ],
    // Sand and sky.
    [
        [0.58, 0.54, 0.52],
        [0.38, 0.32, 0.40],
        [0.75, 0.80, 0.90],
        [0.00, 0.08, 0.26],
    ],
    // Rose garden.
    [
        [0.56, 0.36, 0.42],
        [0.40, 0.34, 0.34],
        [0.90, 0.90, 0.80],
        [0.95, 0.15, 0.10],
    ],
];

/// Red, green and blue bytes of the whole picture, row by row.
pub(crate) fn paint(seed: u64, size: Size) -> Vec<u8> {
    let longer = size.width.max(size.height);
    let samples = (longer / 4).clamp(2, SAMPLES_MAX);
    let scale = |side: u32| ((side * samples).div_ceil(longer)).max(2);
    let coarse = Size {
        width: scale(size.width),
        height: scale(size.height),
    };
    enlarge(&sketch(seed, coarse), coarse, size)
}

/// The picture at a coarse size.
fn sketch(seed: u64, size: Size) -> Vec<[u8; 3]> {
    let mut dice = Dice::new(seed);
    let palette = palette(&mut dice);
    let detail = 1.5 + dice.fraction();
    let (left, top) = (dice.fraction() * 64.0, dice.fraction() * 64.0);
    let warp = 1.6 + dice.fraction();
    let field = Field { seed: dice.roll() };
    let unit = detail / size.shorter() as f32;
    let mut colours = Vec::with_capacity(size.pixels());
    for row in 0..size.height {
        for column in 0..size.width {
            let x = left + column as f32 * unit;
            let y = top + row as f32 * unit;
            // The field bends the place at which it is read, twice: that makes the folds.
            let a = field.sum(x, y, 3);
            let b = field.sum(x + 5.2, y + 1.3, 3);
            let (u, v) = (x + warp * a, y + warp * b);
            let c = field.sum(u + 1.7, v + 9.2, 3);
            let value = field.sum(u + warp * c, v + warp * a, 4);
            let light = 0.62 + 0.55 * (0.6 * c + 0.4 * b);
            let shade = ((value * 1.7 - 0.35).clamp(0.0, 1.0) * (SHADES - 1) as f32) as usize;
            colours.push(palette[shade].map(|part| byte(part * light.clamp(0.35, 1.15))));
        }
    }
    colours
}

fn palette(dice: &mut Dice) -> Vec<[f32; 3]> {
    let [offset, amplitude, frequency, phase] = dice.pick(&PALETTES);
    let turn = dice.fraction() * 0.15;
    let colour = |step: usize| {
        let at = step as f32 / SHADES as f32;
        [0, 1, 2].map(|part: usize| {
            let angle = TAU * (frequency[part] * at + phase[part] + turn);
            offset[part] + amplitude[part] * angle.cos()
        })
    };
    (0..SHADES).map(colour).collect()
}

fn byte(part: f32) -> u8 {
    (part * 255.0).clamp(0.0, 255.0) as u8
}

/// A field of smooth numbers between 0 and 1.
struct Field {
    seed: u64,
}

impl Field {
    /// Octaves of the field, each twice as fine and half as strong.
    fn sum(&self, x: f32, y: f32, octaves: u32) -> f32 {
        let (mut sum, mut whole) = (0.0, 0.0);
        let (mut x, mut y, mut weight) = (x, y, 0.5);
        for _ in 0..octaves {
            sum += weight * self.at(x, y);
            whole += weight;
            // Turned a little each time, or the grid would show.
            (x, y) = (1.6 * x - 1.2 * y, 1.2 * x + 1.6 * y);
            weight *= 0.5;
        }
        sum / whole
    }

    fn at(&self, x: f32, y: f32) -> f32 {
        let (column, row) = (x.floor(), y.floor());
        let ease = |t: f32| t * t * (3.0 - 2.0 * t);
        let (across, down) = (ease(x - column), ease(y - row));
        let (column, row) = (column as i32, row as i32);
        let corner = |right: i32, below: i32| self.corner(column + right, row + below);
        let above = corner(0, 0) + (corner(1, 0) - corner(0, 0)) * across;
        let below = corner(0, 1) + (corner(1, 1) - corner(0, 1)) * across;
        above + (below - above) * down
    }

    fn corner(&self, column: i32, row: i32) -> f32 {
        let place = (u64::from(column.cast_unsigned()) << 32) | u64::from(row.cast_unsigned());
        (mix(self.seed ^ place) >> 40) as f32 / (1_u64 << 24) as f32
    }
}

/// Where a pixel of the large picture lies in the coarse one.
#[derive(Clone, Copy)]
struct Between {
    first: usize,
    second: usize,
    /// Weight of the second, of 256.
    weight: u32,
}

fn places(coarse: u32, fine: u32) -> Vec<Between> {
    let step = (u64::from(coarse - 1) << 16) / u64::from(fine.max(2) - 1);
    let place = |pixel: u32| {
        let at = u64::from(pixel) * step;
        let first = (at >> 16) as usize;
        Between {
            first,
            second: (first + 1).min(coarse as usize - 1),
            weight: ((at >> 8) & 255) as u32,
        }
    };
    (0..fine).map(place).collect()
}

fn enlarge(colours: &[[u8; 3]], coarse: Size, size: Size) -> Vec<u8> {
    let columns = places(coarse.width, size.width);
    let width = coarse.width as usize;
    let mut bytes = Vec::with_capacity(size.pixels() * 3);
    let mut blended: Vec<[u32; 3]> = vec![[0; 3]; width];
    for row in places(coarse.height, size.height) {
        let above = &colours[row.first * width..][..width];
        let below = &colours[row.second * width..][..width];
        for ((blend, above), below) in blended.iter_mut().zip(above).zip(below) {
            for part in 0..3 {
                blend[part] = u32::from(above[part]) * (256 - row.weight)
                    + u32::from(below[part]) * row.weight;
            }
        }
        for column in &columns {
            let (left, right) = (&blended[column.first], &blended[column.second]);
            for part in 0..3 {
                let sum = left[part] * (256 - column.weight) + right[part] * column.weight;
                bytes.push((sum >> 16) as u8);
            }
        }
    }
    bytes
}
