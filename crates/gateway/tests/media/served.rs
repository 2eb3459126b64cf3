//! Result files as clients get them.

use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;
use domain::task::StoredFile;
use gateway::media::{Incoming, router};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::place::{Place, RETENTION_MS, places, task};
use crate::png;
use crate::shelf::{NOW_MS, Shelf};

struct Stand {
    place: Place,
    shelf: Shelf,
    router: Router,
}

struct Got {
    status: StatusCode,
    head: Response<()>,
    body: Bytes,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        let value = self.head.headers().get(name)?;
        Some(value.to_str().unwrap())
    }

    /// Checks that it is an error in the API's form, and no page.
    fn assert_error(&self, status: StatusCode, kind: &str) {
        assert_eq!(self.status, status);
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(body["code"], json!(status.as_u16()));
        assert_eq!(body["type"], json!(kind));
        assert_eq!(body["retryable"], json!(status.is_server_error()));
        assert!(body["message"].is_string());
        assert_eq!(body["msg"], body["message"]);
        assert_eq!(self.header("content-type"), Some("application/json"));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        self.assert_fenced();
    }

    fn assert_fenced(&self) {
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "sandbox; default-src 'none'"),
            ("cross-origin-resource-policy", "cross-origin"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(self.header(name), Some(value), "{name}");
        }
    }
}

impl Stand {
    async fn new(place: Place) -> Self {
        let shelf = Shelf::new().await;
        let router = router(
            shelf.store.clone(),
            place.media.clone(),
            shelf.clock.clone(),
        );
        Self {
            place,
            shelf,
            router,
        }
    }

    async fn both() -> Vec<Self> {
        let mut stands = Vec::new();
        for place in places().await {
            stands.push(Self::new(place).await);
        }
        stands
    }

    /// Keeps a file and gives it to a task.
    async fn put(&self, content: &[u8]) -> StoredFile {
        let incoming = Incoming::Bytes(content.to_vec().into());
        let file = self.place.media.keep(&task(1), 0, incoming, NOW_MS).await;
        let file = file.unwrap();
        self.shelf.put(vec![file.clone()]).await;
        file
    }

    async fn ask(&self, method: &str, uri: &str, headers: &[(&str, &str)]) -> Got {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let reply = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = reply.into_parts();
        Got {
            status: parts.status,
            body: body.collect().await.unwrap().to_bytes(),
            head: Response::from_parts(parts, ()),
        }
    }

