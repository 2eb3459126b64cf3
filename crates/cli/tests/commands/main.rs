//! The program as a person or a script meets it.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop here"
)]

mod client;
mod operator;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

/// The first key of every server here.
const KEY: &str = "sk-t0-commands-0123456789abcdef";

/// A folder that goes with the test, and the program in it.
struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("routerbase-cli-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_routerbase"));
        command.args(line.split_whitespace()).current_dir(&self.0);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("ROUTERBASE_") || text.ends_with("_API_KEY") {
                command.env_remove(&name);
            }
        }
        command
    }

    /// Runs a command line: exit code, stdout, stderr.
    fn run(&self, line: &str) -> (i32, String, String) {
        said(self.command(line).output().unwrap())
    }

    /// Runs a command line that must succeed; what it says on stdout.
    fn ok(&self, line: &str) -> String {
        let (code, out, err) = self.run(line);
        assert_eq!(code, 0, "{line}: {out}{err}");
        out
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn said(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().expect("it is not ended by a signal");
    (code, text(output.stdout), text(output.stderr))
}

/// A server that is killed with the test.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(home: &Home) -> Self {
        let mut child = home
            .command("serve")
            .env("ROUTERBASE_SERVER__LISTEN", "127.0.0.1:0")
            .env("ROUTERBASE_BOOTSTRAP__KEY", KEY)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().expect("it listens").unwrap();
        let url = line.strip_prefix("listening on ").expect(&line).to_owned();
        Self { child, url }
    }

    /// A command line of a client of this server.
    fn ask(&self, home: &Home, line: &str) -> Command {
        let mut command = home.command(line);
        command
            .env("ROUTERBASE_URL", &self.url)
            .env("ROUTERBASE_API_KEY", KEY);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
