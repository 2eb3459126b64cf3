//! `routerbase`: the gateway, and the command line beside it.
//!
//! Invariant: results go to stdout, everything else to stderr. A command ends with an exit code,
//! never by ending the process itself.

mod client;
mod commands;
mod output;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use gateway::config::{self, Config, ConfigErrors};

/// What a request allocates on one thread the committer frees on another, for which the system's allocator
/// takes locks (decision 25).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A gateway in front of AI providers: one API, one balance, one place for results.
#[derive(Debug, Parser)]
#[command(name = "routerbase", version, arg_required_else_help = true)]
#[command(after_help = "Examples:
  routerbase serve
  export ROUTERBASE_API_KEY=$(routerbase key create --name laptop)
  routerbase run image_generate.imagen_4 -p \"a lighthouse at dusk\"")]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Command,
}

/// Where the settings come from.
#[derive(Debug, Args)]
struct Settings {
    /// The settings file; ./routerbase.toml if it is there
    #[arg(long, global = true, env = "ROUTERBASE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Settings {
    fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load(self.config.as_deref(), config::environment())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(commands::serve::Serve),
    /// Keys of accounts
    #[command(subcommand)]
    Key(commands::key::Key),
    /// Accounts: who owns keys, tasks and credits
    #[command(subcommand)]
    Account(commands::account::Account),
    /// Credits of accounts
    #[command(subcommand)]
    Credit(commands::credit::Credit),
    /// The books
    #[command(subcommand)]
    Ledger(commands::ledger::Ledger),
    Migrate(commands::migrate::Migrate),
    Doctor(commands::doctor::Doctor),
    Models(commands::models::Models),
    Run(commands::run::Run),
    Task(commands::task::Task),
    Openapi(commands::openapi::Openapi),
    Config(commands::settings::Print),
}

/// An error that has an exit code of its own.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The work was done and its outcome is a failure: a failed task, a problem found.
const FAILED: u8 = 1;
/// The command line or the settings are wrong; the code of clap, too.
const USAGE: u8 = 2;
/// The server refused, or cannot be reached.
const REFUSED: u8 = 3;
/// The time is up; the task goes on.
const TIMEOUT: u8 = 4;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(dispatch(cli));
            // Reads of stdin or names that hang must not hold the process.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(report(&error)),
    }
}

async fn dispatch(cli: Cli) -> anyhow::Result<()> {
    let settings = &cli.settings;
    match cli.command {
        Command::Serve(serve) => serve.run(settings).await,
        Command::Key(key) => key.run(settings).await,
        Command::Account(account) => account.run(settings).await,
        Command::Credit(credit) => credit.run(settings).await,
        Command::Ledger(ledger) => ledger.run(settings).await,
        Command::Migrate(migrate) => migrate.run(settings).await,
        Command::Doctor(doctor) => doctor.run(settings).await,
        Command::Models(models) => models.run().await,
        Command::Run(run) => run.run().await,
        Command::Task(task) => task.run().await,
        Command::Openapi(openapi) => openapi.run(),
        Command::Config(print) => print.run(),
    }
}

/// Says what went wrong, and the exit code for it.
fn report(error: &anyhow::Error) -> u8 {
    let io = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<io::Error>());
    // Whoever reads stdout has what it wanted.
    if io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return 0;
    }
    output::complain(&format!("error: {error:#}"));
    if error.is::<ConfigErrors>() {
        return USAGE;
    }
    error
        .downcast_ref::<Failure>()
        .map_or(FAILED, |failure| failure.code)
}
