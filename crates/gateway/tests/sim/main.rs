//! A seeded simulation: the real worker over real SQL, with clock, entropy, network and object store
//! replaced, and faults everywhere.
//!
//! One thread, paused time: the same seed gives the same run, line by line. Nodes crash, freeze past
//! their leases and come back as zombies; the store and the object store go away; providers lose
//! replies, accept late, refuse, lie and spoil files. The laws are checked at every recorded step and
//! in the end, and after the last fault every task must end.
//!
//! - `SIM_SEED=N` runs from this seed, one seed unless `SIM_SEEDS` says how many.
//! - `SIM_SEEDS=M` runs so many seeds.
//! - `SIM_TRACE=1` shows every line as it comes.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should stop here"
)]

mod clients;
mod dialect;
mod dice;
mod laws;
mod node;
mod objects;
mod plan;
mod trace;
mod upstream;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use trace::{Listener, Trace};
use world::World;

/// Seeds of an ordinary run.
const SEEDS: u64 = 150;

/// Threads, each with seeds of its own.
const THREADS: u64 = 2;

/// Of each so many seeds one is run twice.
const TWICE_EVERY: u64 = 15;

/// A setting of the simulation.
#[expect(
    clippy::disallowed_methods,
    reason = "what a test is asked to do has no other way in"
)]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What came of a run.
struct Played {
    trace: Trace,
    counts: BTreeMap<&'static str, u64>,
}

fn play(seed: u64) -> Played {
    let trace = Trace::default();
    let _listening = tracing::subscriber::set_default(Listener(trace.clone()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let kept = trace.clone();
    let played = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let world = World::new(seed, kept).await;
            world.play().await
        })
    }));
    let counts = played.unwrap_or_else(|_| {
        trace.wrong("the simulation panicked");
        BTreeMap::new()
    });
    Played { trace, counts }
}

/// Runs a seed; what is wrong with it, for people.
fn complaint(seed: u64, counts: &Mutex<BTreeMap<&'static str, u64>>) -> Option<String> {
    let played = play(seed);
    for (what, count) in played.counts {
        *counts.lock().unwrap().entry(what).or_default() += count;
    }
    if played.trace.is_clean() && seed.is_multiple_of(TWICE_EVERY) {
        let again = play(seed);
        if again.trace.hash() != played.trace.hash() {
            return Some(format!(
                "seed {seed} does not repeat itself\n{}\n{}",
                played.trace.tail(),
                again.trace.tail()
            ));
        }
    }
    if played.trace.is_clean() {
        return None;
    }
    let wrongs = played.trace.wrongs().join("\n  ");
    Some(format!(
        "seed {seed}:\n  {wrongs}\n{}replay: SIM_SEED={seed} cargo test -p gateway --test sim",
        played.trace.tail()
    ))
}

#[test]
fn every_seed_keeps_the_laws() {
    let first = setting("SIM_SEED");
    let count = setting("SIM_SEEDS").unwrap_or(if first.is_some() { 1 } else { SEEDS });
    let first = first.unwrap_or(0);
    let next = AtomicU64::new(first);
    let (counts, complaints) = (Mutex::default(), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS.min(count) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let complaint = complaint(seed, &counts);
                    complaints.lock().unwrap().extend(complaint);
                }
            });
        }
    });
    eprintln!("{count} seeds: {:#?}", counts.into_inner().unwrap());
    let complaints = complaints.into_inner().unwrap();
    for complaint in complaints.iter().take(3) {
        eprintln!("{complaint}\n");
    }
    assert!(complaints.is_empty(), "{} seeds fail", complaints.len());
}
