//! Where files are kept in a test: a folder, or a bucket behind an S3 server on loopback.

use std::path::{Path, PathBuf};

use domain::ids::TaskId;
use gateway::entropy::Entropy;
use gateway::media::{Media, MediaSettings};
use gateway::spawn::detached;
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

/// Largest file here, in bytes.
pub(crate) const BYTES_MAX: u64 = 16 << 20;

/// How long files are kept here, in milliseconds.
/// Less than caches would keep a file otherwise: `max-age=1000`.
pub(crate) const RETENTION_MS: i64 = 1_000_000;

const PREFIX: &str = "some/prefix";

/// A folder that goes with the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let name = format!("media-{}", hex::encode(Entropy::system().bytes::<6>()));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) media: Media,
    pub(crate) settings: MediaSettings,
    root: PathBuf,
    scratch: Scratch,
}

pub(crate) fn settings(url: String) -> MediaSettings {
    MediaSettings {
        url,
        options: Vec::new(),
        retention_ms: RETENTION_MS,
        bytes_max: BYTES_MAX,
    }
}

pub(crate) fn task(number: u8) -> TaskId {
    TaskId::mint(1_700_000_000_000, &[number; 10])
}

/// One of each kind.
pub(crate) async fn places() -> [Place; 2] {
    [Place::folder(), Place::bucket().await]
}

impl Place {
    pub(crate) fn folder() -> Self {
        let scratch = Scratch::new();
        let root = scratch.path().join("media");
        let settings = settings(format!("file://{}", root.display()));
        Self {
            name: "folder",
            media: Media::open(settings.clone(), "secret").unwrap(),
            settings,
            root,
            scratch,
        }
    }

    pub(crate) async fn bucket() -> Self {
        let scratch = Scratch::new();
        std::fs::create_dir(scratch.path().join("results")).unwrap();
        let endpoint = serve_s3(scratch.path()).await;
        let options = [
            ("aws_endpoint", endpoint.as_str()),
            ("aws_allow_http", "true"),
            ("aws_region", "eu-central-1"),
            ("aws_access_key_id", "AKEXAMPLE"),
            ("aws_secret_access_key", "EXAMPLESECRET"),
        ];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = MediaSettings {
            options: options.to_vec(),
            ..settings(format!("s3://results/{PREFIX}"))
        };
        Self {
            name: "bucket",
            media: Media::open(settings.clone(), "secret").unwrap(),
            settings,
            root: scratch.path().join("results").join(PREFIX),
            scratch,
        }
    }

    /// The bytes of a stored file, past everything that is tested.
    pub(crate) fn bytes(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.root.join(path)).unwrap()
    }

    /// Everything that lies about, unfinished uploads and empty folders of results included.
    pub(crate) fn found(&self) -> Vec<String> {
        let mut paths = Vec::new();
        walk(self.scratch.path(), &mut paths);
        // What the S3 server makes besides objects and parts: notes, bodies that broke off, folders.
        let is_servers = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy();
            let is_note = name.starts_with(".bucket-") && !name.contains(".upload-");
            is_note || name.starts_with(".tmp.") || (self.name == "bucket" && path.is_dir())
        };
        paths.retain(|path| *path != self.root && !is_servers(path));
        let name = |path: &PathBuf| path.strip_prefix(&self.root).unwrap_or(path).to_owned();
        let mut names: Vec<_> = paths.iter().map(name).collect();
        names.sort();
        names
            .iter()
            .map(|name| name.display().to_string())
            .collect()
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }
}

/// The files below a folder, and the folders with nothing in them.
fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let before = found.len();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.push(path);
        }
    }
    if found.len() == before {
        found.push(folder.to_owned());
    }
}

async fn serve_s3(root: &Path) -> String {
    let files = s3s_fs::FileSystem::new(root).unwrap();
    let mut service = S3ServiceBuilder::new(files);
    service.set_auth(SimpleAuth::from_single("AKEXAMPLE", "EXAMPLESECRET"));
    let service = service.build();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    detached("s3", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            detached("s3 connection", async move {
                let server = hyper::server::conn::http1::Builder::new();
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    endpoint
}
