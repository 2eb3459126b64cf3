//! Typesetting: which words go on which line, how large, and their ink.

use ab_glyph::{Font, FontRef, PxScale, ScaleFont};

/// The only face, with Latin, Greek and Cyrillic; its box stands for everything else.
const FACE: &[u8] = include_bytes!("../assets/fonts/DejaVuSans-subset.ttf");

/// Lines are this far apart, in heights of the type.
const LEADING: f32 = 1.22;

/// Steps between the largest and the smallest type that is tried.
const SIZES: u32 = 12;

/// Words on their lines in one size.
pub(crate) struct Block {
    /// The lines from top to bottom.
    pub(crate) lines: Vec<String>,
    /// Size of the type in pixels.
    pub(crate) px: f32,
}

/// The room for a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Longest line in pixels.
    pub(crate) width: f32,
    /// Height of all lines in pixels; one line is always allowed.
    pub(crate) height: f32,
    /// Largest type in pixels.
    pub(crate) px_max: f32,
    /// Smallest type in pixels; what does not fit then is cut.
    pub(crate) px_min: f32,
}

/// The face in one size.
pub(crate) struct Type {
    face: FontRef<'static>,
    px: f32,
}

impl Block {
    /// Height of all lines in pixels.
    pub(crate) fn height(&self) -> f32 {
        self.lines.len() as f32 * self.px * LEADING
    }

    /// The longest line in pixels.
    pub(crate) fn width(&self) -> f32 {
        let face = Type::new(self.px);
        let widths = self.lines.iter().map(|line| face.width(line));
        widths.fold(0.0, f32::max)
    }

    /// Writes the block with its first line's top left corner at the place: `ink` is given pixels,
    /// some more than once, and how much of each is covered, 0 to 1.
    pub(crate) fn write(&self, left: f32, top: f32, mut ink: impl FnMut(i32, i32, f32)) {
        let face = Type::new(self.px);
        for (row, line) in self.lines.iter().enumerate() {
            let top = top + row as f32 * self.px * LEADING;
            face.write(line, left, top, &mut ink);
        }
    }
}

impl Type {
    fn new(px: f32) -> Self {
        Self {
            face: FontRef::try_from_slice(FACE).expect("the embedded font is a font"),
            px,
        }
    }

    fn scale(&self) -> PxScale {
        // The scale of the font crate is the height from ascent to descent, ours is the em.
        let em = self.face.units_per_em().unwrap_or(1.0);
        PxScale::from(self.px * self.face.height_unscaled() / em)
    }

    fn advance(&self, letter: char) -> f32 {
        let scaled = self.face.as_scaled(self.scale());
        scaled.h_advance(scaled.glyph_id(letter))
    }

    fn width(&self, text: &str) -> f32 {
        text.chars().map(|letter| self.advance(letter)).sum()
    }

    fn write(&self, line: &str, left: f32, top: f32, ink: &mut impl FnMut(i32, i32, f32)) {
        let scaled = self.face.as_scaled(self.scale());
        let baseline = top + scaled.ascent() + (self.px * LEADING - scaled.height()) / 2.0;
        let mut x = left;
        for letter in line.chars() {
            let mut glyph = scaled.scaled_glyph(letter);
            glyph.position = ab_glyph::point(x, baseline.round());
            x += scaled.h_advance(glyph.id);
            let Some(outline) = scaled.outline_glyph(glyph) else {
                continue;
            };
            let corner = outline.px_bounds().min;
            outline.draw(|right, below, coverage| {
                let (right, below) = (right as i32, below as i32);
                let (x, y) = (corner.x as i32 + right, corner.y as i32 + below);
                ink(x, y, coverage);
            });
        }
    }

    /// Breaks at spaces, and inside a word that is longer than a line.
    fn wrap(&self, text: &str, width: f32) -> Vec<String> {
        let space = self.advance(' ');
        let mut lines: Vec<String> = Vec::new();
        let (mut line, mut used) = (String::new(), 0.0);
        for word in text.split(' ') {
            let length = self.width(word);
            if !line.is_empty() && used + space + length > width {
                lines.push(std::mem::take(&mut line));
            }
            if line.is_empty() {
                used = 0.0;
            } else {
                line.push(' ');
                used += space;
            }
            if used + length <= width {
                line.push_str(word);
                used += length;
                continue;
            }
            for letter in word.chars() {
                let advance = self.advance(letter);
                if used + advance > width && !line.is_empty() {
                    lines.push(std::mem::take(&mut line));
                    used = 0.0;
                }
                line.push(letter);
                used += advance;
            }
        }
        if !line.is_empty() {
            lines.push(line);
        }
        lines
    }
}

