//! The catalogue: checked without a network, tried with one.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};

use crate::shell::{cargo, root, run, say};

/// What to do with the catalogue.
#[derive(Debug, Subcommand)]
pub enum Catalogue {
    /// Loads every file, says every allowed value of every parameter over every route and compares the
    /// requests with those in `crates/dialects/snapshots`.
    Check {
        /// Writes the requests anew; read the difference.
        #[arg(long)]
        update: bool,
    },
}

impl Catalogue {
    /// Does it.
    ///
    /// # Errors
    /// A file does not load, or a request is not what was written.
    pub fn run(&self) -> anyhow::Result<()> {
        let Self::Check { update } = self;
        run(cargo().args(["test", "--quiet", "-p", "domain", "--lib", "shipped"]))?;
        let mut test = cargo();
        if *update {
            test.env("UPDATE", "1");
        }
        run(test.args(["test", "--quiet", "-p", "dialects", "--test", "catalogue"]))?;
        for (function, models) in counts()? {
            say(format_args!("{models:>4} {function}"));
        }
        Ok(())
    }
}

/// How many models there are of each function.
fn counts() -> anyhow::Result<BTreeMap<String, usize>> {
    let mut counts = BTreeMap::new();
    for entry in std::fs::read_dir(root().join("catalogue/models"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some((function, _)) = name.split_once('.') {
            *counts.entry(function.to_owned()).or_default() += 1;
        }
    }
    Ok(counts)
}

/// Which provider to try, and for how much.
#[derive(Debug, Args)]
pub struct Live {
    /// The provider's id; its secret comes from the variable that its file names.
    provider: String,
    /// The most it may cost, in USD.
    #[arg(long)]
    spend: Option<String>,
}

impl Live {
    /// Runs it.
    ///
    /// # Errors
    /// There is no such provider, no secret, or it costs more.
    pub fn run(&self) -> anyhow::Result<()> {
        let mut live = cargo();
        live.args(["run", "--quiet", "-p", "gateway", "--example", "live", "--"]);
        live.arg(&self.provider);
        if let Some(spend) = &self.spend {
            live.args(["--spend", spend]);
        }
        run(&mut live)
    }
}
