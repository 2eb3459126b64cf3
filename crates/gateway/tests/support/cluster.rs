//! The PostgreSQL behind the tests: `TEST_DATABASE_URL`, else a temporary cluster of this process.
//!
//! Invariant: the cluster ends with the process, however that ends: its parent is a shell that waits
//! for the end of our pipe.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use gateway::entropy::Entropy;
use tokio_postgres::NoTls;

const MISSING: &str = "the store's tests need PostgreSQL: install it (Debian: apt-get install \
    postgresql; macOS: brew install postgresql), or point TEST_DATABASE_URL at a server on which \
    databases may be created";

/// Starts PostgreSQL; ends it, and removes its folder, when nobody holds the other end of the pipe.
const KEEPER: &str = r#"
    "$@" >log 2>&1 &
    server=$!
    read -r _
    kill -QUIT $server
    wait $server
    cd / && rm -rf "$KEPT"
"#;

/// How often a cluster that starts is asked whether it is ready, 50 ms apart.
const TRIES: u32 = 400;

struct Cluster {
    /// With `{}` where the database's name goes.
    url: String,
    /// Held so that its pipe stays open.
    _keeper: Option<Child>,
}

/// The URL of a database.
pub(super) fn url(database: &str) -> String {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER
        .get_or_init(|| given().unwrap_or_else(start))
        .url
        .replace("{}", database)
}

/// Runs a statement in the maintenance database.
pub(super) async fn administer(sql: &str) {
    let (client, connection) = tokio_postgres::connect(&url("postgres"), NoTls)
        .await
        .expect("PostgreSQL can be reached");
    let statement = async {
        let done = client.batch_execute(sql).await;
        drop(client);
        done
    };
    let (done, _) = tokio::join!(statement, connection);
    done.expect("PostgreSQL lets us create databases");
}

/// Drops a database; in a runtime of its own, as whoever calls is being dropped itself.
pub(super) fn drop_database(name: &str) {
    let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(administer(&sql));
    });
    // A database that stays is no reason to fail a test that may be failing already.
    drop(thread.join());
}

fn given() -> Option<Cluster> {
    let given = std::env::var_os("TEST_DATABASE_URL")?.into_string().ok()?;
    let mut parsed = url::Url::parse(&given).expect("TEST_DATABASE_URL is a URL");
    parsed.set_path("/database-name");
    Some(Cluster {
        url: parsed.to_string().replacen("/database-name", "/{}", 1),
        _keeper: None,
    })
}

fn start() -> Cluster {
    let launched = launch(&["listen_addresses="], |_| {});
    let host = launched.home.display().to_string().replace('/', "%2F");
    Cluster {
        url: format!("postgres://tests@{host}/{{}}"),
        _keeper: Some(launched.keeper),
    }
}

/// A server of our own; it ends when the keeper's pipe is closed.
pub(crate) struct Launched {
    pub(crate) home: PathBuf,
    pub(crate) keeper: Child,
}

/// Starts a server with these settings, once `prepare` has put into the folder of its files what it
/// wants there.
pub(crate) fn launch(settings: &[&str], prepare: impl FnOnce(&Path)) -> Launched {
    let programs = programs();
    let random = hex::encode(Entropy::system().bytes::<6>());
    // Short, as the path of a socket has at most 107 bytes, and where another user can reach it.
    let home = std::env::temp_dir().join(format!("rb-pg-{random}"));
    std::fs::create_dir_all(&home).expect("a folder for the cluster");
    let user = unprivileged_user();
    let own = |path: &Path| {
        if let Some(user) = &user {
            run(Command::new("chown").arg("-R").arg(user).arg(path));
        }
    };
    own(&home);
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)).expect("a mode");
    let files = home.join("files");
    let mut initdb = as_user(user.as_deref(), &programs.join("initdb"));
    initdb.args(["--username=tests", "--auth=trust", "--encoding=UTF8"]);
    initdb.args(["--locale=C", "--no-sync", "-D"]).arg(&files);
    run(initdb.current_dir(&home));
    prepare(&files);
    own(&files);

    let server = as_user(user.as_deref(), &programs.join("postgres"));
    let mut keeper = Command::new("sh");
    keeper.args(["-c", KEEPER, "keeper"]);
    keeper.arg(server.get_program()).args(server.get_args());
    keeper.arg("-D").arg(&files).arg("-k").arg(&home);
    // Nothing here outlives a power cut, so nothing needs to be synced.
    let always = [
        "fsync=off",
        "max_connections=400",
        "deadlock_timeout=100ms",
        "max_wal_size=4GB",
    ];
    for setting in always.iter().chain(settings) {
        keeper.args(["-c", setting]);
    }
    let keeper = keeper
        .env("KEPT", &home)
        .current_dir(&home)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    wait_until_ready(&home);
    Launched { home, keeper }
}

/// Where `postgres` and `initdb` are.
fn programs() -> PathBuf {
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
    let has_both = |folder: &PathBuf| {
        ["postgres", "initdb"]
            .iter()
            .all(|program| folder.join(program).is_file())
    };
    let found = installed.chain(on_path).find(has_both);
    found.unwrap_or_else(|| panic!("{MISSING}"))
}

/// PostgreSQL refuses to run as root: the user to run it as, when we are.
fn unprivileged_user() -> Option<String> {
    let id_of = |arguments: &[&str]| {
        let answer = Command::new("id").args(arguments).output().expect("`id`");
        String::from_utf8_lossy(&answer.stdout).trim().to_owned()
    };
    if id_of(&["-u"]) != "0" {
        return None;
    }
    let users = ["postgres", "nobody"];
    let found = users.iter().find(|user| !id_of(&["-u", user]).is_empty());
    Some((*found.expect("a user `postgres` or `nobody`")).to_owned())
}

fn as_user(user: Option<&str>, program: &Path) -> Command {
    let Some(user) = user else {
        return Command::new(program);
    };
    let mut command = Command::new("setpriv");
    command.args([
        format!("--reuid={user}"),
        format!("--regid={}", group(user)),
    ]);
    command.arg("--clear-groups").arg(program);
    command
}

fn group(user: &str) -> String {
    let answer = Command::new("id")
        .args(["-g", user])
        .output()
        .expect("`id`");
    String::from_utf8_lossy(&answer.stdout).trim().to_owned()
}

fn run(command: &mut Command) {
    let done = command.output();
    let done = done.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {said}");
}

fn wait_until_ready(home: &Path) {
    for _ in 0..TRIES {
        if is_ready(home) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("PostgreSQL did not start: {}", log(home));
}

fn is_ready(home: &Path) -> bool {
    log(home).contains("ready to accept connections")
}

fn log(home: &Path) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = std::fs::File::open(home.join("log")) {
        drop(file.read_to_end(&mut text));
    }
    String::from_utf8_lossy(&text).into_owned()
}
