//! What a file is, judged from its content.
//!
//! Invariant: what an upstream says about a file is not believed; only the types listed here are kept.

/// Bytes of a file's start that the judgement wants.
pub const HEAD_BYTES: usize = 64 * 1024;

/// Every ending of a name that a judgement can give.
pub(super) const EXTENSIONS: [&str; 12] = [
    "png", "jpg", "gif", "webp", "wav", "webm", "mp3", "ogg", "avif", "mov", "m4a", "mp4",
];

/// Every media type that a judgement can give.
pub const CONTENT_TYPES: [&str; 12] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "audio/wav",
    "video/webm",
    "audio/mpeg",
    "audio/ogg",
    "image/avif",
    "video/quicktime",
    "audio/mp4",
    "video/mp4",
];

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// Its media type.
    pub content_type: &'static str,
    /// The ending of its name.
    pub extension: &'static str,
    /// Pixels, where the start of the file says so.
    pub size: Option<(u32, u32)>,
    /// Seconds, where the start of the file says so.
    pub duration_s: Option<f64>,
}

impl Judged {
    fn new(content_type: &'static str, extension: &'static str) -> Self {
        Self {
            content_type,
            extension,
            size: None,
            duration_s: None,
        }
    }
}

/// Judges a file by its first [`HEAD_BYTES`] bytes, or all of them; `None` for a type that is not
/// kept.
#[must_use]
pub fn judge(head: &[u8]) -> Option<Judged> {
    if head.starts_with(b"\x89PNG\r\n\x1a\n") && head.get(12..16) == Some(b"IHDR") {
        return Some(Judged {
            size: be32(head, 16).zip(be32(head, 20)),
            ..Judged::new("image/png", "png")
        });
    }
    if head.starts_with(b"\xff\xd8\xff") {
        return Some(Judged {
            size: jpeg_size(head),
            ..Judged::new("image/jpeg", "jpg")
        });
    }
    if head.starts_with(b"GIF87a") || head.starts_with(b"GIF89a") {
        return Some(Judged {
            size: le16(head, 6).zip(le16(head, 8)),
            ..Judged::new("image/gif", "gif")
        });
    }
    if head.starts_with(b"RIFF") {
        return match head.get(8..12)? {
            b"WEBP" => Some(Judged::new("image/webp", "webp")),
            b"WAVE" => Some(Judged::new("audio/wav", "wav")),
            _ => None,
        };
    }
    if head.get(4..8) == Some(b"ftyp") {
        return iso_media(head);
    }
    if head.starts_with(b"\x1a\x45\xdf\xa3") {
        // The same container with any other document type is one that browsers do not show.
        let is_webm = after(head.get(..64).unwrap_or(head), b"webm").is_some();
        return is_webm.then(|| Judged::new("video/webm", "webm"));
    }
    if head.starts_with(b"ID3") || is_mp3_frame(head) {
        return Some(Judged::new("audio/mpeg", "mp3"));
    }
    if head.starts_with(b"OggS") {
        return Some(Judged::new("audio/ogg", "ogg"));
    }
    None
}

/// What the brands of the first box say (ISO/IEC 14496-12, 4.3): its own one, then those that it is
/// compatible with. Only known ones count, in a box that is whole: the four letters alone could be
/// any file's.
fn iso_media(head: &[u8]) -> Option<Judged> {
    let size = usize::try_from(be32(head, 0)?).ok()?;
    let brands = head.get(8..size)?;
    let own: &[u8] = brands.get(..4)?;
    let known = |wanted: &[&[u8; 4]]| {
        let mut all = std::iter::once(own).chain(brands.get(8..).unwrap_or(&[]).chunks(4));
        all.any(|brand| wanted.iter().any(|known| brand == known.as_slice()))
    };
    let judged = if known(&[b"avif", b"avis"]) {
        return Some(Judged::new("image/avif", "avif"));
    } else if known(&[b"heic", b"heix", b"hevc", b"mif1", b"msf1"]) {
        // Only one family of browsers shows it.
        return None;
    } else if own == b"qt  " {
        Judged::new("video/quicktime", "mov")
    } else if own == b"M4A " {
        Judged::new("audio/mp4", "m4a")
    } else if known(&[
        b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"M4V ", b"dash",
        b"MSNV",
    ]) {
        Judged::new("video/mp4", "mp4")
    } else {
        return None;
    };
    Some(Judged {
        size: track_size(head),
        duration_s: movie_seconds(head),
        ..judged
    })
}

