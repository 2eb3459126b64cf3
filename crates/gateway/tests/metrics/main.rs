//! The whole gateway as its metrics page shows it.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop here"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use gateway::app::App;
use gateway::config::Config;
use gateway::metrics::CONTENT_TYPE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

const KEY: &str = "sk-t0-metrics-0123456789abcdef";

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn config(folder: &Folder) -> Config {
    let place = folder.0.display();
    let variables = [
        ("SERVER__LISTEN", "127.0.0.1:0".to_owned()),
        ("DATABASE__URL", format!("sqlite://{place}/routerbase.db")),
        ("MEDIA__URL", format!("file://{place}/media")),
        ("BOOTSTRAP__KEY", KEY.to_owned()),
        ("BOOTSTRAP__CREDITS", "1000".to_owned()),
        ("EGRESS__ALLOW", "127.0.0.0/8".to_owned()),
    ];
    let variables = variables
        .into_iter()
        .map(|(name, value)| (format!("ROUTERBASE_{name}"), value));
    Config::load(None, variables).unwrap()
}

/// One call on a connection of its own; the whole reply, head included.
async fn call(address: SocketAddr, method: &str, path: &str, extra: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Authorization: Bearer {KEY}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n{extra}\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

async fn submit(address: SocketAddr, scenario: &str, body: &str) -> String {
    let path = "/api/v1/run/image_generate.imagen_4";
    let scenario = format!("RouterBase-Sandbox: {scenario}\r\n");
    call(address, "POST", path, &scenario, body).await
}

/// The page once something was counted.
async fn page_with(address: SocketAddr, series: &str) -> String {
    let mut page = String::new();
    for _ in 0..1_200 {
        page = call(address, "GET", "/metrics", "", "").await;
        if value(&page, series) > 0.0 {
            return page;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{series}\n{page}");
}

/// The number behind a name and its labels.
fn value(page: &str, series: &str) -> f64 {
    let mut lines = page.lines();
    let found = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let found = found.unwrap_or_else(|| panic!("{series}\n{page}"));
    found.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_tasks_do_shows_on_the_page() {
    let name = format!("metrics-{}", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    let app = App::open(config(&folder)).await.unwrap();
    let address = app.address;
    let stop = CancellationToken::new();
    let watched = async {
        let fresh = call(address, "GET", "/metrics", "", "").await;
        assert_eq!(
            value(&fresh, "routerbase_tasks_ended_total{end=\"success\"}"),
            0.0
        );
        let prompt = r#"{"prompt": "a red fox"}"#;
        // Nobody listens on that port.
        let told = r#"{"prompt": "a red fox", "callback_url": "http://127.0.0.1:9/hook"}"#;
        for (scenario, body, status) in [
            ("delay=300ms", told, "200"),
            ("outcome=moderated", prompt, "200"),
            ("outcome=garbage", prompt, "200"),
            ("", "{}", "422"),
        ] {
            let reply = submit(address, scenario, body).await;
            assert_eq!(reply.get(9..12), Some(status), "{reply}");
        }
        let mut page = String::new();
        for series in [
            "routerbase_tasks_ended_total{end=\"success\"}",
            "routerbase_tasks_ended_total{end=\"moderated\"}",
            "routerbase_tasks_ended_total{end=\"outcome_unknown\"}",
            "routerbase_callbacks_total{result=\"retry\"}",
        ] {
            page = page_with(address, series).await;
        }
        stop.cancel();
        page
    };
    let (page, ()) = tokio::join!(watched, app.run(stop.clone()));
    assert_page(&page);
}

fn assert_page(page: &str) {
    assert!(page.contains(CONTENT_TYPE), "{page}");
    for (series, count) in [
        ("routerbase_submits_total{outcome=\"accepted\"}", 3.0),
        ("routerbase_submits_total{outcome=\"replayed\"}", 0.0),
        (
            "routerbase_http_requests_total{endpoint=\"submit\",status=\"2xx\"}",
            3.0,
        ),
        (
            "routerbase_http_requests_total{endpoint=\"submit\",status=\"4xx\"}",
            1.0,
        ),
        (
            "routerbase_attempts_total{provider=\"sandbox\",state=\"done\"}",
            1.0,
        ),
        (
            "routerbase_attempts_total{provider=\"sandbox\",state=\"unknown\"}",
            1.0,
        ),
        ("routerbase_tasks_ended_total{end=\"other\"}", 0.0),
        ("routerbase_clock_lead_seconds{clock=\"database\"}", 0.0),
    ] {
        assert_eq!(value(page, series), count, "{series}\n{page}");
    }
    for series in [
        "routerbase_poll_lag_seconds_count",
        "routerbase_commit_operations_count",
        "routerbase_commit_seconds_sum",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    ] {
        assert!(value(page, series) > 0.0, "{series}\n{page}");
    }
    assert!(page.contains("routerbase_build_info{version=\""), "{page}");
}
