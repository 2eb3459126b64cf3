//! What stands between the store and PostgreSQL when the network is to blame.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_postgres::config::Host;
use tokio_util::sync::CancellationToken;

use crate::support::TestStore;

/// What becomes of the connection over which an armed proxy sees a COMMIT.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The COMMIT is swallowed, and the connection ends.
    Before,
    /// The COMMIT goes through, its reply does not, and the connection ends.
    After,
    /// The COMMIT is swallowed, and nothing more is heard.
    HushedBefore,
    /// The COMMIT goes through, and nothing more is heard.
    HushedAfter,
}

/// Relays connections to the server, or not.
pub struct Proxy {
    /// Where the database is reached through it.
    pub url: String,
    /// COMMITs that were cut.
    pub cuts: Arc<AtomicI64>,
    line: Arc<Line>,
}

/// What all connections through it share.
struct Line {
    cut: Cut,
    is_armed: AtomicBool,
    /// Whether new connections are accepted and then left alone.
    is_deaf: AtomicBool,
    cuts: Arc<AtomicI64>,
    /// Ends what the connections of today hear.
    hush: Mutex<CancellationToken>,
    /// The connections there were, to be ended one by one.
    connections: Mutex<Vec<CancellationToken>>,
}

impl Proxy {
    pub async fn start(db: &TestStore, cut: Cut) -> Self {
        let config: tokio_postgres::Config = db.url.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let user = config.get_user().unwrap();
        let name = config.get_dbname().unwrap();
        let password = config
            .get_password()
            .map(|word| String::from_utf8_lossy(word));
        let password = password.map_or(String::new(), |word| format!(":{word}"));
        let line = Arc::new(Line {
            cut,
            is_armed: AtomicBool::default(),
            is_deaf: AtomicBool::default(),
            cuts: Arc::default(),
            hush: Mutex::default(),
            connections: Mutex::default(),
        });
        let proxy = Self {
            url: format!("postgres://{user}{password}@127.0.0.1:{port}/{name}"),
            cuts: Arc::clone(&line.cuts),
            line: Arc::clone(&line),
        };
        gateway::spawn::detached("proxy", async move {
            while let Ok((client, _)) = listener.accept().await {
                let (config, line) = (config.clone(), Arc::clone(&line));
                let end = CancellationToken::new();
                line.connections.lock().unwrap().push(end.clone());
                gateway::spawn::detached("proxied", async move {
                    tokio::select! {
                        () = end.cancelled() => {}
                        () = serve(client, &config, &line) => {}
                    }
                });
            }
        });
        proxy
    }

    /// The next COMMIT is cut.
    pub fn arm(&self) {
        self.line.is_armed.store(true, Ordering::Relaxed);
    }

    /// Nothing more is heard over the connections there are.
    pub fn hush(&self) {
        std::mem::take(&mut *self.line.hush.lock().unwrap()).cancel();
    }

    /// Whether new connections lead nowhere from now on.
    pub fn set_deaf(&self, is_deaf: bool) {
        self.line.is_deaf.store(is_deaf, Ordering::Relaxed);
    }

    /// Ends a connection, counted from the first.
    pub fn end(&self, index: usize) {
        self.line.connections.lock().unwrap()[index].cancel();
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.line.connections.lock().unwrap().len()
    }
}

async fn serve(client: TcpStream, config: &tokio_postgres::Config, line: &Line) {
    if line.is_deaf.load(Ordering::Relaxed) {
        return std::future::pending().await;
    }
    match &config.get_hosts()[0] {
        Host::Unix(folder) => {
            let socket = folder.join(".s.PGSQL.5432");
            let server = UnixStream::connect(socket).await.unwrap();
            relay(client, server, line).await;
        }
        Host::Tcp(host) => {
            let port = config.get_ports().first().copied().unwrap_or(5432);
            let server = TcpStream::connect((host.as_str(), port)).await.unwrap();
            relay(client, server, line).await;
        }
    }
}

async fn relay<S: AsyncRead + AsyncWrite>(client: TcpStream, server: S, line: &Line) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let is_silent = line.hush.lock().unwrap().child_token();
    let up = async {
        let mut buffer = vec![0; 65_536];
        loop {
            let count = from_client.read(&mut buffer).await.unwrap_or(0);
            let part = &buffer[..count];
            if count == 0 {
                return;
            }
            let is_commit = part.windows(7).any(|bytes| bytes == b"COMMIT\0");
            let is_cut = is_commit && line.is_armed.swap(false, Ordering::Relaxed);
            if is_cut {
                line.cuts.fetch_add(1, Ordering::Relaxed);
                if matches!(line.cut, Cut::HushedBefore | Cut::HushedAfter) {
                    is_silent.cancel();
                }
            }
            let is_swallowed = matches!(line.cut, Cut::Before | Cut::HushedBefore);
            if !(is_cut && is_swallowed) && to_server.write_all(part).await.is_err() {
                return;
            }
            if is_cut && matches!(line.cut, Cut::Before | Cut::After) {
                return;
            }
        }
    };
    let down = async {
        tokio::select! {
            biased;
            () = is_silent.cancelled() => std::future::pending().await,
            _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
        }
    };
    // Whoever ends first ends both; what is in flight is lost, as on a network.
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
