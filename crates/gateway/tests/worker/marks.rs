//! Texts that a provider does not lay over its results: the gateway does, before anybody sees them.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use domain::task::{ErrorKind, Phase, StoredFile, Task};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{Bench, bench_with, catalogue};

/// The colour of every picture and film here, as it is in both.
const GREY: u8 = 100;

/// A provider whose result is a file, whatever it is asked for.
struct Provider {
    base: String,
    file: Vec<u8>,
    /// Every task has an id of its own.
    tasks: AtomicU32,
}

async fn kie(State(provider): State<Arc<Provider>>, request: Request) -> Response {
    match request.uri().path() {
        "/file" => provider.file.clone().into_response(),
        "/api/v1/jobs/createTask" => {
            let id = provider.tasks.fetch_add(1, Ordering::Relaxed).to_string();
            axum::Json(json!({ "code": 200, "data": { "taskId": id } })).into_response()
        }
        _ => {
            let links = json!({ "resultUrls": [format!("{}/file", provider.base)] }).to_string();
            let state = json!({ "state": "success", "resultJson": links });
            axum::Json(json!({ "code": 200, "data": state })).into_response()
        }
    }
}

async fn bench(name: &str, file: Vec<u8>) -> Bench {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let provider = Arc::new(Provider {
        base: base.clone(),
        file,
        tasks: AtomicU32::new(0),
    });
    let app = Router::new().fallback(kie).with_state(provider);
    tokio::spawn(async move { axum::serve(listener, app).await });
    let mut catalogue = catalogue();
    assert!(catalogue.move_provider("kie", &base));
    let secrets = BTreeMap::from([("kie".to_owned(), "sk-upstream".to_owned())]);
    bench_with(name, catalogue, secrets).await
}

async fn run(bench: &Bench, model: &str, body: &Value) -> Task {
    let work = async {
        let id = bench.submit_upstream(model, body.clone()).await;
        bench.ended(&id).await
    };
    bench.with_worker(work).await
}

/// The only file of a task, and what is in it.
fn kept(bench: &Bench, task: &Task) -> (StoredFile, Vec<u8>) {
    let Phase::Done { files, .. } = &task.phase else {
        panic!("{:?}", task.phase);
    };
    let [file] = files.as_slice() else {
        panic!("{files:?}");
    };
    let bytes = std::fs::read(bench.folder.join("media").join(&file.path)).unwrap();
    assert_eq!(file.sha256, hex::encode(Sha256::digest(&bytes)));
    assert_eq!(file.bytes, bytes.len() as u64);
    (file.clone(), bytes)
}

