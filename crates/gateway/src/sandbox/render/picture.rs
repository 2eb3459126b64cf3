//! The picture behind the words: domain-warped noise in a palette, both from a seed.

use super::dice::{Dice, mix};
use super::size::Size;

/// The picture is computed at a quarter of its size, but never finer than this: more detail would
/// only cost time.
const SAMPLES_MAX: u32 = 480;

/// Steps between the first and the last colour of a palette.
const SHADES: usize = 512;

/// Colours from shadow to light, each as red, green and blue.
const PALETTES: [[u32; 5]; 8] = [
    // Dawn over the sea.
    [0x1b_1b3a, 0x6a_3669, 0xc8_553d, 0xf2_8f3b, 0xff_d5a5],
    // Northern lights.
    [0x04_151f, 0x0b_4f5c, 0x1f_a187, 0x9b_e564, 0xe8_f9c3],
    // Embers.
    [0x12_0608, 0x5a_0f12, 0xb3_261e, 0xf2_6b21, 0xff_d166],
    // Deep water.
    [0x03_1926, 0x0a_4d68, 0x08_8395, 0x56_c4cf, 0xe3_f6f5],
    // Orchard.
    [0x1d_2b1f, 0x3f_6634, 0x8f_ae3c, 0xe8_c547, 0xf7_efd2],
    // Violet hour.
    [0x17_092e, 0x4a_1a6b, 0x9b_3fb5, 0xe8_6fa9, 0xff_d9c7],
    // Sand and sky.
    [0x1f_3044, 0x45_739b, 0x8f_b8d0, 0xe3_c9a1, 0xf6_ead2],
    // Rose garden.
    [0x22_081c, 0x6b_1d3f, 0xc4_3b5d, 0xf4_978e, 0xfd_e2d3],
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
            let light = 0.70 + 0.50 * (0.6 * c + 0.4 * b);
            let shade = ((value * 2.0 - 0.5).clamp(0.0, 1.0) * (SHADES - 1) as f32) as usize;
            colours.push(palette[shade].map(|part| byte(part * light.clamp(0.35, 1.15))));
        }
    }
    colours
}

/// All shades of one of the palettes, each part between 0 and 1.
fn palette(dice: &mut Dice) -> Vec<[f32; 3]> {
    let stops = dice.pick(&PALETTES);
    let stops = stops.map(|stop| [16, 8, 0].map(|bits| ((stop >> bits) & 255) as f32 / 255.0));
    let last = stops.len() - 1;
    let shade = |step: usize| {
        let at = step as f32 / SHADES as f32 * last as f32;
        let (from, to) = (stops[at as usize], stops[(at as usize + 1).min(last)]);
        [0, 1, 2].map(|part: usize| from[part] + (to[part] - from[part]) * at.fract())
    };
    (0..SHADES).map(shade).collect()
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
