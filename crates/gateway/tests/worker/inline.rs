//! Pictures that come inside of the reply.

use std::collections::BTreeMap;

use axum::Router;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::catalogue::{Catalogue, SourceFile};
use domain::task::Phase;
use serde_json::json;

use crate::bench_with;

const MODEL: &str = "image_generate.m";

/// A picture that cannot be compressed, of about 6 MB.
fn noise() -> Vec<u8> {
    let mut state = 7_u32;
    let image = image::RgbImage::from_fn(1_600, 1_250, |_, _| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [_, red, green, blue] = state.to_le_bytes();
        image::Rgb([red, green, blue])
    });
    let mut png = std::io::Cursor::new(Vec::new());
    image.write_to(&mut png, image::ImageFormat::Png).unwrap();
    png.into_inner()
}

fn catalogue(base: &str) -> Catalogue {
    let files = [
        SourceFile {
            path: "providers/p.toml".to_owned(),
            text: format!(
                "id = \"p\"\nname = \"P\"\ndialect = \"openai_images\"\nbase_url = \"{base}\"\n\
                 secret = \"KEY\"\n"
            ),
        },
        SourceFile {
            path: format!("models/{MODEL}.toml"),
            text: format!(
                "id = \"{MODEL}\"\nname = \"M\"\nvendor = \"V\"\nmodality = \"image\"\n\
                 description = \"D.\"\n[price]\nper_run = 0.01\n\
                 [[routes]]\nprovider = \"p\"\nmodel = \"m\"\n"
            ),
        },
    ];
    let dialects: Vec<&str> = dialects::DIALECTS.iter().map(|(name, _)| *name).collect();
    Catalogue::load(&files, &dialects).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_pictures_inside_of_a_reply_are_kept_whole() {
    let picture = noise();
    assert!(
        picture.len() > 4 << 20,
        "more than any other reply may have"
    );
    let one = json!({ "b64_json": STANDARD.encode(&picture) });
    // More than are kept before the reply is recorded.
    let reply = json!({ "data": vec![one; 5] }).to_string();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(move || {
        let reply = reply.clone();
        async move { reply }
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    let secrets = BTreeMap::from([("p".to_owned(), "sk-1".to_owned())]);
    let bench = bench_with("inline", catalogue(&base), secrets).await;
    let work = async {
        let body = json!({ "prompt": "noise" });
        let id = bench.submit_upstream(MODEL, body).await;
        bench.ended(&id).await
    };
    let task = bench.with_worker(work).await;
    let Phase::Done { files, .. } = &task.phase else {
        panic!("{:?}", task.phase);
    };
    assert_eq!(files.len(), 5);
    for file in files {
        let stored = std::fs::read(bench.folder.join("media").join(&file.path)).unwrap();
        assert!(stored == picture, "{}", file.path);
    }
}
