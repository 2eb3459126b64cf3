//! The files as others read them: a PNG decoder, a walk through the boxes, and ffmpeg.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use domain::order::{Modality, Order};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{File, check, count, file};

fn order(modality: Modality, prompt: &str, params: Value) -> Order {
    Order {
        model: "model-a".to_owned(),
        modality,
        prompt: prompt.to_owned(),
        messages: None,
        params: serde_json::from_value(params).unwrap(),
        scenario: None,
    }
}

fn image(params: Value) -> File {
    file(&order(Modality::Image, "a lighthouse", params), 0).unwrap()
}

fn film(params: Value) -> Vec<u8> {
    file(&order(Modality::Video, "a lighthouse", params), 0)
        .unwrap()
        .bytes
}

fn decoded(png: &[u8]) -> image::RgbImage {
    image::load_from_memory(png).unwrap().into_rgb8()
}

#[test]
fn a_picture_has_exactly_the_asked_size() {
    for (params, size) in [
        (json!({ "width": 333, "height": 200 }), (333, 200)),
        (json!({ "width": 1, "height": 1 }), (1, 1)),
        (json!({ "width": 3, "height": 900 }), (3, 900)),
        (json!({ "aspect_ratio": "16:9" }), (1_024, 576)),
        (json!({ "aspect_ratio": "9:16" }), (576, 1_024)),
        (
            json!({ "aspect_ratio": "3:4", "resolution": "1K" }),
            (768, 1_024),
        ),
        (json!({ "aspect_ratio": "21:9" }), (1_024, 438)),
        (json!({}), (1_024, 1_024)),
    ] {
        let picture = image(params.clone());
        assert_eq!(picture.content_type, "image/png");
        assert_eq!(decoded(&picture.bytes).dimensions(), size, "{params}");
    }
}

#[test]
fn the_same_order_gives_the_same_bytes() {
    let size = json!({ "width": 200, "height": 120 });
    let with = |name: &str, value: Value| {
        let mut params = size.clone();
        params[name] = value;
        image(params).bytes
    };
    assert_eq!(image(size.clone()), image(size.clone()));
    assert_eq!(with("seed", json!(7)), with("seed", json!(7)));
    assert_ne!(with("seed", json!(7)), with("seed", json!(8)));
    assert_ne!(
        with("negative_prompt", json!("fog")),
        image(size.clone()).bytes
    );
    let order = order(Modality::Image, "other words", size.clone());
    assert_ne!(file(&order, 0).unwrap(), image(size));
}

#[test]
fn a_watermark_is_seen_in_its_corner_and_nowhere_else() {
    let with = |watermark: &str| {
        decoded(
            &image(json!({ "width": 400, "height": 300, "seed": 1, "watermark": watermark })).bytes,
        )
    };
    let (without, marked) = (with(""), with("ACME"));
    let (mut changed, mut brightest) = (0, 0);
    for (x, y, pixel) in marked.enumerate_pixels() {
        if pixel != without.get_pixel(x, y) {
            assert!(x > 200 && y < 60, "{x},{y}");
            changed += 1;
            brightest = brightest.max(pixel.0.into_iter().min().unwrap());
        }
    }
    assert!(changed > 200 && brightest > 220, "{changed} {brightest}");
}

#[test]
fn the_prompt_is_written_in_white_on_a_dark_foot() {
    let picture = decoded(&image(json!({ "width": 400, "height": 300, "seed": 1 })).bytes);
    let foot = picture.enumerate_pixels().filter(|(_, y, _)| *y > 250);
    let (mut white, mut dark, mut all) = (0, 0, 0);
    for (_, _, pixel) in foot {
        let brightest = pixel.0.into_iter().max().unwrap();
        all += 1;
        dark += u32::from(brightest < 110);
        white += u32::from(pixel.0.into_iter().min().unwrap() > 230);
    }
    assert!(dark * 10 > all * 7, "{dark} of {all}");
    assert!(white > 100, "{white} of {all}");
}

#[test]
fn an_order_has_as_many_files_as_it_asks_for() {
    let pictures = |n: Value| count(&order(Modality::Image, "", json!({ "n": n })));
    assert_eq!(pictures(json!(4)), 4);
    assert_eq!([pictures(json!(0)), pictures(json!("x"))], [1, 1]);
    assert_eq!(pictures(json!(1_000_000)), 16);
    let chat = order(Modality::Chat, "", json!({}));
    assert_eq!(count(&chat), 0);
    assert!(check(&chat).is_ok() && file(&chat, 0).is_err());
    assert!(file(&order(Modality::Video, "", json!({})), 1).is_err());
}

