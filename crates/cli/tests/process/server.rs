//! The program as a child, and as little of HTTP as it takes to talk to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// The key of every server here.
pub const KEY: &str = "sk-t0-process-0123456789abcdef";

/// A folder that goes with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("routerbase-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running server; killed with the test.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    /// Starts `routerbase serve` on the data in a folder and waits until it listens.
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    /// The same with more arguments.
    pub fn start_with(folder: &Path, arguments: &[&str]) -> Self {
        Self::spawn(command(folder).arg("serve").args(arguments))
    }

    /// Starts a server and waits until it listens.
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line = lines
                .next()
                .expect("the server ended before it listened")
                .unwrap();
            if let Some(url) = line.strip_prefix("listening on http://") {
                break url.parse().unwrap();
            }
        };
        // The pipe must not fill up.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and how the process ended.
    pub fn terminate(self) -> ExitStatus {
        self.ask_to_stop();
        self.wait()
    }

    /// SIGTERM.
    pub fn ask_to_stop(&self) {
        let id = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &id]).status();
        assert!(asked.unwrap().success());
    }

    /// How the process ends.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, &[], None).unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    pub fn submit(&self, model: &str, scenario: &str, body: &Value) -> String {
        let path = format!("/api/v1/run/{model}");
        let headers = [("RouterBase-Sandbox", scenario)];
        let (status, reply) = self.call("POST", &path, &headers, Some(body)).unwrap();
        assert_eq!(status, 200, "{reply}");
        reply["task_id"].as_str().unwrap().to_owned()
    }

    /// One call on a connection of its own.
    pub fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> std::io::Result<(u16, Value)> {
        self.call_as(KEY, method, path, headers, body)
    }

    /// The same with another key.
    pub fn call_as(
        &self,
        key: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> std::io::Result<(u16, Value)> {
        let body = body.map(ToString::to_string).unwrap_or_default();
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {key}\r\n\
             Connection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(90)))?;
        stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply)?;
        let text = String::from_utf8_lossy(&reply);
        let malformed = || std::io::Error::other(format!("malformed: {text}"));
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(malformed)?;
        let status = head
            .get(9..12)
            .and_then(|code| code.parse().ok())
            .ok_or_else(malformed)?;
        Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
    }

    /// The task once it ended.
    pub fn ended(&self, id: &str) -> Value {
        for _ in 0..60 {
            let task = self.get(&format!("/api/v1/run/tasks/{id}?wait=10"));
            if task["status"] == "success" || task["status"] == "fail" {
                return task;
            }
        }
        panic!("{id} did not end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program with settings for the data in a folder.
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_routerbase"));
    command
        .current_dir(folder)
        .env("ROUTERBASE_SERVER__LISTEN", "127.0.0.1:0")
        .env("ROUTERBASE_BOOTSTRAP__KEY", KEY)
        .env("ROUTERBASE_BOOTSTRAP__CREDITS", "1000")
        .env("ROUTERBASE_EGRESS__ALLOW", "127.0.0.0/8");
    command
}

/// A receiver of callbacks that answers 200 and remembers what it got.
pub struct Receiver {
    pub url: String,
    got: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Receiver {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let got = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&got);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || {
                    if let Some(delivery) = stream.ok().and_then(receive) {
                        kept.lock().unwrap().push(delivery);
                    }
                });
            }
        });
        Self { url, got }
    }

    /// Every delivery: `webhook-id` and body.
    pub fn got(&self) -> Vec<(String, Value)> {
        self.got.lock().unwrap().clone()
    }
}

fn receive(stream: TcpStream) -> Option<(String, Value)> {
    let mut reader = BufReader::new(stream);
    let (mut id, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "webhook-id" => value.clone_into(&mut id),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    reader.get_mut().write_all(reply).ok()?;
    Some((id, serde_json::from_slice(&body).ok()?))
}
