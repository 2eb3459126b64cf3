//! The recorded conversations of the dialects, as a server is to play them.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// Where the fixtures are.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../dialects/fixtures");

/// Where the provider is in the fixtures.
const HOME: &str = "https://provider.test";

/// Conversations that pause longer than this, in milliseconds, are played without a network only.
const PAUSES_MS_MAX: u64 = 10_000;

/// One call that is expected, and its answer.
#[derive(Debug)]
pub struct Exchange {
    /// As the fixture has it, with our server as the provider.
    pub request: Value,
    /// The same.
    pub reply: Value,
}

/// One conversation.
#[derive(Debug)]
pub struct Script {
    pub dialect: String,
    /// Unique; also the path below which the provider is played.
    pub name: String,
    pub base: String,
    pub order: Value,
    pub exchanges: Vec<Exchange>,
    /// How it ends: an output or a fault.
    pub end: Value,
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).unwrap();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Every conversation that begins with an order and can be played in a short time, at a server.
pub fn scripts(server: &str) -> Vec<Script> {
    let mut scripts = Vec::new();
    for folder in folders(Path::new(ROOT)) {
        for case in folders(&folder) {
            scripts.extend(script(server, &name_of(&folder), &case));
        }
    }
    scripts
}

fn script(server: &str, dialect: &str, case: &Path) -> Option<Script> {
    let order = read(&case.join("order.json"));
    let outcome = read(&case.join("outcome.json"));
    let pauses = outcome["pauses"].as_array().unwrap();
    let paused: u64 = pauses.iter().filter_map(|one| one["ms"].as_u64()).sum();
    // A server of a test is not reached over TLS, so nobody is told where to call.
    let is_told = !order["webhook"].is_null();
    if !order["starts"].is_null() || is_told || paused > PAUSES_MS_MAX {
        return None;
    }
    let name = format!("{dialect}_{}", name_of(case));
    let base = format!("{server}/{name}");
    let pairs = (1..).map_while(|n| {
        let path = |what: &str| case.join(format!("{n}.{what}.json"));
        let (request, reply) = (path("request"), path("reply"));
        request.is_file().then(|| (read(&request), read(&reply)))
    });
    let pairs: Vec<(Value, Value)> = pairs.collect();
    let moves = moves(&name, &base, &pairs, &outcome["end"]);
    let moved = |value: &Value| rewritten(value, &moves);
    let exchanges = pairs.iter().map(|(request, reply)| Exchange {
        request: moved(&request["request"]),
        reply: moved(reply),
    });
    Some(Script {
        exchanges: exchanges.collect(),
        end: moved(&outcome["end"]),
        order: moved(&order),
        dialect: dialect.to_owned(),
        name,
        base,
    })
}

/// What stands for what on our server: hosts of the provider, links to files, pictures in base64.
fn moves(name: &str, base: &str, pairs: &[(Value, Value)], end: &Value) -> Vec<(String, String)> {
    let mut moves = Vec::new();
    let sources = end["output"]["sources"].as_array();
    for (n, source) in sources.into_iter().flatten().enumerate() {
        if let Some(link) = source["link"].as_str() {
            moves.push((link.to_owned(), format!("{base}/file/{n}")));
        }
        if let Some(inline) = source["inline"].as_str() {
            moves.push((inline.to_owned(), STANDARD.encode(picture(name, n))));
        }
    }
    for (request, _) in pairs {
        let url = request["request"]["url"].as_str().unwrap();
        let origin = url.match_indices('/').nth(2).map(|(at, _)| &url[..at]);
        moves.push((origin.unwrap_or(url).to_owned(), base.to_owned()));
    }
    moves.push((HOME.to_owned(), base.to_owned()));
    moves
}

fn rewritten(value: &Value, moves: &[(String, String)]) -> Value {
    match value {
        Value::String(text) => {
            let replaced = moves.iter().fold(text.clone(), |text, (from, to)| {
                // A short picture in base64 may be a part of other words.
                match from.starts_with("https://") {
                    true => text.replace(from, to),
                    false if text == *from => to.clone(),
                    false => text.replace(&format!("base64,{from}"), &format!("base64,{to}")),
                }
            });
            Value::String(replaced)
        }
        Value::Array(items) => items.iter().map(|item| rewritten(item, moves)).collect(),
        Value::Object(pairs) => {
            let pairs = pairs.iter();
            let pairs = pairs.map(|(name, value)| (name.clone(), rewritten(value, moves)));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

/// A picture that no other conversation has.
pub fn picture(name: &str, n: usize) -> Vec<u8> {
    let sum = name.bytes().fold(7_u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u32::from(byte))
    });
    let [red, green, blue, _] = sum.to_le_bytes();
    let side = u32::try_from(n).unwrap() + 2;
    let image = image::RgbImage::from_pixel(side, 1, image::Rgb([red, green, blue]));
    let mut png = std::io::Cursor::new(Vec::new());
    image.write_to(&mut png, image::ImageFormat::Png).unwrap();
    png.into_inner()
}

impl Script {
    /// Index of the output's file at a path of the server, and whether it wants the secret.
    pub fn file(&self, url: &str) -> Option<(usize, bool)> {
        let sources = self.end["output"]["sources"].as_array()?;
        sources.iter().enumerate().find_map(|(n, source)| {
            let (link, fetch) = (&source["link"], &source["fetch"]["url"]);
            if link == url {
                return Some((n, false));
            }
            (fetch == url).then_some((n, source["fetch"]["auth"] != "none"))
        })
    }
}
