//! Files on their way to providers: over real HTTP, in every form that a route can want them in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::catalogue::SourceFile;
use domain::task::{ErrorKind, Phase, Task};
use futures_util::{StreamExt, stream};
use gateway::media::{NewFile, Uploads};
use serde_json::{Value, json};

use crate::{Bench, PUBLIC_URL, bench_with, catalogue_with, media};

const SECRET: &str = "sk-own-secret";
const MODEL: &str = "image_generate.own";
const MIB: usize = 1 << 20;

/// A request as a server got it.
struct Seen {
    path: String,
    secret: Option<String>,
    body: Value,
}

#[derive(Clone)]
struct Server {
    base: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A provider, its upload, and somebody else's pictures, each on a port of its own.
struct Stand {
    bench: Bench,
    provider: Server,
    upload: Server,
    others: Server,
}

/// A PNG of so many bytes: its start is real, the rest is noise.
fn png(bytes: usize) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x40\0\0\0\x20\x08\x06\0\0\0".to_vec();
    file.extend((file.len()..bytes).map(|n| u8::try_from(n * n % 251).unwrap()));
    file
}

fn envelope(content: &Value) -> Response {
    axum::Json(json!({ "success": true, "code": 200, "msg": "ok", "data": content }))
        .into_response()
}

async fn answer(State(server): State<Server>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let secret = request.headers().get("authorization");
    let secret = secret.map(|secret| secret.to_str().unwrap().to_owned());
    let body = axum::body::to_bytes(request.into_body(), 128 * MIB).await;
    let body: Value = serde_json::from_slice(&body.unwrap()).unwrap_or_default();
    let name = body["fileName"].as_str().unwrap_or_default().to_owned();
    let mut seen = server.seen.lock().unwrap();
    let before = seen.iter().filter(|one| one.path == path).count();
    seen.push(Seen {
        path: path.clone(),
        secret,
        body,
    });
    drop(seen);
    let to = |url: String| (StatusCode::FOUND, [("location", url)]).into_response();
    match path.as_str() {
        "/api/v1/jobs/createTask" => envelope(&json!({ "taskId": format!("t{before}") })),
        "/api/v1/jobs/recordInfo" => {
            let links = json!({ "resultUrls": [format!("{}/fox.png", server.base)] });
            envelope(&json!({ "state": "success", "resultJson": links.to_string() }))
        }
        "/api/file-base64-upload" | "/api/file-stream-upload" => {
            envelope(&json!({ "downloadUrl": format!("https://kept.test/{name}") }))
        }
        "/fox.png" => png(5_000).into_response(),
        "/hop" => to(format!("{}/fox.png", server.base)),
        "/inside" => to("http://10.11.12.13/fox.png".to_owned()),
        "/metadata" => to("http://169.254.169.254/latest/meta-data".to_owned()),
        "/large" => png(17 * MIB).into_response(),
        "/too_large" => png(21 * MIB).into_response(),
        "/endless" => {
            let piece = || Ok::<_, std::io::Error>(png(MIB));
            let pieces = stream::repeat_with(piece).take(30);
            axum::body::Body::from_stream(pieces).into_response()
        }
        "/page" => "<html>no picture</html>".into_response(),
        "/busy" if before == 0 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        "/busy" => png(5_000).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn server() -> Server {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let server = Server {
        base,
        seen: Arc::default(),
    };
    let app = Router::new().fallback(answer).with_state(server.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    server
}

async fn stand(name: &str, files: &str) -> Stand {
    let (provider, upload, others) = (server().await, server().await, server().await);
    let source = |path: &str, text: String| SourceFile {
        path: path.to_owned(),
        text,
    };
    let own = vec![
        source(
            "providers/own.toml",
            format!(
                "id = \"own\"\nname = \"Own\"\ndialect = \"kie\"\nbase_url = \"{}\"\n\
                 secret = \"OWN_KEY\"\nfiles = \"{files}\"\nupload_url = \"{}\"\n",
                provider.base, upload.base
            ),
        ),
        source(
            &format!("models/{MODEL}.toml"),
            format!(
                "id = \"{MODEL}\"\nname = \"Own\"\nvendor = \"Nobody\"\nmodality = \"image\"\n\
                 description = \"Own.\"\nprice = {{ per_run = 1 }}\n\
                 parameters = {{ image_urls = {{ urls = 4 }} }}\n\
                 [[routes]]\nprovider = \"own\"\nmodel = \"m\"\nsend = {{ links = \"image_urls\" }}\n"
            ),
        ),
    ];
    let secrets = BTreeMap::from([("own".to_owned(), SECRET.to_owned())]);
    Stand {
        bench: bench_with(name, catalogue_with(own), secrets).await,
        provider,
        upload,
        others,
    }
}

impl Server {
    fn link(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The bodies of what was asked under a path, and with which secret.
    fn asked(&self, path: &str) -> Vec<(Value, Option<String>)> {
        let seen = self.seen.lock().unwrap();
        let asked = seen.iter().filter(|one| one.path == path);
        asked
            .map(|one| (one.body.clone(), one.secret.clone()))
            .collect()
    }
}

impl Stand {
    /// A file of ours; its public link.
    async fn kept(&self, content: &[u8]) -> String {
        let bench = &self.bench;
        let uploads = Uploads::new(
            bench.store.clone(),
            media(&bench.folder),
            bench.clock.clone(),
            bench.entropy.clone(),
        );
        let file = NewFile {
            account: bench.account.clone(),
            content: stream::iter([Ok(content.to_vec().into())]).boxed(),
            bytes_max: 100 << 20,
        };
        let file = uploads.keep(file).await.unwrap();
        format!("{PUBLIC_URL}/files/{}", file.path)
    }

    async fn run(&self, links: &[String]) -> Task {
        let body = json!({ "prompt": "x", "image_params": { "image_urls": links } });
        let work = async {
            let id = self.bench.submit_upstream(MODEL, body).await;
            self.bench.ended(&id).await
        };
        let task = self.bench.with_worker(work).await;
        self.bench.assert_ledger_adds_up().await;
        let stored = serde_json::to_string(&task).unwrap();
        assert!(!stored.contains("data:"), "a task carries bytes");
        task
    }

    /// The links that the one creating call carried.
    fn sent(&self) -> Vec<String> {
        let created = self.provider.asked("/api/v1/jobs/createTask");
        assert_eq!(created.len(), 1);
        let links = created[0].0["input"]["links"].as_array().unwrap().clone();
        links
            .iter()
            .map(|link| link.as_str().unwrap().to_owned())
            .collect()
    }
}

fn inline(content: &[u8]) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(content))
}

fn failed(task: &Task) -> (ErrorKind, String) {
    match &task.phase {
        Phase::Failed { error } => (error.kind, error.message.clone()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_gets_files_as_it_wants_them() {
    let content = png(2 * MIB);
    for files in ["link", "data", "either", "upload"] {
        let stand = stand(files, files).await;
        let own = stand.kept(&content).await;
        let other = stand.others.link("/hop");
        let task = stand.run(&[own.clone(), other.clone()]).await;
        assert!(matches!(task.phase, Phase::Done { .. }), "{:?}", task.phase);
        let sent = stand.sent();
        let uploaded = stand.upload.asked("/api/file-base64-upload");
        let wanted = match files {
            "link" => [own, other],
            "data" => [inline(&content), inline(&png(5_000))],
            "either" => [inline(&content), other],
            _ => {
                assert_eq!(uploaded.len(), 1);
                let (body, secret) = &uploaded[0];
                assert_eq!(secret.as_deref(), Some(format!("Bearer {SECRET}").as_str()));
                assert!(body["base64Data"] == inline(&content), "other bytes");
                let name = body["fileName"].as_str().unwrap();
                assert!(!own.contains(name.split('.').next().unwrap()));
                [format!("https://kept.test/{name}"), other]
            }
        };
        assert!(sent == wanted, "{files}: other files than these");
        assert_eq!(uploaded.len(), usize::from(files == "upload"));
        let fetched = stand.others.asked("/fox.png");
        assert_eq!(fetched.len(), usize::from(files == "data"), "{files}");
        let secrets = fetched.into_iter().filter_map(|(_, secret)| secret);
        assert_eq!(secrets.count(), 0, "a secret for somebody else");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_larger_file_is_uploaded_as_a_form() {
    let stand = stand("form", "upload").await;
    let own = stand.kept(&png(11 * MIB)).await;
    let task = stand.run(&[own]).await;
    assert!(matches!(task.phase, Phase::Done { .. }), "{:?}", task.phase);
    assert_eq!(stand.upload.asked("/api/file-stream-upload").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_client_has_to_change_ends_the_task_and_buys_nothing() {
    let stand = stand("wrong", "data").await;
    for (path, why) in [
        ("/gone", "answers 404"),
        ("/page", "no picture"),
        ("/too_large", "too large"),
        ("/endless", "too large"),
        ("/inside", "cannot be called"),
        ("/metadata", "cannot be called"),
    ] {
        let links = [stand.others.link("/fox.png"), stand.others.link(path)];
        let (kind, message) = failed(&stand.run(&links).await);
        assert_eq!(kind, ErrorKind::InvalidInput, "{path}");
        let named = message.starts_with("image_params.image_urls[1] ");
        assert!(named && message.contains(why), "{path}: {message}");
        assert!(!message.contains("10."), "{message}");
    }
    let large = stand.others.link("/large");
    let links = [large.clone(), large.clone(), large.clone(), large];
    let (kind, message) = failed(&stand.run(&links).await);
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(message.contains("all files together"), "{message}");
    let lost = format!("{PUBLIC_URL}/files/{}/upload.png", "0".repeat(32));
    let (kind, message) = failed(&stand.run(&[lost]).await);
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(
        message.contains("is no file that is kept here"),
        "{message}"
    );
    let created = stand.provider.asked("/api/v1/jobs/createTask");
    assert_eq!(created.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_pass_is_tried_again() {
    let stand = stand("busy", "data").await;
    let task = stand.run(&[stand.others.link("/busy")]).await;
    assert!(matches!(task.phase, Phase::Done { .. }), "{:?}", task.phase);
    assert_eq!(stand.others.asked("/busy").len(), 2);
    assert!(stand.sent() == [inline(&png(5_000))]);
}