    async fn get(&self, file: &StoredFile, headers: &[(&str, &str)]) -> Got {
        self.ask("GET", &format!("/results/{}", file.path), headers)
            .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_comes_whole_with_its_fixed_headers() {
    for stand in Stand::both().await {
        let content = png((5 << 20) + 9);
        let file = stand.put(&content).await;
        for method in ["GET", "HEAD"] {
            let uri = format!("/results/{}?download=1", file.path);
            let got = stand.ask(method, &uri, &[]).await;
            assert_eq!(got.status, StatusCode::OK);
            let length = content.len().to_string();
            let tag = format!("\"{}\"", file.sha256);
            for (name, value) in [
                ("content-type", "image/png"),
                ("content-length", length.as_str()),
                ("etag", tag.as_str()),
                ("accept-ranges", "bytes"),
                ("cache-control", "public, max-age=1000, immutable"),
            ] {
                assert_eq!(got.header(name), Some(value), "{method} {name}");
            }
            got.assert_fenced();
            assert_eq!(got.header("content-disposition"), None);
            assert_eq!(got.header("set-cookie"), None);
            match method {
                "GET" => assert!(got.body == content, "{}", stand.place.name),
                _ => assert!(got.body.is_empty()),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_a_file_come_alone() {
    for stand in Stand::both().await {
        let content = png(100_000);
        let file = stand.put(&content).await;
        for (range, start, end) in [
            ("bytes=0-0", 0, 1),
            ("bytes=0-1023", 0, 1_024),
            ("bytes=50000-60000", 50_000, 60_001),
            ("bytes=-1", 99_999, 100_000),
            ("bytes=-999999", 0, 100_000),
            ("bytes=99990-", 99_990, 100_000),
            ("bytes=99990-2000000", 99_990, 100_000),
            ("bytes=0-", 0, 100_000),
        ] {
            let got = stand.get(&file, &[("range", range)]).await;
            assert_eq!(got.status, StatusCode::PARTIAL_CONTENT, "{range}");
            let content_range = format!("bytes {start}-{}/100000", end - 1);
            assert_eq!(got.header("content-range"), Some(content_range.as_str()));
            let length = (end - start).to_string();
            assert_eq!(got.header("content-length"), Some(length.as_str()));
            assert!(got.body == content[start..end], "{range}");
            got.assert_fenced();
        }
        for range in ["bytes=100000-", "bytes=100000-100001", "bytes=-0"] {
            let got = stand.get(&file, &[("range", range)]).await;
            got.assert_error(StatusCode::RANGE_NOT_SATISFIABLE, "bad_request");
            assert_eq!(got.header("content-range"), Some("bytes */100000"));
        }
        for range in ["bytes=0-1,5-6", "bytes=5-1", "lines=0-1", "bytes=x", "1-2"] {
            let got = stand.get(&file, &[("range", range)]).await;
            assert_eq!(got.status, StatusCode::OK, "{range}");
            assert_eq!(got.header("content-range"), None);
            assert!(got.body == content, "{range}");
        }
        let uri = format!("/results/{}", file.path);
        let got = stand.ask("HEAD", &uri, &[("range", "bytes=0-0")]).await;
        assert_eq!(got.status, StatusCode::OK);
        assert_eq!(got.header("content-length"), Some("100000"));
    }
}

#[tokio::test]
async fn a_part_is_only_given_of_the_file_that_was_meant() {
    let stand = Stand::new(Place::folder()).await;
    let file = stand.put(&png(1_000)).await;
    let tag = format!("\"{}\"", file.sha256);
    let weak = format!("W/{tag}");
    for (given, status) in [
        (tag.as_str(), StatusCode::PARTIAL_CONTENT),
        (weak.as_str(), StatusCode::OK),
        ("\"another\"", StatusCode::OK),
        ("Wed, 21 Oct 2015 07:28:00 GMT", StatusCode::OK),
    ] {
        let headers = [("range", "bytes=0-9"), ("if-range", given)];
        let got = stand.get(&file, &headers).await;
        assert_eq!(got.status, status, "{given}");
    }
}

#[tokio::test]
async fn a_file_that_the_client_has_is_not_sent_again() {
    let stand = Stand::new(Place::folder()).await;
    let file = stand.put(&png(1_000)).await;
    let tag = format!("\"{}\"", file.sha256);
    for given in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"another\", {tag}"),
        "*".to_owned(),
    ] {
        let headers = [("if-none-match", given.as_str()), ("range", "bytes=0-1")];
        let got = stand.get(&file, &headers).await;
        assert_eq!(got.status, StatusCode::NOT_MODIFIED, "{given}");
        assert!(got.body.is_empty());
        assert_eq!(got.header("etag"), Some(tag.as_str()));
        assert_eq!(
            got.header("cache-control"),
            Some("public, max-age=1000, immutable")
        );
    }
    for given in ["\"another\"", &file.sha256, ""] {
        let got = stand.get(&file, &[("if-none-match", given)]).await;
        assert_eq!(got.status, StatusCode::OK, "{given}");
    }
}

#[tokio::test]
async fn types_that_a_browser_may_show_are_shown_and_others_saved() {
    let stand = Stand::new(Place::folder()).await;
    let stored = stand.put(&png(1_000)).await;
    let place = &stand.place;
    for (index, (content_type, disposition)) in [
        ("image/webp", None),
        ("video/mp4", None),
        ("audio/mpeg", None),
        ("text/plain; charset=utf-8", None),
        ("text/html", Some("attachment; filename=\"a.bin\"")),
        ("image/svg+xml", Some("attachment; filename=\"a.bin\"")),
        ("application/pdf", Some("attachment; filename=\"a.bin\"")),
        ("", Some("attachment; filename=\"a.bin\"")),
    ]
    .into_iter()
    .enumerate()
    {
        let file = StoredFile {
            path: format!("{index:032x}/a.bin"),
            content_type: content_type.to_owned(),
            ..stored.clone()
        };
        let object = place.root().join(&file.path);
        std::fs::create_dir_all(object.parent().unwrap()).unwrap();
        std::fs::write(object, png(1_000)).unwrap();
        stand.shelf.put(vec![file.clone()]).await;
        let got = stand.get(&file, &[]).await;
        assert_eq!(got.status, StatusCode::OK);
        assert_eq!(got.header("content-type"), Some(content_type));
        assert_eq!(
            got.header("content-disposition"),
            disposition,
            "{content_type}"
        );
        got.assert_fenced();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_but_a_stored_file_is_found() {
    for stand in Stand::both().await {
        let file = stand.put(&png(1_000)).await;
        // There, but no task's.
        let unowned = Incoming::Bytes(png(50).into());
        let unowned = stand.place.media.keep(&task(2), 0, unowned, NOW_MS).await;
        stand.place.media.probe().await.unwrap();
        std::fs::write(stand.place.root().join("../outside.png"), png(50)).unwrap();
        let (folder, name) = file.path.split_once('/').unwrap();
        let paths = [
            format!("{folder}/result-2.png"),
            format!("{folder}/"),
            folder.to_owned(),
            format!("{folder}/{name}/"),
            format!("{folder}/{name}/more"),
            format!("{folder}//{name}"),
            format!("/{folder}/{name}"),
            format!("{folder}/./{name}"),
            format!("{folder}/../{folder}/{name}"),
            format!("{folder}/{}", name.to_uppercase()),
            format!("{folder}/{name}%00"),
            format!("{folder}/{name}%00.html"),
            format!("{folder}/{name}%23"),
            format!("{folder}/{name}%0d%0aset-cookie:a=b"),
            format!("{folder}/..%2f{folder}/{name}"),
            format!("{folder}%5c{name}"),
            format!("{folder}/%2e%2e/%2e%2e/outside.png"),
            format!("{folder}/%ff%fe"),
            format!("{folder}/%"),
            format!("{folder}/{}", "a".repeat(10_000)),
            "../outside.png".to_owned(),
            "..%2foutside.png".to_owned(),
            "%2e%2e%2foutside.png".to_owned(),
            "..%252foutside.png".to_owned(),
            "..%c0%afoutside.png".to_owned(),
            "....//outside.png".to_owned(),
            "../../../../../../../../etc/passwd".to_owned(),
            "%2fetc%2fpasswd".to_owned(),
            "/etc/passwd".to_owned(),
            "file:///etc/passwd".to_owned(),
            "probe/probe.txt".to_owned(),
            "'%20OR%201=1--".to_owned(),
            unowned.unwrap().path,
        ];
        for path in paths {
            let uri = format!("/results/{path}");
            for method in ["GET", "HEAD"] {
                let got = stand.ask(method, &uri, &[("range", "bytes=0-4")]).await;
                assert_eq!(got.status, StatusCode::NOT_FOUND, "{uri}");
                got.assert_fenced();
            }
            let got = stand.ask("GET", &uri, &[]).await;
            got.assert_error(StatusCode::NOT_FOUND, "not_found");
        }
        assert_eq!(stand.get(&file, &[]).await.status, StatusCode::OK);
        // A name may be spelled in another way, as long as it is the same one.
        let spelled = format!("/results/{folder}/{}", name.replace('-', "%2D"));
        assert_eq!(stand.ask("GET", &spelled, &[]).await.status, StatusCode::OK);
        for method in ["POST", "PUT", "DELETE"] {
            let uri = format!("/results/{}", file.path);
            let got = stand.ask(method, &uri, &[]).await;
            assert_eq!(got.status, StatusCode::METHOD_NOT_ALLOWED);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_past_its_time_is_gone_before_it_is_swept() {
    for stand in Stand::both().await {
        let file = stand.put(&png(1_000)).await;
        let tag = format!("\"{}\"", file.sha256);
        let hand = &stand.shelf.hand;
        hand.store(NOW_MS + RETENTION_MS - 1, Ordering::Release);
        assert_eq!(stand.get(&file, &[]).await.status, StatusCode::OK);
        hand.store(NOW_MS + RETENTION_MS, Ordering::Release);
        for headers in [&[][..], &[("if-none-match", tag.as_str())]] {
            let got = stand.get(&file, headers).await;
            got.assert_error(StatusCode::NOT_FOUND, "not_found");
        }
        assert!(stand.place.bytes(&file.path) == png(1_000));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_object_is_not_found_and_a_store_that_is_away_is_no_reason_to_give_up() {
    for stand in Stand::both().await {
        let file = stand.put(&png(1_000)).await;
        stand.place.media.remove(&file.path).await.unwrap();
        let got = stand.get(&file, &[]).await;
        got.assert_error(StatusCode::NOT_FOUND, "not_found");
    }
    let stand = Stand::new(Place::bucket().await).await;
    let file = stand.put(&png(1_000)).await;
    let mut away = stand.place.settings.clone();
    away.options[0].1 = "http://127.0.0.1:1".to_owned();
    let away = gateway::media::Media::open(away, "secret").unwrap();
    let router = router(stand.shelf.store.clone(), away, stand.shelf.clock.clone());
    let stand = Stand { router, ..stand };
    let got = stand.get(&file, &[]).await;
    got.assert_error(StatusCode::SERVICE_UNAVAILABLE, "overloaded");
    assert_eq!(got.header("retry-after"), Some("5"));
}
