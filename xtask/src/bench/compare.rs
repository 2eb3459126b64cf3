//! A comparison: contenders take turns, round after round, and medians are kept.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::cluster::Cluster;
use super::contender::{Contender, Home, Line, Plan};
use super::load::drive;
use super::machine::{self, Ticks};
use super::settings::{Database, Settings};
use super::table::{self, Figures, Row};
use super::{Work, release_binary, target, targets};
use crate::shell::say;

/// Not counted, before the first round.
const WARM_UP: Duration = Duration::from_millis(700);

/// Runs futures on one thread, and ends them when we are asked to end, so that children are ended
/// too.
pub struct Runner {
    runtime: Runtime,
    interrupt: Signal,
    terminate: Signal,
}

impl Runner {
    fn new() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let guard = runtime.enter();
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        drop(guard);
        Ok(Self {
            runtime,
            interrupt,
            terminate,
        })
    }

    /// Runs something to its end.
    ///
    /// # Errors
    /// Its own, or that we were asked to end.
    pub fn run<T>(&mut self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        self.runtime.block_on(async {
            tokio::select! {
                done = work => done,
                _ = self.interrupt.recv() => bail!("interrupted"),
                _ = self.terminate.recv() => bail!("terminated"),
            }
        })
    }
}

/// Compares and prints.
///
/// # Errors
/// Something cannot be built or started, or a server answers with an error.
pub fn run(work: Work, settings: &Settings) -> anyhow::Result<()> {
    let binary = match settings.bare_only {
        true => None,
        false => Some(release_binary(settings.binary.as_deref())?),
    };
    let parent = settings
        .folder
        .clone()
        .unwrap_or_else(|| target().join("bench"));
    let folder = parent.join(std::process::id().to_string());
    std::fs::create_dir_all(&folder)?;
    let folder = folder.canonicalize()?;
    let done = rows(work, settings, binary.as_deref(), &folder);
    if !settings.keep && done.is_ok() {
        std::fs::remove_dir_all(&folder)?;
    } else {
        say(format_args!("kept: {}", folder.display()));
    }
    done
}

fn rows(
    work: Work,
    settings: &Settings,
    binary: Option<&Path>,
    folder: &Path,
) -> anyhow::Result<()> {
    let database = settings.database()?;
    let cluster = match &database {
        Database::Cluster => Some(Cluster::start(settings.folder.as_deref())?),
        _ => None,
    };
    let disk = cluster.as_ref().map_or(folder, |cluster| &cluster.folder);
    let sync = machine::sync_ms(disk)?;
    let mut runner = Runner::new()?;
    let mut rows = Vec::new();
    for &connections in &settings.connections {
        let name = format!("c{connections}");
        let place = folder.join(&name);
        std::fs::create_dir_all(&place)?;
        let home = match (&database, &cluster) {
            (Database::Given(url), _) => Home::Url(url),
            (_, Some(cluster)) => Home::Cluster(cluster),
            (_, None) => Home::File,
        };
        let plan = Plan {
            work,
            folder: &place,
            binary,
            home,
            tasks: settings.tasks,
            name,
        };
        let line = Line::start(&plan, &mut runner)?;
        let measured = rounds(&line, connections, settings, &mut runner);
        drop(line);
        rows.extend(measured?);
        if !settings.keep {
            std::fs::remove_dir_all(&place)?;
        }
    }
    for text in machine::describe() {
        say(format_args!("- {text}"));
    }
    say(format_args!(
        "- disk: append of 4 KiB and fdatasync p50 {:.3} ms, p99 {:.3} ms",
        sync.0, sync.1
    ));
    say(format_args!(
        "- {work:?}, {}; {} rounds of {} s each in turn, the others frozen; median (min–max)\n",
        settings.database, settings.rounds, settings.seconds
    ));
    say(table::render(&rows));
    for verdict in targets::verdicts(work, &database, &rows, sync.0) {
        say(format_args!("- {verdict}"));
    }
    Ok(())
}

/// Rounds until enough were quiet, or twice as many were run as were wanted.
fn rounds(
    line: &Line,
    connections: usize,
    settings: &Settings,
    runner: &mut Runner,
) -> anyhow::Result<Vec<Row>> {
    line.programs
        .iter()
        .for_each(super::program::Program::freeze);
    for contender in &line.contenders {
        turn(line, contender, connections, WARM_UP, runner)?;
    }
    let lasts = Duration::from_secs_f64(settings.seconds);
    let mut rounds: Vec<Vec<Figures>> = Vec::new();
    let is_quiet = |round: &Vec<Figures>| foreign(round) <= settings.foreign_max;
    while rounds.iter().filter(|round| is_quiet(round)).count() < settings.rounds
        && rounds.len() < 2 * settings.rounds
    {
        let turns = line.contenders.iter();
        let turns = turns.map(|contender| turn(line, contender, connections, lasts, runner));
        rounds.push(turns.collect::<anyhow::Result<_>>()?);
    }
    rounds.sort_by(|a, b| foreign(a).total_cmp(&foreign(b)));
    rounds.truncate(settings.rounds);
    let noisy = rounds.iter().filter(|round| !is_quiet(round)).count();
    let names = line.contenders.iter().map(|contender| contender.name);
    let rows = names.enumerate().map(|(at, name)| {
        let figures: Vec<_> = rounds.iter().map(|round| round[at]).collect();
        let ceilings: Vec<_> = rounds.iter().map(|round| round[0].per_second).collect();
        Row::new(name, connections, &figures, &ceilings, noisy)
    });
    Ok(rows.collect())
}

/// The noisiest turn of a round.
fn foreign(round: &[Figures]) -> f64 {
    let all = round.iter().map(|figures| figures.foreign);
    all.fold(0.0, f64::max)
}

fn turn(
    line: &Line,
    contender: &Contender,
    connections: usize,
    lasts: Duration,
    runner: &mut Runner,
) -> anyhow::Result<Figures> {
    let program = &line.programs[contender.program];
    program.thaw();
    let ours: Vec<u32> = line
        .programs
        .iter()
        .map(super::program::Program::id)
        .collect();
    let ours = [&ours[..], &[std::process::id()]].concat();
    let before = Ticks::now(&ours, program.id());
    let measured = runner.run(drive(&contender.load, connections, lasts));
    let after = Ticks::now(&ours, program.id());
    program.freeze();
    let measured = measured.with_context(|| contender.name)?;
    let cpu = after.measured_since(before);
    let per_second = measured.per_second();
    Ok(Figures {
        per_second,
        p50_ms: measured.quantile_ms(0.5),
        p99_ms: measured.quantile_ms(0.99),
        cpu_us: cpu.map_or(f64::NAN, |cpu| cpu * 1e6 / (per_second * measured.seconds)),
        foreign: after.foreign_since(before).unwrap_or(0.0),
    })
}