/// The text in the largest type with which it fits its room.
pub(crate) fn fit(text: &str, room: Room) -> Block {
    let step = (room.px_max - room.px_min).max(0.0) / SIZES as f32;
    for size in 0..=SIZES {
        let px = (room.px_max - step * size as f32).max(room.px_min);
        let block = Block {
            lines: Type::new(px).wrap(text, room.width),
            px,
        };
        if block.height() <= room.height {
            return block;
        }
    }
    let face = Type::new(room.px_min);
    let mut lines = face.wrap(text, room.width);
    let most = ((room.height / (room.px_min * LEADING)) as usize).max(1);
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            while !last.is_empty() && face.width(last) + face.advance('…') > room.width {
                last.pop();
            }
            last.truncate(last.trim_end().len());
            last.push('…');
        }
    }
    Block {
        lines,
        px: room.px_min,
    }
}

/// The first letter that the face has no picture of; a box would stand for it.
pub(crate) fn missing(text: &str) -> Option<char> {
    let face = Type::new(1.0).face;
    let mut letters = text.chars().filter(|letter| !letter.is_whitespace());
    letters.find(|letter| face.glyph_id(*letter).0 == 0)
}

/// The text on one line of words with single spaces, at most so many characters; what has no
/// picture of its own (joiners, variation selectors, controls) is left out.
pub(crate) fn clean(text: &str, chars_max: usize) -> String {
    let is_invisible = |letter: &char| {
        let is_format = matches!(*letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{1f3fb}'..='\u{1f3ff}');
        is_format || (letter.is_control() && !letter.is_whitespace())
    };
    let letters = text.chars().filter(|letter| !is_invisible(letter));
    let (mut words, mut count) = (String::new(), 0);
    let mut is_between = false;
    for letter in letters {
        if letter.is_whitespace() {
            is_between = !words.is_empty();
            continue;
        }
        if count + usize::from(is_between) >= chars_max {
            words.push('…');
            break;
        }
        if std::mem::take(&mut is_between) {
            words.push(' ');
            count += 1;
        }
        words.push(letter);
        count += 1;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room {
        width: 200.0,
        height: 100.0,
        px_max: 40.0,
        px_min: 10.0,
    };

    #[test]
    fn every_line_fits_the_room_and_no_word_is_lost() {
        let text = "the quick brown fox jumps over the lazy dog and an extraordinarilylongword";
        let block = fit(text, ROOM);
        assert!(block.width() <= ROOM.width && block.height() <= ROOM.height);
        assert!(block.px > ROOM.px_min && block.px < ROOM.px_max);
        assert_eq!(block.lines.concat().replace(' ', ""), text.replace(' ', ""));
    }

    #[test]
    fn what_does_not_fit_is_cut_visibly() {
        let block = fit(&"word ".repeat(500), ROOM);
        assert!(block.lines.last().unwrap().ends_with('…'));
        assert!(block.width() <= ROOM.width && block.height() <= ROOM.height);
    }

    #[test]
    fn text_is_reduced_to_what_can_be_seen() {
        assert_eq!(clean("  a\tb\n\u{200d}c\u{0} ", 10), "a b c");
        assert_eq!(clean("abcdef", 3), "abc…");
        assert_eq!(clean("abc d", 3), "abc…");
        assert_eq!(clean("", 3), "");
    }

    #[test]
    fn the_face_has_three_scripts_and_a_box() {
        let face = Type::new(20.0);
        for letter in "aßÄéŁőжЩЄґλΩάẞ€—…“”×·".chars() {
            assert_ne!(face.face.glyph_id(letter).0, 0, "{letter}");
        }
        assert_eq!(face.face.glyph_id('漢').0, 0);
        assert_eq!(missing("© Füchse 漢字"), Some('漢'));
        assert_eq!(missing("© Füchse"), None);
        let boxed = face.face.as_scaled(face.scale());
        assert!(boxed.outline_glyph(boxed.scaled_glyph('漢')).is_some());
    }
}
