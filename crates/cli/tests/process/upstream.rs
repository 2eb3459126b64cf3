//! kill -9 between a provider's acceptance and its reply, with providers and models from a folder:
//! what was bought is found again where the provider can be asked, and never bought twice.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use crate::server::{Folder, Server, command};

/// A picture of one pixel.
const PNG: [u8; 67] = [
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, 0x49, 0x48, 0x44, 0x52, 0, 0, 0,
    1, 0, 0, 0, 1, 8, 0, 0, 0, 0, 0x3a, 0x7e, 0x9b, 0x55, 0, 0, 0, 0x0a, 0x49, 0x44, 0x41, 0x54,
    0x78, 0x9c, 0x63, 0x60, 0, 0, 0, 2, 0, 1, 0x48, 0xaf, 0xa4, 0x71, 0, 0, 0, 0, 0x49, 0x45, 0x4e,
    0x44, 0xae, 0x42, 0x60, 0x82,
];

/// A provider that takes every order and does not get to say so.
struct Provider {
    address: String,
    /// Paths of the creating calls.
    created: Arc<Mutex<Vec<String>>>,
}

impl Provider {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let created = Arc::new(Mutex::new(Vec::new()));
        let (kept, base) = (Arc::clone(&created), address.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (kept, base) = (Arc::clone(&kept), base.clone());
                std::thread::spawn(move || stream.ok().and_then(|one| answer(one, &base, &kept)));
            }
        });
        Self { address, created }
    }

    fn created(&self) -> Vec<String> {
        let mut created = self.created.lock().unwrap().clone();
        created.sort();
        created
    }
}

fn answer(stream: TcpStream, base: &str, created: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    if first.starts_with("POST ") {
        created.lock().unwrap().push(path);
        // Whoever asked will be dead before there is an answer.
        std::thread::sleep(Duration::from_secs(120));
        return None;
    }
    let reply = match path.as_str() {
        "/file.png" => PNG.to_vec(),
        _ => {
            let videos = json!([{ "id": "v1", "url": format!("{base}/file.png") }]);
            let work = json!({
                "task_id": "8127", "task_status": "succeed", "task_result": { "videos": videos },
            });
            json!({ "code": 0, "data": work }).to_string().into_bytes()
        }
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        reply.len()
    );
    reader.get_mut().write_all(head.as_bytes()).ok()?;
    reader.get_mut().write_all(&reply).ok()
}

/// A provider is one file and a model is one file.
fn write_catalogue(folder: &Path, address: &str) {
    let write = |path: &str, text: String| {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let provider = |id: &str, dialect: &str, recovery: &str| {
        format!(
            "id = \"{id}\"\nname = \"P\"\ndialect = \"{dialect}\"\nbase_url = \"{address}\"\n\
             secret = \"TEST_PROVIDER_KEY\"\nrecovery = \"{recovery}\"\nquiet_ms = 1000\n"
        )
    };
    let model = |id: &str, modality: &str, provider: &str, model: &str| {
        format!(
            "id = \"{id}\"\nname = \"M\"\nvendor = \"V\"\nmodality = \"{modality}\"\n\
             description = \"D.\"\n[price]\nper_run = 0.5\n\
             [[routes]]\nprovider = \"{provider}\"\nmodel = \"{model}\"\n"
        )
    };
    write("providers/asked.toml", provider("asked", "kling", "lookup"));
    write(
        "providers/mute.toml",
        provider("mute", "openai_chat", "none"),
    );
    let (found, lost) = ("video_generate.found", "solve_problem.lost");
    let path = |id: &str| format!("models/{id}.toml");
    write(
        &path(found),
        model(found, "video", "asked", "videos/text2video/m"),
    );
    write(&path(lost), model(lost, "chat", "mute", "m"));
}

#[test]
fn what_was_accepted_when_the_process_died_is_found_or_given_up_and_bought_once() {
    let folder = Folder::new("upstream");
    let provider = Provider::start();
    write_catalogue(&folder.0.join("catalogue"), &provider.address);
    let start = || {
        let mut command = command(&folder.0);
        command
            .arg("serve")
            .env("ROUTERBASE_CATALOGUE__FOLDER", folder.0.join("catalogue"))
            .env("TEST_PROVIDER_KEY", "access:secret");
        Server::spawn(&mut command)
    };
    let server = start();
    let submit = |model: &str| {
        let path = format!("/api/v1/run/{model}");
        let body = json!({ "prompt": "a fox" });
        let (status, reply) = server.call("POST", &path, &[], Some(&body)).unwrap();
        assert_eq!(status, 200, "{reply}");
        reply["task_id"].as_str().unwrap().to_owned()
    };
    let (found, lost) = (submit("video_generate.found"), submit("solve_problem.lost"));
    let bought = ["/chat/completions", "/v1/videos/text2video"];
    for _ in 0..600 {
        if provider.created().len() == 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(provider.created(), bought);
    server.kill();
    let server = start();
    let task = server.ended(&found);
    assert_eq!(task["status"], "success", "{task}");
    assert_eq!(task["credits"]["charged"], 0.5);
    let task = server.ended(&lost);
    assert_eq!(task["error"]["type"], "outcome_unknown", "{task}");
    assert_eq!(task["credits"]["charged"], 0);
    assert_eq!(provider.created(), bought, "nothing was bought twice");
    assert_eq!(server.get("/api/v1/billing/balance")["credits"], 999.5);
    assert!(server.terminate().success());
    let check = command(&folder.0).args(["ledger", "check"]).output();
    assert!(check.unwrap().status.success());
}
