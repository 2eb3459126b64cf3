//! Servers as child processes: started, frozen while others are measured, ended.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;

const READY: &str = "listening on http://";
const START_MAX: Duration = Duration::from_secs(60);
/// A frozen program is given this long to get going again.
const THAW: Duration = Duration::from_millis(150);
const END_TRIES: u32 = 400;
const END_EVERY: Duration = Duration::from_millis(25);

/// A server that runs; ended when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Program {
    /// Starts a program and waits for the line that says where it listens. What it complains about
    /// goes to the file `log`.
    ///
    /// # Errors
    /// It ends, or says nothing for a minute.
    pub fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let complaints = File::create(log)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .stderr(complaints)
            .spawn()
            .with_context(|| format!("cannot start {:?}", command.get_program()))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let (found, ready) = mpsc::channel();
        std::thread::spawn(move || {
            // Read to the end, so that the program never waits for us.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once(READY) {
                    drop(found.send(address.trim().to_owned()));
                }
            }
        });
        let mut program = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        let address = ready.recv_timeout(START_MAX).with_context(|| {
            let complaints = std::fs::read_to_string(log).unwrap_or_default();
            format!("{:?} did not start: {complaints}", command.get_program())
        })?;
        program.address = address.parse().context(address)?;
        Ok(program)
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Stops the process where it is.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("CONT");
        std::thread::sleep(THAW);
    }

    fn signal(&self, name: &str) {
        let mut shell = Command::new("sh");
        shell.args(["-c", "kill -\"$0\" \"$1\" 2>&1", name]);
        // Whoever has ended already needs no signal.
        drop(shell.arg(self.id().to_string()).output());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.signal("CONT");
        self.signal("TERM");
        for _ in 0..END_TRIES {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(END_EVERY);
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
