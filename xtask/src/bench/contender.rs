//! Who is compared: bare handlers and servers, each ready to be driven.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::Context;

use super::Work;
use super::cluster::Cluster;
use super::compare::Runner;
use super::connection::field;
use super::load::{Load, once};
use super::program::Program;
use super::request;

/// The handler that answers without looking.
pub const CONSTANT: &str = "bare, constant";
/// The handler that reads and validates the body.
pub const PARSING: &str = "bare, parsing";
/// The server that only answers.
pub const API: &str = "routerbase, role api";
/// The same with every limit that a key can have.
pub const LIMITED: &str = "routerbase, role api, limits";
/// The server as it is started by default.
pub const ALL: &str = "routerbase, all roles";
/// The server asked for what the client has already.
pub const UNCHANGED: &str = "routerbase, role api, 304";

/// Connections for what is prepared before a measurement.
const PREPARERS: usize = 32;

/// One line of a table.
pub struct Contender {
    /// What it is.
    pub name: &'static str,
    /// Which of the programs serves it.
    pub program: usize,
    /// What it is asked.
    pub load: Load,
}

/// All contenders of a comparison with their programs.
#[derive(Default)]
pub struct Line {
    /// Ended when dropped.
    pub programs: Vec<Program>,
    /// The first is what the others are compared with.
    pub contenders: Vec<Contender>,
}

/// Where a server keeps what it is given.
pub enum Home<'a> {
    /// SQLite, in the folder.
    File,
    /// A new database of the cluster.
    Cluster(&'a Cluster),
    /// A database somewhere; only one server uses it.
    Url(&'a str),
}

/// What a line is made for.
pub struct Plan<'a> {
    /// What is measured.
    pub work: Work,
    /// An empty folder.
    pub folder: &'a Path,
    /// The server's program; `None` for the bare handlers alone.
    pub binary: Option<&'a Path>,
    /// Where servers keep what they are given.
    pub home: Home<'a>,
    /// Tasks to read.
    pub tasks: usize,
    /// Told apart from other lines of this run.
    pub name: String,
}

impl Line {
    /// Starts everything and prepares what is asked.
    ///
    /// # Errors
    /// A program does not start, or refuses what is prepared.
    pub fn start(plan: &Plan<'_>, runner: &mut Runner) -> anyhow::Result<Self> {
        let mut line = Self::default();
        line.bare(plan)?;
        let Some(binary) = plan.binary else {
            return Ok(line);
        };
        let all = matches!(plan.home, Home::File | Home::Cluster(_));
        let servers = [(API, Some("api")), (ALL, None)];
        for (name, role) in servers.into_iter().take(if all { 2 } else { 1 }) {
            if plan.work == Work::Status && role.is_none() {
                continue;
            }
            let program = server(plan, binary, role)?;
            line.serve(plan, name, program, runner)
                .with_context(|| format!("{name}; its log: {}", log(plan, role).display()))?;
        }
        Ok(line)
    }