/// The header of a layer III frame (ISO/IEC 11172-3, 2.4.1.3) with values that are in use.
fn is_mp3_frame(head: &[u8]) -> bool {
    let &[0xff, second, third, ..] = head else {
        return false;
    };
    let is_layer_3 = matches!(second, 0xfb | 0xfa | 0xf3 | 0xf2 | 0xe3 | 0xe2);
    is_layer_3 && !matches!(third >> 4, 0 | 15) && third & 0x0c != 0x0c
}

/// Duration over time scale in the movie header box (ISO/IEC 14496-12, 8.2.2), when the file starts
/// with it.
fn movie_seconds(head: &[u8]) -> Option<f64> {
    let body = after(head, b"mvhd")?;
    let (scale, length) = match *body.first()? {
        0 => (be32(body, 12)?, u64::from(be32(body, 16)?)),
        _ => {
            let high = u64::from(be32(body, 24)?) << 32;
            (be32(body, 20)?, high | u64::from(be32(body, 28)?))
        }
    };
    // All ones mean unknown, and nothing means that the length is told in fragments further on.
    if scale == 0 || matches!(length, 0 | 0xffff_ffff | u64::MAX) {
        return None;
    }
    // Whole milliseconds: more is not said by any file that matters.
    let ms = length.checked_mul(1_000)? / u64::from(scale);
    u32::try_from(ms).ok().map(|ms| f64::from(ms) / 1_000.0)
}

/// Width and height in the first track header that has them (8.3.2).
fn track_size(head: &[u8]) -> Option<(u32, u32)> {
    let mut rest = head;
    while let Some(body) = after(rest, b"tkhd") {
        let offset = if *body.first()? == 0 { 76 } else { 88 };
        let size = (be32(body, offset)? >> 16, be32(body, offset + 4)? >> 16);
        if size.0 > 0 && size.1 > 0 {
            return Some(size);
        }
        rest = body;
    }
    None
}

/// What follows the first place of a box's name.
fn after<'a>(bytes: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    let at = bytes.windows(4).position(|window| window == name)?;
    bytes.get(at + 4..)
}

/// Height and width in the start-of-frame segment (ITU-T T.81, B.2.2).
fn jpeg_size(head: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2_usize;
    loop {
        let marker = *head.get(at + 1)?;
        let length = usize::from(u16::from_be_bytes([*head.get(at + 2)?, *head.get(at + 3)?]));
        let is_frame = matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc);
        if is_frame {
            let pair = |offset: usize| {
                Some(u32::from(u16::from_be_bytes([
                    *head.get(offset)?,
                    *head.get(offset + 1)?,
                ])))
            };
            return pair(at + 7).zip(pair(at + 5));
        }
        at = at.checked_add(2)?.checked_add(length)?;
        if *head.get(at)? != 0xff {
            return None;
        }
    }
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

fn le16(bytes: &[u8], at: usize) -> Option<u32> {
    let two = bytes.get(at..at.checked_add(2)?)?;
    Some(u32::from(u16::from_le_bytes(two.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pages_and_scripts_are_not_kept() {
        for bytes in [
            &b"<html>"[..],
            b"<svg xmlns=",
            b"#EXTM3U",
            b"%PDF-1.7",
            b"PK\x03\x04",
            b"",
            b"GIF",
        ] {
            assert_eq!(judge(bytes), None, "{bytes:?}");
        }
    }

    /// What is to be removed is looked for under all of them.
    #[test]
    fn every_extension_is_listed() {
        let given = include_str!("judge.rs").split("Judged::new(\"").skip(1);
        let mut given: Vec<_> = given.filter_map(|text| text.split('"').nth(2)).collect();
        given.retain(|extension| !extension.contains('('));
        assert_eq!(given, EXTENSIONS);
        let types = include_str!("judge.rs").split("Judged::new(\"").skip(1);
        let mut types: Vec<_> = types.filter_map(|text| text.split('"').next()).collect();
        types.retain(|kind| kind.contains('/'));
        assert_eq!(types, CONTENT_TYPES);
    }

    #[test]
    fn a_jpeg_says_its_size() {
        let bytes = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x11\x08\x00\x20\x00\x40\x03";
        assert_eq!(judge(bytes).and_then(|judged| judged.size), Some((64, 32)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(start in 0_usize..8, bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let magic: [&[u8]; 8] = [b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF", b"0000ftypmvhd", b"0000ftyptkhd", b"ID3"];
            let mut file = magic[start].to_vec();
            file.extend(bytes);
            let _ = judge(&file);
        }
    }
}
