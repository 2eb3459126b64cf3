//! A PostgreSQL that lives as long as a bench, with the settings it is installed with.
//!
//! Invariant: it ends with us, however we end: its parent is a shell that waits for the end of our
//! pipe.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::shell::run;

/// Starts a program; ends it, and removes its folder, when nobody holds the other end of the pipe.
const KEEPER: &str = r#"
    "$@" >log 2>&1 &
    server=$!
    read -r _
    kill -QUIT $server
    wait $server
    cd / && rm -rf "$KEPT"
"#;

const TRIES: u32 = 400;
const EVERY: Duration = Duration::from_millis(50);

/// A cluster that runs.
#[derive(Debug)]
pub struct Cluster {
    /// Where its files lie.
    pub folder: PathBuf,
    programs: PathBuf,
    port: u16,
    keeper: Child,
}

impl Cluster {
    /// Makes a cluster in a folder of its own and starts it.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or does not start.
    pub fn start(parent: Option<&Path>) -> anyhow::Result<Self> {
        let programs = programs()?;
        // Not below `target`: where we are root the server is another user, who may not get there.
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let folder = parent.join(format!("routerbase-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let user = unprivileged_user()?;
        if let Some(user) = &user {
            run(Command::new("chown").arg(user).arg(&folder))?;
        }
        let files = folder.join("files");
        let mut initdb = as_user(user.as_deref(), &programs.join("initdb"));
        initdb.args(["--username=bench", "--auth=trust", "--encoding=UTF8"]);
        initdb.args(["--locale=C", "-D"]).arg(&files);
        run(initdb.current_dir(&folder).stdout(Stdio::null()))?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let server = as_user(user.as_deref(), &programs.join("postgres"));
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "keeper"]);
        keeper.arg(server.get_program()).args(server.get_args());
        keeper.arg("-D").arg(&files).arg("-k").arg(&folder);
        keeper.args(["-c", "listen_addresses=127.0.0.1", "-p"]);
        let keeper = keeper
            .arg(port.to_string())
            .env("KEPT", &folder)
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let cluster = Self {
            folder,
            programs,
            port,
            keeper,
        };
        cluster.wait()?;
        Ok(cluster)
    }

    /// Makes a database; answers its URL.
    ///
    /// # Errors
    /// It is there already.
    pub fn create(&self, name: &str) -> anyhow::Result<String> {
        let port = self.port.to_string();
        let mut createdb = Command::new(self.programs.join("createdb"));
        createdb.args(["-h", "127.0.0.1", "-p", &port, "-U", "bench", name]);
        run(&mut createdb)?;
        Ok(format!("postgres://bench@127.0.0.1:{port}/{name}"))
    }

    fn wait(&self) -> anyhow::Result<()> {
        let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        for _ in 0..TRIES {
            let is_open = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok();
            if is_open && log().contains("ready to accept connections") {
                return Ok(());
            }
            std::thread::sleep(EVERY);
        }
        bail!("PostgreSQL did not start: {}", log());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        drop(self.keeper.wait());
    }
}

/// Where `postgres`, `initdb` and `createdb` are.
fn programs() -> anyhow::Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut versions: Vec<_> = versions.flatten().map(|entry| entry.path()).collect();
    versions.sort();
    let installed = versions
        .into_iter()
        .rev()
        .map(|version| version.join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<_> = std::env::split_paths(&path).collect();
    let has_all = |folder: &PathBuf| {
        let mut programs = ["postgres", "initdb", "createdb"].iter();
        programs.all(|program| folder.join(program).is_file())
    };
    let found = installed.chain(on_path).find(has_all);
    found.context("install PostgreSQL (Debian: apt-get install postgresql), or give a URL")
}

/// PostgreSQL refuses to run as root: the user to run it as, when we are.
fn unprivileged_user() -> anyhow::Result<Option<String>> {
    let id_of = |arguments: &[&str]| {
        let answer = Command::new("id").args(arguments).output()?;
        anyhow::Ok(String::from_utf8_lossy(&answer.stdout).trim().to_owned())
    };
    if id_of(&["-u"])? != "0" {
        return Ok(None);
    }
    for user in ["postgres", "nobody"] {
        if !id_of(&["-u", user])?.is_empty() {
            return Ok(Some(user.to_owned()));
        }
    }
    bail!("PostgreSQL does not run as root, and there is no user `postgres` or `nobody`");
}

fn as_user(user: Option<&str>, program: &Path) -> Command {
    let Some(user) = user else {
        return Command::new(program);
    };
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", user, "--clear-groups"])
        .arg(program);
    command
}
