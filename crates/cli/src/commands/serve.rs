//! Running the gateway.

use anyhow::Context;
use clap::{Args, ValueEnum};
use gateway::app::App;
use gateway::config::{Config, LogFormat, Role};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{FAILED, Failure, Settings, output};

/// Run the gateway
#[derive(Debug, Args)]
#[command(
    after_help = "With nothing configured it listens on 127.0.0.1:8080, keeps everything under
./data, runs every model in the built-in sandbox, and prints the first key once.
The address is printed as `listening on http://HOST:PORT`. SIGTERM and SIGINT
let requests and steps under way end; a second one does not wait for them.

Examples:
  routerbase serve
  ROUTERBASE_SERVER__LISTEN=0.0.0.0:80 KIE_API_KEY=… routerbase serve
  routerbase serve --role worker --config /etc/routerbase.toml"
)]
pub struct Serve {
    /// What this node does, instead of server.role
    #[arg(long)]
    role: Option<RoleWord>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleWord {
    /// Answers requests and runs tasks
    All,
    /// Answers requests
    Api,
    /// Runs tasks
    Worker,
}

impl Serve {
    pub async fn run(self, settings: &Settings) -> anyhow::Result<()> {
        let mut config = settings.load()?;
        if let Some(role) = self.role {
            config.server.role = match role {
                RoleWord::All => Role::All,
                RoleWord::Api => Role::Api,
                RoleWord::Worker => Role::Worker,
            };
        }
        log(&config)?;
        let is_random = config.bootstrap.key.is_none();
        let (stop, at_once) = signals()?;
        let app = App::open(config).await?;
        output::line(&format!("listening on http://{}", app.address))?;
        if let Some(key) = app.first_key.as_ref().filter(|_| is_random) {
            output::line(&welcome(key.reveal(), &app.public_url))?;
        }
        tokio::select! {
            () = app.run(stop) => Ok(()),
            () = at_once.cancelled() => {
                let message = "stopped at once; what was under way is found by the next start";
                Err(Failure::new(FAILED, message).into())
            }
        }
    }
}

/// What a newcomer needs: the key, which is never shown again, and something to paste.
fn welcome(key: &str, url: &str) -> String {
    format!(
        "
The first key of this deployment, shown only now:

  {key}

A picture from the sandbox, which costs nothing to run:

  curl -s {url}/api/v1/run/image_generate.imagen_4 \\
    -H 'Authorization: Bearer {key}' \\
    -H 'Content-Type: application/json' -H 'Prefer: wait=30' \\
    -d '{{\"prompt\": \"A red fox in fresh snow\"}}'

Everything it can do: {url}/docs
"
    )
}

/// Cancelled by the first and by the second SIGTERM or SIGINT.
fn signals() -> anyhow::Result<(CancellationToken, CancellationToken)> {
    let (first, second) = <(CancellationToken, CancellationToken)>::default();
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be heard")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be heard")?;
    let heard = [
        (
            first.clone(),
            "stopping: no new work; what is under way ends",
        ),
        (second.clone(), "stopping at once"),
    ];
    gateway::spawn::detached("signals", async move {
        for (heard, words) in heard {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            output::complain(words);
            heard.cancel();
        }
    });
    Ok((first, second))
}

/// Log lines go to stderr: stdout is for results.
fn log(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log.level)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let set = match config.log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    set.map_err(|error| anyhow::anyhow!("the log cannot be set up: {error}"))
}
