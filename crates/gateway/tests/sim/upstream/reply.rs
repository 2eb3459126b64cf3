//! What the providers answer: bytes of HTTP, and what goes wrong with them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Early, Fate, FileFate, Handing, Run, Upstream, ms};
use crate::world::FILE_BYTES_MAX;

/// A request as it arrived.
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: Value,
}

/// What is done with a connection in the end.
pub(super) struct Said {
    pub(super) bytes: Vec<u8>,
    /// The connection breaks after so many bytes of them.
    pub(super) breaks_at: Option<usize>,
    /// After that it stays open and silent.
    pub(super) hangs: bool,
}

/// What becomes of a creating call.
#[derive(Clone, Copy)]
enum Luck {
    /// Accepted; something is wrong with the reply.
    Taken,
    /// Accepted after a while; something is wrong with the reply, which comes before.
    TakenLate,
    /// Not accepted; something is wrong with the reply.
    Dropped,
}

impl Said {
    pub(super) fn whole(status: u16, body: &Value) -> Self {
        Self::bytes(status, "", body.to_string().as_bytes())
    }

    fn bytes(status: u16, header: &str, body: &[u8]) -> Self {
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\n{header}content-length: {length}\r\n\r\n");
        Self {
            bytes: [head.as_bytes(), body].concat(),
            breaks_at: None,
            hangs: false,
        }
    }

    fn nothing(hangs: bool) -> Self {
        Self {
            bytes: Vec::new(),
            breaks_at: None,
            hangs,
        }
    }
}

impl Upstream {
    /// Thinks, and answers.
    pub(super) async fn answer(&self, provider: usize, asked: Asked) -> Said {
        sleep(ms(self.dice.between(0, self.plans[provider].slow_ms))).await;
        let parts: Vec<&str> = asked.path.trim_matches('/').split('/').collect();
        match (asked.method.as_str(), parts.as_slice()) {
            ("POST", ["runs"]) => self.create(provider, &asked.body).await,
            _ if self.mishap(self.plans[provider].stumbles) => self.stumble(),
            ("POST", ["uploads"]) => Said::whole(200, &json!({})),
            ("GET", ["runs", id]) => self.status(id),
            ("DELETE", ["runs", id]) => match self.cancel(id) {
                true => Said::whole(200, &json!({})),
                false => Said::whole(409, &json!({})),
            },
            ("GET", ["keys", key]) => self.look_up(provider, key),
            ("GET", ["files", id, n]) => self.file(id, n.parse().unwrap_or(usize::MAX)),
            _ => Said::whole(404, &json!({})),
        }
    }

    async fn create(&self, provider: usize, body: &Value) -> Said {
        self.arrival.notify_waiters();
        let plan = &self.plans[provider];
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let (key, task) = (text("key"), text("prompt"));
        let is_chat = body["is_chat"] == json!(true);
        if self.mishap(plan.refuses) {
            self.trace.say(&format!("{} refuses {task}", plan.id));
            self.count("refusal");
            return self.refusal();
        }
        if self.mishap(plan.loses) {
            let luck = self
                .dice
                .pick(&[Luck::Taken, Luck::TakenLate, Luck::Dropped]);
            return self.mislay(provider, luck, (key, task, is_chat));
        }
        let id = self.accept(provider, &key, &task, is_chat);
        if self.mishap(plan.lies)
            && let Some(other) = self.another(provider, &task)
        {
            self.trace.say(&format!("{} calls {id} {other}", plan.id));
            self.count("id of another run");
            return Said::whole(200, &json!({ "id": other }));
        }
        Said::whole(200, &json!({ "id": id }))
    }

    fn refusal(&self) -> Said {
        match self.dice.below(12) {
            0 => Said::whole(422, &json!({})),
            1 => Said::whole(403, &json!({})),
            2..=6 => {
                let seconds = self.dice.between(1, 8);
                Said::bytes(429, &format!("retry-after: {seconds}\r\n"), b"{}")
            }
            _ => Said::whole(503, &json!({ "is_created": false })),
        }
    }

    fn mislay(&self, provider: usize, luck: Luck, wanted: (String, String, bool)) -> Said {
        let (key, task, is_chat) = wanted;
        let plan = &self.plans[provider];
        let mut id = String::from("x");
        match luck {
            Luck::Taken => {
                self.count("reply lost");
                id = self.accept(provider, &key, &task, is_chat);
            }
            Luck::TakenLate => {
                self.count("reply lost, accepted late");
                let wait_ms = self.dice.between(0, plan.flight_ms);
                self.trace
                    .say(&format!("{} will accept {task} in {wait_ms} ms", plan.id));
                let upstream = self.clone();
                gateway::spawn::detached("late", async move {
                    sleep(ms(wait_ms)).await;
                    upstream.accept(provider, &key, &task, is_chat);
                });
            }
            Luck::Dropped => {
                self.count("request lost");
                self.trace.say(&format!("{} drops {task}", plan.id));
            }
        }
        self.spoiled(&Said::whole(200, &json!({ "id": id })))
    }

