//! A part of a picture that is darkened and written on, for pixels in RGB and in YUV alike.

use super::size::Size;

/// Darkening and white ink over a rectangle. The rectangle begins at even pixels and ends at even
/// pixels or at the edge, so that it covers whole cells of a film's colour planes.
pub(crate) struct Overlay {
    left: u32,
    top: u32,
    width: u32,
    height: u32,
    /// How much of the picture is taken away, of 255.
    shade: Vec<u8>,
    /// How much white is laid over the rest, of 255.
    ink: Vec<u8>,
}

/// A rectangle of whole pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Area {
    /// Its first column.
    pub(crate) left: u32,
    /// Its first row.
    pub(crate) top: u32,
    /// The column after its last.
    pub(crate) right: u32,
    /// The row after its last.
    pub(crate) bottom: u32,
}

impl Overlay {
    /// An overlay without ink; `shade` tells the darkening of a pixel of the picture.
    pub(crate) fn new(area: Area, size: Size, shade: impl Fn(u32, u32) -> u8) -> Self {
        let (right, bottom) = (area.right.min(size.width), area.bottom.min(size.height));
        let (left, top) = (area.left.min(right) & !1, area.top.min(bottom) & !1);
        let width = (right - left).next_multiple_of(2).min(size.width - left);
        let height = (bottom - top).next_multiple_of(2).min(size.height - top);
        let rows = (top..top + height).flat_map(|y| (left..left + width).map(move |x| (x, y)));
        let shade: Vec<u8> = rows.map(|(x, y)| shade(x, y)).collect();
        Self {
            left,
            top,
            width,
            height,
            ink: vec![0; shade.len()],
            shade,
        }
    }

    /// Lays ink on a pixel of the picture; whatever lies outside is lost.
    pub(crate) fn write(&mut self, x: i32, y: i32, strength: f32) {
        let inside = |at: i32, from: u32, count: u32| {
            let offset = u32::try_from(at).ok()?.checked_sub(from)?;
            (offset < count).then_some(offset as usize)
        };
        let column = inside(x, self.left, self.width);
        let row = inside(y, self.top, self.height);
        if let (Some(column), Some(row)) = (column, row) {
            let ink = &mut self.ink[row * self.width as usize + column];
            *ink = (*ink).max((strength.clamp(0.0, 1.0) * 255.0) as u8);
        }
    }

    /// Applies it to a picture in RGB bytes.
    pub(crate) fn onto(&self, picture: &mut [u8], size: Size) {
        let (width, stride) = (self.width as usize, size.width as usize);
        for row in 0..self.height as usize {
            let start = ((self.top as usize + row) * stride + self.left as usize) * 3;
            let pixels = &mut picture[start..][..width * 3];
            let shade = &self.shade[row * width..][..width];
            let ink = &self.ink[row * width..][..width];
            for ((pixel, shade), ink) in pixels.chunks_exact_mut(3).zip(shade).zip(ink) {
                let rest = rest(*shade, *ink);
                for part in pixel {
                    let sum = u32::from(*part) * rest / 255 + u32::from(*ink);
                    *part = sum.min(255) as u8;
                }
            }
        }
    }

    /// The same for the planes of a film, prepared once and applied to every frame.
    pub(crate) fn veil(&self) -> Veil {
        let (width, height) = (self.width as usize, self.height as usize);
        let (mut kept, mut added) = (Vec::new(), Vec::new());
        for (shade, ink) in self.shade.iter().zip(&self.ink) {
            let (rest, white) = (rest(*shade, *ink), u32::from(*ink));
            kept.push(rest as u8);
            // Black is 16 and white 235; rounded up, as what is kept is rounded down.
            added.push((16 * (255 - rest - white) + 235 * white).div_ceil(255) as u8);
        }
        let mut chroma = Vec::with_capacity(kept.len() / 4);
        for row in (0..height / 2 * 2).step_by(2) {
            for column in (0..width / 2 * 2).step_by(2) {
                let at = row * width + column;
                let cell = [at, at + 1, at + width, at + width + 1];
                let sum: u32 = cell.iter().map(|at| u32::from(kept[*at])).sum();
                chroma.push((sum / 4) as u8);
            }
        }
        Veil {
            left: self.left as usize,
            top: self.top as usize,
            width,
            kept,
            added,
            faded: chroma,
        }
    }
}

/// How much of the picture is left, of 255.
fn rest(shade: u8, ink: u8) -> u32 {
    u32::from(255 - shade) * u32::from(255 - ink) / 255
}

/// An overlay in the numbers of YUV.
pub(crate) struct Veil {
    left: usize,
    top: usize,
    width: usize,
    /// What is left of the picture, of 255.
    kept: Vec<u8>,
    /// What is added to it.
    added: Vec<u8>,
    /// What is left of the colour, of 255.
    faded: Vec<u8>,
}

impl Veil {
    /// Applies it to the brightness of a frame.
    pub(crate) fn dim(&self, plane: &mut [u8], stride: usize) {
        let width = self.width.max(1);
        let rows = self.kept.chunks_exact(width);
        for (row, (kept, added)) in rows.zip(self.added.chunks_exact(width)).enumerate() {
            let start = (self.top + row) * stride + self.left;
            let pixels = &mut plane[start..][..width];
            for ((pixel, kept), added) in pixels.iter_mut().zip(kept).zip(added) {
                *pixel = part(*pixel, *kept).saturating_add(*added);
            }
        }
    }

    /// Applies it to one of the two colours of a frame; `stride` is that of the colour's plane.
    pub(crate) fn fade(&self, plane: &mut [u8], stride: usize) {
        let width = (self.width / 2).max(1);
        for (row, faded) in self.faded.chunks_exact(width).enumerate() {
            let start = (self.top / 2 + row) * stride + self.left / 2;
            let pixels = &mut plane[start..][..width];
            for (pixel, faded) in pixels.iter_mut().zip(faded) {
                // Grey is 128: the colour moves towards it.
                *pixel = part(*pixel, *faded).saturating_add(part(128, 255 - *faded));
            }
        }
    }
}

/// `whole × weight ÷ 255` to within one, in arithmetic that runs on many pixels at once.
fn part(whole: u8, weight: u8) -> u8 {
    let product = u16::from(whole) * u16::from(weight) + 128;
    ((product + (product >> 8)) >> 8) as u8
}
