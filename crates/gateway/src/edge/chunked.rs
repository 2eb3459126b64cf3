//! The framing of chunks (RFC 9112, section 7.1), only as far as to find their end.

use super::framing::{HEAD_BYTES_MAX, Violation};

/// The longest line of a size with its extensions, in bytes.
const LINE_BYTES_MAX: usize = 1 << 10;

/// How far a chunked body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunked {
    place: Place,
    /// Size of the chunk that is announced or under way.
    left: u64,
    /// Bytes of the line that is under way; of all trailers together.
    line: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Size,
    Extension,
    SizeEnd,
    Bytes,
    /// The line end after the bytes.
    BytesCr,
    BytesLf,
    /// The beginning of a trailer line.
    Trailer,
    /// Inside of one.
    TrailerText,
    TrailerLf,
    /// The LF of the last, empty line.
    LastLf,
}

impl Chunked {
    pub(super) fn new() -> Self {
        Self {
            place: Place::Size,
            left: 0,
            line: 0,
        }
    }

    /// Takes what belongs to the body; whether it is complete.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), Violation> {
        let mut at = 0;
        while at < bytes.len() {
            if self.place == Place::Bytes {
                let rest = bytes.len() - at;
                let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest);
                self.left -= taken as u64;
                at += taken;
                if self.left == 0 {
                    self.place = Place::BytesCr;
                }
                continue;
            }
            let is_last = self.place == Place::LastLf;
            self.step(bytes[at])?;
            at += 1;
            if is_last {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    fn step(&mut self, byte: u8) -> Result<(), Violation> {
        self.line += 1;
        self.place = match (self.place, byte) {
            (Place::Size, b'\r') if self.line > 1 => Place::SizeEnd,
            (Place::Size, b';') if self.line > 1 => Place::Extension,
            // 15 digits are more than anybody sends, and fit.
            (Place::Size, _) if self.line <= 15 => {
                let digit = char::from(byte).to_digit(16).ok_or(Violation::Chunks)?;
                self.left = self.left * 16 + u64::from(digit);
                Place::Size
            }
            (Place::Extension, b'\r') => Place::SizeEnd,
            (Place::Extension, _) if byte != b'\n' && self.line <= LINE_BYTES_MAX => {
                Place::Extension
            }
            (Place::SizeEnd, b'\n') => {
                self.line = 0;
                if self.left == 0 {
                    Place::Trailer
                } else {
                    Place::Bytes
                }
            }
            (Place::BytesCr, b'\r') => Place::BytesLf,
            (Place::BytesLf, b'\n') => {
                self.line = 0;
                Place::Size
            }
            (Place::Trailer, b'\r') => Place::LastLf,
            (Place::Trailer | Place::TrailerText, _)
                if !matches!(byte, b'\r' | b'\n' | 0) && self.line <= HEAD_BYTES_MAX =>
            {
                Place::TrailerText
            }
            (Place::TrailerText, b'\r') => Place::TrailerLf,
            (Place::TrailerLf, b'\n') => Place::Trailer,
            (Place::LastLf, b'\n') => Place::LastLf,
            _ => return Err(Violation::Chunks),
        };
        Ok(())
    }
}