    /// A reply that cannot be understood, or none.
    fn spoiled(&self, right: &Said) -> Said {
        match self.dice.below(7) {
            0 => Said::nothing(false),
            1 => Said::nothing(true),
            2 => Said::whole(500, &json!({ "message": "oops" })),
            3 => Said::bytes(502, "", b"<html>bad gateway</html>"),
            4 => Said::bytes(200, "", b"<html>welcome</html>"),
            _ => {
                let length = u32::try_from(right.bytes.len()).unwrap();
                Said {
                    bytes: right.bytes.clone(),
                    // Never the whole reply.
                    breaks_at: Some(self.dice.below(length) as usize),
                    hangs: self.dice.chance(30),
                }
            }
        }
    }

    /// Something is wrong with the reply to a read.
    fn stumble(&self) -> Said {
        self.count("stumble");
        if self.dice.chance(20) {
            return Said::bytes(429, "retry-after: 3\r\n", b"{}");
        }
        self.spoiled(&Said::whole(200, &json!({ "state": "working" })))
    }

    /// A run of another task that has been known for long.
    fn another(&self, provider: usize, task: &str) -> Option<String> {
        let books = self.books.lock().unwrap();
        let other = books.runs.iter().find(|run| {
            let is_old = run.born.elapsed() > ms(30_000);
            run.provider == provider && run.task != task && is_old
        });
        other.map(|run| run.id.clone())
    }

    fn look_up(&self, provider: usize, key: &str) -> Said {
        let lag = ms(self.plans[provider].lag_ms);
        let found = self.find(provider, key);
        if let Some(run) = &found
            && self.mishap(self.plans[provider].lies)
            && let Some(other) = self.another(provider, &run.task)
        {
            self.count("id of another run by lookup");
            return Said::whole(200, &json!({ "id": other }));
        }
        match found.filter(|run| run.born.elapsed() >= lag) {
            Some(run) => {
                self.count("found by lookup");
                Said::whole(200, &json!({ "id": run.id }))
            }
            None => Said::whole(404, &json!({})),
        }
    }

    fn status(&self, id: &str) -> Said {
        let Some(run) = self.run(id) else {
            return Said::whole(404, &json!({}));
        };
        if Instant::now() < run.ends || run.fate == Fate::Never {
            return Said::whole(200, &json!({ "state": "working", "progress": 0.5 }));
        }
        let body = match run.fate {
            _ if run.is_cancelled => json!({ "state": "failed" }),
            Fate::Failed => json!({ "state": "failed" }),
            Fate::Moderated => json!({ "state": "moderated" }),
            Fate::Done | Fate::Never => json!({ "state": "done", "files": run.handed() }),
        };
        Said::whole(200, &body)
    }

    fn file(&self, id: &str, n: usize) -> Said {
        let Some(run) = self.run(id) else {
            return Said::whole(404, &json!({}));
        };
        let Some((fate, _)) = run.files.get(n) else {
            return Said::whole(404, &json!({}));
        };
        let right = Said::bytes(200, "", &run.picture(n));
        match fate {
            FileFate::Early(early) if Instant::now() < run.right_at => {
                self.count("file not right yet");
                match early {
                    Early::Empty => Said::bytes(200, "", b""),
                    Early::Missing => Said::whole(404, &json!({})),
                    Early::Cut => Said {
                        breaks_at: Some(right.bytes.len() / 2),
                        ..right
                    },
                }
            }
            FileFate::Good | FileFate::Early(_) => right,
            FileFate::WrongType => Said::bytes(200, "", b"<html>an error page</html>"),
            FileFate::Oversized => {
                let mut picture = run.picture(n);
                picture.resize(FILE_BYTES_MAX + 1_000, 0);
                // Its length is not told, as otherwise nothing would be read.
                let head = b"HTTP/1.1 200 X\r\n\r\n".as_slice();
                Said {
                    bytes: [head, picture.as_slice()].concat(),
                    breaks_at: None,
                    hangs: false,
                }
            }
        }
    }
}

impl Run {
    fn handed(&self) -> Vec<Value> {
        let files = self.files.iter().enumerate();
        let hand = |(n, (fate, handing)): (usize, &(FileFate, Handing))| {
            let (id, provider) = (&self.id, self.provider);
            match (handing, fate) {
                (Handing::Link, _) => {
                    json!({ "link": format!("http://cdn{provider}.example/files/{id}/{n}") })
                }
                (Handing::Inline, FileFate::Good) => {
                    json!({ "inline": STANDARD.encode(self.picture(n)) })
                }
                _ => json!({ "path": format!("/files/{id}/{n}") }),
            }
        };
        let mut handed: Vec<Value> = files.map(hand).collect();
        if self.is_chat {
            handed.clear();
        }
        handed
    }

    /// The bytes of a file, the same each time.
    fn picture(&self, n: usize) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x10\0\0\0\x10".to_vec();
        let name = format!("{} {} file {n} ", self.id, self.task);
        for _ in 0..(20 + n * 40) {
            bytes.extend_from_slice(name.as_bytes());
        }
        bytes
    }
}