/// The content of the box at the end of a path of names, and where it begins in the file.
fn walk<'a>(bytes: &'a [u8], path: &[&str]) -> Option<(usize, &'a [u8])> {
    let (name, rest) = path.split_first()?;
    let mut at = 0;
    while at + 8 <= bytes.len() {
        let size = usize::try_from(number(bytes, at)).unwrap();
        assert!(
            size >= 8 && at + size <= bytes.len(),
            "a broken box at {at}"
        );
        if &bytes[at + 4..at + 8] == name.as_bytes() {
            let content = &bytes[at + 8..at + size];
            return match rest {
                [] => Some((at + 8, content)),
                _ => walk(content, rest).map(|(inner, found)| (at + 8 + inner, found)),
            };
        }
        at += size;
    }
    None
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

#[test]
fn a_film_has_its_index_first_and_every_frame_where_it_says() {
    let film = film(json!({ "duration": 1.5, "resolution": "120p" }));
    let (index, _) = walk(&film, &["moov"]).unwrap();
    let (frames, body) = walk(&film, &["mdat"]).unwrap();
    assert!(index < frames);
    let table = |name| {
        let path = ["moov", "trak", "mdia", "minf", "stbl", name];
        walk(&film, &path).unwrap().1
    };
    assert_eq!(number(table("stco"), 8), u32::try_from(frames).unwrap());
    let sizes = table("stsz");
    assert_eq!(number(sizes, 8), 36);
    let mut at = 0;
    for frame in 0..36 {
        let size = usize::try_from(number(sizes, 12 + frame * 4)).unwrap();
        let unit = usize::try_from(number(body, at)).unwrap();
        assert_eq!(unit + 4, size, "one unit per frame");
        let kind = body[at + 4] & 0x1f;
        assert_eq!(kind, if frame == 0 { 5 } else { 1 }, "frame {frame}");
        at += size;
    }
    assert_eq!(at, body.len());
    let (_, movie) = walk(&film, &["moov", "mvhd"]).unwrap();
    assert_eq!((number(movie, 12), number(movie, 16)), (1_000, 1_500));
}

/// Runs a program of the ffmpeg family with a film as its input; its output and its complaints.
fn run(program: &str, arguments: &[&str], film: &[u8]) -> (Vec<u8>, String) {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("these tests need {program} on the path: {error}"));
    let mut input = child.stdin.take().unwrap();
    let film = film.to_vec();
    // It may have seen enough before the end of its input.
    let feeder = thread::spawn(move || drop(input.write_all(&film)));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program}: {complaints}");
    (output.stdout, complaints)
}

fn probe(film: &[u8]) -> Value {
    let entries = "stream=codec_name,width,height,pix_fmt,avg_frame_rate,r_frame_rate,duration,\
                   nb_read_frames:format=duration";
    let arguments = [
        "-v",
        "error",
        "-count_frames",
        "-of",
        "json",
        "-show_entries",
        entries,
        "-i",
        "pipe:0",
    ];
    let (output, complaints) = run("ffprobe", &arguments, film);
    assert_eq!(complaints, "");
    serde_json::from_slice(&output).unwrap()
}

/// Every frame as small grey pictures of 32 by 18.
fn frames(film: &[u8]) -> Vec<Vec<u8>> {
    let arguments = [
        "-v",
        "warning",
        "-i",
        "pipe:0",
        "-vf",
        "scale=32:18",
        "-pix_fmt",
        "gray",
        "-f",
        "rawvideo",
        "pipe:1",
    ];
    let (output, complaints) = run("ffmpeg", &arguments, film);
    assert_eq!(complaints, "");
    output.chunks_exact(32 * 18).map(<[u8]>::to_vec).collect()
}

#[test]
fn others_read_a_film_as_what_was_asked_for() {
    let params = json!({ "duration": 5, "resolution": "480p", "watermark": "ACME" });
    let bytes = film(params.clone());
    let found = probe(&bytes);
    let stream = &found["streams"][0];
    assert_eq!(stream["codec_name"], "h264");
    assert_eq!(
        (&stream["width"], &stream["height"]),
        (&json!(854), &json!(480))
    );
    assert_eq!(stream["pix_fmt"], "yuv420p");
    assert_eq!(stream["avg_frame_rate"], "24/1");
    assert_eq!(stream["r_frame_rate"], "24/1");
    assert_eq!(stream["duration"], "5.000000");
    assert_eq!(stream["nb_read_frames"], "120");
    assert_eq!(found["format"]["duration"], "5.000000");
    assert_eq!(frames(&bytes).len(), 120);
    assert_eq!(bytes, film(params), "the same order, the same bytes");
}

#[test]
fn ratios_lines_and_fractions_are_kept() {
    for (params, size, count) in [
        (json!({ "duration": 0.5 }), (1_280, 720), "12"),
        (
            json!({ "duration": 0.25, "aspect_ratio": "9:16", "resolution": "1080p" }),
            (1_080, 1_920),
            "6",
        ),
        (
            json!({ "duration": 0.01, "aspect_ratio": "3:4", "resolution": "33p" }),
            (34, 44),
            "1",
        ),
    ] {
        let found = probe(&film(params.clone()));
        let stream = &found["streams"][0];
        let (width, height) = size;
        assert_eq!(
            (&stream["width"], &stream["height"]),
            (&json!(width), &json!(height)),
            "{params}"
        );
        assert_eq!(stream["nb_read_frames"], count, "{params}");
    }
}

#[test]
fn several_shots_are_several_pictures() {
    let params = json!({ "duration": 3, "resolution": "180p", "multi_shots": true });
    let frames = frames(&film(params));
    assert_eq!(frames.len(), 72);
    let jump = |at: usize| -> i32 {
        let pairs = frames[at - 1].iter().zip(&frames[at]);
        pairs
            .map(|(one, other)| (i32::from(*one) - i32::from(*other)).abs())
            .sum()
    };
    let calm = (1..72)
        .filter(|at| ![24, 48].contains(at))
        .map(jump)
        .max()
        .unwrap();
    for cut in [24, 48] {
        assert!(jump(cut) > calm * 2, "{cut}: {} {calm}", jump(cut));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_text_fits_any_size(
        prompt in ".{0,300}", watermark in ".{0,80}", width in 1_u32..120, height in 1_u32..120
    ) {
        let params = json!({ "width": width, "height": height, "watermark": watermark });
        let picture = file(&order(Modality::Image, &prompt, params), 0).unwrap();
        prop_assert_eq!(decoded(&picture.bytes).dimensions(), (width, height));
    }
}