fn grey(format: ImageFormat, width: u32, height: u32) -> Vec<u8> {
    let picture = RgbImage::from_pixel(width, height, Rgb([GREY; 3]));
    let mut bytes = Cursor::new(Vec::new());
    let picture = DynamicImage::from(picture);
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// The corner in which the text is, as the first column and row.
fn corner(picture: &RgbImage) -> (u32, u32) {
    (picture.width() / 3, picture.height() * 2 / 3)
}

/// The text is in its corner, light and dark, and nothing else has changed.
fn assert_marked(picture: &RgbImage, tolerance: u8) {
    let (left, top) = corner(picture);
    let (mut light, mut dark) = (0, 0);
    for (x, y, pixel) in picture.enumerate_pixels() {
        let is_far = pixel.0.iter().any(|part| part.abs_diff(GREY) > tolerance);
        if x < left || y < top {
            assert!(!is_far, "{pixel:?} at {x}, {y}");
        }
        light += u32::from(pixel.0.iter().all(|part| *part > 220));
        dark += u32::from(pixel.0.iter().all(|part| *part < 50));
    }
    assert!(light > 100 && dark > 100, "{light} light, {dark} dark");
}

fn with_mark(group: &str, text: &str) -> Value {
    json!({ "prompt": "a fox", group: { "watermark": text } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_is_laid_over_pictures_of_every_format() {
    for (format, name) in [
        (ImageFormat::Png, "png"),
        (ImageFormat::Jpeg, "jpeg"),
        (ImageFormat::WebP, "webp"),
    ] {
        let file = grey(format, 640, 400);
        let bench = bench(name, file.clone()).await;
        let model = "image_generate.imagen_4";
        let task = run(
            &bench,
            model,
            &with_mark("image_params", "© Füchse & Söhne"),
        )
        .await;
        let (stored, bytes) = kept(&bench, &task);
        assert_eq!(stored.content_type, format!("image/{name}"));
        assert_eq!(image::guess_format(&bytes).unwrap(), format);
        let picture = image::load_from_memory(&bytes).unwrap().into_rgb8();
        assert_eq!(picture.dimensions(), (640, 400));
        let tolerance = if format == ImageFormat::Jpeg { 24 } else { 0 };
        assert_marked(&picture, tolerance);
        let again = run(
            &bench,
            model,
            &with_mark("image_params", "© Füchse & Söhne"),
        )
        .await;
        assert_eq!(kept(&bench, &again).0.sha256, stored.sha256, "{name}");
        // Nobody asked for a text here.
        let plain = run(&bench, model, &with_mark("image_params", " ")).await;
        assert_eq!(kept(&bench, &plain).1, file);
        bench.assert_ledger_adds_up().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_text_can_be_laid_over_never_becomes_public() {
    let mut torn = grey(ImageFormat::Png, 64, 64);
    torn.truncate(torn.len() / 2);
    // Its header says a hundred million pixels.
    let mut vast = grey(ImageFormat::Png, 64, 64);
    vast[16..24].copy_from_slice(&[0, 0, 0x27, 0x10, 0, 0, 0x27, 0x10]);
    let gif = b"GIF89a\x01\0\x01\0\0\0\0;".to_vec();
    for (name, file) in [("torn", torn), ("vast", vast), ("gif", gif)] {
        let bench = bench(name, file).await;
        let before = bench.store.balance(&bench.account).await.unwrap();
        let body = with_mark("image_params", "mine");
        let task = run(&bench, "image_generate.imagen_4", &body).await;
        assert!(
            matches!(&task.phase, Phase::Failed { error } if error.kind == ErrorKind::MediaLost),
            "{name}: {:?}",
            task.phase
        );
        let left: Vec<_> = files_below(&bench.folder.join("media"));
        assert_eq!(left, Vec::<String>::new(), "{name}");
        assert_eq!(bench.store.balance(&bench.account).await.unwrap(), before);
        bench.assert_ledger_adds_up().await;
    }
}

fn files_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files_below(&path)),
            false => found.push(path.display().to_string()),
        }
    }
    found
}

/// Runs a program of the ffmpeg family; what it wrote.
fn output(program: &str, arguments: &[&str]) -> Vec<u8> {
    let done = Command::new(program).args(arguments).output().unwrap();
    let complaint = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{complaint}");
    done.stdout
}

/// A grey film of two seconds with a tone; one that is called so stands on its side.
fn film(folder: &Path, name: &str, codecs: &str) -> Vec<u8> {
    let path = folder.join(name).display().to_string();
    let made = format!(
        "-v error -f lavfi -i color=0x646464:size=640x400:rate=24:duration=2 \
         -f lavfi -i sine=frequency=440:duration=2 -pix_fmt yuv420p {codecs} {path}"
    );
    output("ffmpeg", &made.split_whitespace().collect::<Vec<_>>());
    if name == "turned.mp4" {
        let upright = folder.join("upright.mp4").display().to_string();
        std::fs::rename(&path, &upright).unwrap();
        let turned = format!("-v error -i {upright} -c copy -metadata:s:v:0 rotate=90 {path}");
        output("ffmpeg", &turned.split_whitespace().collect::<Vec<_>>());
    }
    std::fs::read(path).unwrap()
}

fn probe(path: &str) -> Value {
    let entries = "stream=codec_type,codec_name,width,height,nb_read_frames:format=duration";
    let arguments = [
        "-v",
        "error",
        "-count_frames",
        "-show_entries",
        entries,
        "-of",
        "json",
        path,
    ];
    serde_json::from_slice(&output("ffprobe", &arguments)).unwrap()
}

/// The sound as it is stored, without being decoded.
fn sound(path: &str) -> Vec<u8> {
    let arguments = [
        "-v", "error", "-i", path, "-map", "0:a", "-c", "copy", "-f", "md5", "-",
    ];
    output("ffmpeg", &arguments)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_is_laid_over_films_and_their_sound_stays() {
    let folder = std::env::temp_dir().join(format!("films-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for (name, codecs) in [
        ("film.mp4", "-c:v libx264 -c:a aac"),
        ("turned.mp4", "-c:v libx264 -c:a aac"),
        ("film.webm", "-c:v libvpx -b:v 1M -ar 48000 -c:a libopus"),
    ] {
        let file = film(&folder, name, codecs);
        let bench = bench(&name.replace('.', "-"), file).await;
        let mark = with_mark("video_params", "made by foxes");
        let task = run(&bench, "video_generate.kling_2_6", &mark).await;
        let (stored, _) = kept(&bench, &task);
        assert_eq!(stored.content_type, "video/mp4");
        let size = if name == "turned.mp4" {
            (400, 640)
        } else {
            (640, 400)
        };
        assert_eq!((stored.width, stored.height), (Some(size.0), Some(size.1)));
        let path = bench.folder.join("media").join(&stored.path);
        let path = path.to_str().unwrap();
        let found = probe(path);
        assert_eq!(found["streams"][0]["nb_read_frames"], "48", "{name}");
        assert_eq!(found["streams"][0]["codec_name"], "h264");
        let seconds: f64 = found["format"]["duration"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!((seconds - 2.0).abs() < 0.1, "{name}: {seconds} s");
        let original = folder.join(name);
        assert_eq!(sound(path), sound(original.to_str().unwrap()), "{name}");
        let frames = [
            "-v",
            "error",
            "-ss",
            "1",
            "-i",
            path,
            "-frames:v",
            "1",
            "-pix_fmt",
            "rgb24",
            "-f",
            "rawvideo",
            "-",
        ];
        let frame = RgbImage::from_raw(size.0, size.1, output("ffmpeg", &frames)).unwrap();
        assert_marked(&frame, 12);
        let again = run(&bench, "video_generate.kling_2_6", &mark).await;
        assert_eq!(kept(&bench, &again).0.sha256, stored.sha256, "{name}");
        bench.assert_ledger_adds_up().await;
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