    fn bare(&mut self, plan: &Plan<'_>) -> anyhow::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        let bare = Program::start(
            command.args(["bench", "bare"]),
            &plan.folder.join("bare.log"),
        )?;
        let at = bare.address;
        self.programs.push(bare);
        match plan.work {
            Work::Submit => {
                let constant = vec![request::submit(at, request::CONSTANT, request::KEY)];
                self.push(CONSTANT, at, constant, 200);
                let parsing = vec![request::submit(at, "", request::KEY)];
                self.push(PARSING, at, parsing, 200);
            }
            Work::Status => {
                let id = |number| format!("01890a5d-ac96-774b-bcce-{number:012x}");
                let ids = (0..plan.tasks).map(id);
                let requests = ids.map(|id| request::status(at, &id, None)).collect();
                self.push(CONSTANT, at, requests, 200);
            }
        }
        Ok(())
    }

    fn serve(
        &mut self,
        plan: &Plan<'_>,
        name: &'static str,
        program: Program,
        runner: &mut Runner,
    ) -> anyhow::Result<()> {
        let at = program.address;
        self.programs.push(program);
        let submit = request::submit(at, "", request::KEY);
        let ask = |requests: Vec<Vec<u8>>| Load {
            address: at,
            requests: Arc::new(requests),
            status: 200,
        };
        if plan.work == Work::Submit {
            self.push(name, at, vec![submit], 200);
            if name == API {
                let replies = runner.run(once(&ask(vec![request::limited_key(at)]), 1))?;
                let key = replies.first().and_then(|reply| text(reply, "key"));
                let key = key.context("no key in the reply")?;
                self.push(LIMITED, at, vec![request::submit(at, "", key)], 200);
            }
            return Ok(());
        }
        let submits = ask(vec![submit; plan.tasks]);
        let replies = runner.run(once(&submits, PREPARERS))?;
        let ids: Vec<&str> = replies
            .iter()
            .filter_map(|reply| text(reply, "task_id"))
            .collect();
        anyhow::ensure!(
            ids.len() == plan.tasks,
            "submits without a task id: {replies:?}"
        );
        let reads = ids.iter().map(|id| request::status(at, id, None)).collect();
        let reads = ask(reads);
        let replies = runner.run(once(&reads, PREPARERS))?;
        let etags: Vec<_> = replies
            .iter()
            .filter_map(|reply| field(reply, "etag"))
            .collect();
        let conditional = ids.iter().zip(&etags);
        let conditional = conditional.map(|(id, etag)| request::status(at, id, Some(etag)));
        let conditional: Vec<_> = conditional.collect();
        let requests = Arc::unwrap_or_clone(reads.requests);
        self.push(name, at, requests, 200);
        if etags.len() == ids.len() {
            self.push(UNCHANGED, at, conditional, 304);
        }
        Ok(())
    }

    fn push(
        &mut self,
        name: &'static str,
        address: std::net::SocketAddr,
        requests: Vec<Vec<u8>>,
        status: u16,
    ) {
        self.contenders.push(Contender {
            name,
            program: self.programs.len() - 1,
            load: Load {
                address,
                requests: Arc::new(requests),
                status,
            },
        });
    }
}

/// The text in a field of a reply.
fn text<'a>(reply: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = reply.split_once(&format!("\"{name}\":\""))?;
    rest.split_once('"').map(|(text, _)| text)
}

fn log(plan: &Plan<'_>, role: Option<&str>) -> PathBuf {
    plan.folder.join(format!("{}.log", role.unwrap_or("all")))
}

/// Starts a server with nothing but what a bench needs: default logging, default metrics.
fn server(plan: &Plan<'_>, binary: &Path, role: Option<&str>) -> anyhow::Result<Program> {
    let home = plan.folder.join(role.unwrap_or("all"));
    std::fs::create_dir_all(&home)?;
    let database = match plan.home {
        Home::File => format!("sqlite://{}", home.join("bench.db").display()),
        Home::Cluster(cluster) => {
            cluster.create(&format!("{}_{}", plan.name, role.unwrap_or("all")))?
        }
        Home::Url(url) => url.to_owned(),
    };
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ROUTERBASE_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command
        .arg("serve")
        .args(role.map(|role| ["--role", role]).into_iter().flatten())
        .current_dir(&home)
        .env("ROUTERBASE_SERVER__LISTEN", "127.0.0.1:0")
        .env("ROUTERBASE_DATABASE__URL", database)
        .env(
            "ROUTERBASE_MEDIA__URL",
            format!("file://{}", home.join("media").display()),
        )
        .env("ROUTERBASE_BOOTSTRAP__KEY", request::KEY)
        .env("ROUTERBASE_BOOTSTRAP__CREDITS", "100000000");
    Program::start(&mut command, &log(plan, role))
}
