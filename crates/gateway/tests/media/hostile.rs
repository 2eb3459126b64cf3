//! Files that lie about what they are.

use gateway::media::{Incoming, MediaError, judge};

use crate::place::{Place, task};
use crate::png;

type Kept = (&'static str, Vec<u8>, &'static str);
type Refused = (&'static str, Vec<u8>);

const SCRIPT: &[u8] = b"<!DOCTYPE html><html><script>alert(document.domain)</script></html>";

fn with(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// A box of the ISO media format.
fn brands(own: &[u8; 4], others: &[&[u8; 4]]) -> Vec<u8> {
    let length = u32::try_from(16 + 4 * others.len()).unwrap();
    let mut file = with(&[&length.to_be_bytes(), b"ftyp", own, &[0; 4]]);
    others
        .iter()
        .for_each(|brand| file.extend_from_slice(*brand));
    file.extend_from_slice(b"\0\0\0\x08free");
    file
}

/// Pictures that are kept, as what; a page inside does not matter, as it is never served as one.
fn kept_pictures() -> Vec<Kept> {
    vec![
        (
            "gif with a page",
            with(&[b"GIF89a\x01\0\x01\0\x80\0\0!\xfe", SCRIPT]),
            "image/gif",
        ),
        (
            "old gif with a script",
            with(&[b"GIF87a/*\0\0\0*/=1;alert(1)"]),
            "image/gif",
        ),
        (
            "png with a page",
            with(&[&png(33), b"\0\0\0\x50tEXt", SCRIPT]),
            "image/png",
        ),
        (
            "png before a zip",
            with(&[&png(200), b"PK\x03\x04"]),
            "image/png",
        ),
        ("png that claims 64k pixels", huge_png(), "image/png"),
        (
            "jpeg with a page",
            with(&[b"\xff\xd8\xff\xfe\0\x50", SCRIPT]),
            "image/jpeg",
        ),
        (
            "jpeg before a jar",
            with(&[b"\xff\xd8\xff\xe0\0\x10JFIF\0", b"PK\x05\x06"]),
            "image/jpeg",
        ),
        (
            "webp with a page",
            with(&[b"RIFF\x50\0\0\0WEBPVP8 ", SCRIPT]),
            "image/webp",
        ),
    ]
}

/// Films and sounds that are kept, as what.
fn kept_films() -> Vec<Kept> {
    vec![
        (
            "mp4 with a page",
            with(&[&brands(b"isom", &[b"avc1"]), b"\0\0\0\x50free", SCRIPT]),
            "video/mp4",
        ),
        (
            "mp4 of an unknown brand that says what it is like",
            brands(b"XAVC", &[b"mp42"]),
            "video/mp4",
        ),
        (
            "webm with a page",
            with(&[b"\x1a\x45\xdf\xa3\x9fB\x82\x84webm", SCRIPT]),
            "video/webm",
        ),
        ("mov", brands(b"qt  ", &[]), "video/quicktime"),
        (
            "avif behind another brand",
            brands(b"mif1", &[b"avif"]),
            "image/avif",
        ),
        ("avif", brands(b"avif", &[b"mif1"]), "image/avif"),
        ("m4a", brands(b"M4A ", &[b"isom"]), "audio/mp4"),
        (
            "wav with a page",
            with(&[b"RIFF\x50\0\0\0WAVEfmt ", SCRIPT]),
            "audio/wav",
        ),
        (
            "mp3 with a page in its tag",
            with(&[b"ID3\x04\0\0\0\0\0\x50", SCRIPT]),
            "audio/mpeg",
        ),
        (
            "mp3 without a tag",
            b"\xff\xfb\x90\x64\0\0\0\0".to_vec(),
            "audio/mpeg",
        ),
        (
            "ogg with a page",
            with(&[b"OggS\0\x02", SCRIPT]),
            "audio/ogg",
        ),
    ]
}

fn huge_png() -> Vec<u8> {
    let mut file = png(33);
    file[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    file
}

/// Pages, scripts and documents.
fn refused_texts() -> Vec<Refused> {
    let utf16: Vec<u8> = "\u{feff}<html>"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    vec![
        ("page", SCRIPT.to_vec()),
        ("page after blanks", with(&[b" \r\n\t", SCRIPT])),
        (
            "page after a byte order mark",
            with(&[b"\xef\xbb\xbf", SCRIPT]),
        ),
        ("page in UTF-16", utf16),
        ("page before a png", with(&[SCRIPT, &png(100)])),
        ("page before a gif", with(&[b"<!--", b"GIF89a", SCRIPT])),
        (
            "page whose second word is ftyp",
            with(&[b"<!--ftypisom", SCRIPT]),
        ),
        (
            "page whose second word is ftyp, far from a box",
            with(&[b"<h1 ftyp", SCRIPT]),
        ),
        (
            "svg",
            b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>".to_vec(),
        ),
        (
            "svg behind a prologue",
            b"<?xml version='1.0'?><svg onload='alert(1)'/>".to_vec(),
        ),
        (
            "xml",
            b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>".to_vec(),
        ),
        (
            "playlist",
            b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\nconcat:file:///etc/passwd".to_vec(),
        ),
        ("script", b"alert(document.cookie)".to_vec()),
        ("shell script", b"#!/bin/sh\nrm -rf /".to_vec()),
        (
            "python pickle",
            b"\x80\x04\x95\x1d\0\0\0cposix\nsystem".to_vec(),
        ),
        ("json", b"{\"error\":\"expired\"}".to_vec()),
        ("plain text", b"just text".to_vec()),
        (
            "pdf",
            b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript>>>>".to_vec(),
        ),
        ("pdf with a gif inside", with(&[b"%PDF-1.7", b"GIF89a"])),
    ]
}

/// Archives, programs, media that browsers do not show, and halves of those that they do.
fn refused_binaries() -> Vec<Refused> {
    vec![
        ("zip", b"PK\x03\x04\x14\0".to_vec()),
        ("gzip", b"\x1f\x8b\x08\0".to_vec()),
        ("tar", with(&[b"evil.sh\0", &[0; 249], b"ustar\0"])),
        ("windows program", b"MZ\x90\0\x03\0\0\0".to_vec()),
        ("linux program", b"\x7fELF\x02\x01\x01".to_vec()),
        ("web assembly", b"\0asm\x01\0\0\0".to_vec()),
        ("java class", b"\xca\xfe\xba\xbe\0\0\0\x34".to_vec()),
        ("flash", b"CWS\x09\0\0\0\0".to_vec()),
        ("avi", b"RIFF\x50\0\0\0AVI LIST".to_vec()),
        ("riff of nothing", b"RIFF\x50\0\0".to_vec()),
        (
            "matroska",
            b"\x1a\x45\xdf\xa3\x9fB\x82\x88matroska".to_vec(),
        ),
        ("heic", brands(b"heic", &[b"mif1"])),
        ("heic in a video's clothes", brands(b"isom", &[b"heic"])),
        ("brands that nobody knows", brands(b"evil", &[b"more"])),
        ("a box that is cut off", b"\0\0\0\x18ftyp".to_vec()),
        ("tiff", b"II*\0\x08\0\0\0".to_vec()),
        ("bitmap", b"BM\x36\0\0\0".to_vec()),
        ("icon", b"\0\0\x01\0\x01\0".to_vec()),
        ("photoshop", b"8BPS\0\x01".to_vec()),
        ("jpeg xl", b"\xff\x0a\xfa\x1f".to_vec()),
        (
            "mail archive",
            b"MIME-Version: 1.0\r\nContent-Type: text/html".to_vec(),
        ),
        ("png cut off", b"\x89PNG\r\n\x1a\n".to_vec()),
        ("png that is a page", with(&[b"\x89PNG\r\n\x1a\n", SCRIPT])),
        ("png in text mode", with(&[b"\x89PNG\n\x1a\n", SCRIPT])),
        ("half a gif", b"GIF8".to_vec()),
        ("half a jpeg", b"\xff\xd8".to_vec()),
        ("sync word of no frame", b"\xff\xfb<script>".to_vec()),
        ("sync word of a reserved rate", b"\xff\xfb\xfc\0".to_vec()),
        ("UTF-16 mark", b"\xff\xfe<\0h\0".to_vec()),
        ("one byte", b"\0".to_vec()),
    ]
}

#[tokio::test]
async fn what_is_no_media_is_refused_for_good() {
    let place = Place::folder();
    let refused = [refused_texts(), refused_binaries()].concat();
    assert!(refused.len() >= 45);
    for (name, file) in refused {
        let result = place
            .media
            .keep(&task(1), 0, Incoming::Bytes(file.into()), 0)
            .await;
        assert!(
            matches!(result, Err(MediaError::Never(_))),
            "{name}: {result:?}"
        );
    }
    assert_eq!(place.found(), [""; 0]);
}

#[tokio::test]
async fn what_is_media_is_kept_as_what_its_start_says() {
    let place = Place::folder();
    let kept = [kept_pictures(), kept_films()].concat();
    for (index, (name, file, content_type)) in kept.into_iter().enumerate() {
        let incoming = Incoming::Bytes(file.clone().into());
        let stored = place.media.keep(&task(1), index, incoming, 0).await;
        let stored = stored.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(stored.content_type, content_type, "{name}");
        assert_eq!(place.bytes(&stored.path), file, "{name}");
        let extension = stored.path.rsplit('.').next().unwrap();
        assert!(!["html", "svg", "js", "txt"].contains(&extension), "{name}");
    }
}

#[test]
fn lengths_that_mean_unknown_are_not_told() {
    let movie = |scale: u32, length: u32| {
        let header = [0, 0, 0, scale, length].map(u32::to_be_bytes).concat();
        let file = with(&[
            &brands(b"isom", &[]),
            b"\0\0\0\x6cmoov\0\0\0\x64mvhd",
            &header,
        ]);
        judge(&file).unwrap().duration_s
    };
    assert_eq!(movie(1_000, 2_500), Some(2.5));
    for (scale, length) in [(0, 5), (1_000, 0), (1_000, u32::MAX)] {
        assert_eq!(movie(scale, length), None, "{scale} {length}");
    }
}
