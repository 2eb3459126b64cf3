//! Exhaustive explorer of the paid submit: every interleaving of a small world around the real rules.
//!
//! One task, two workers, two attempts, one kill -9, a network that loses and delays, a provider that
//! accepts or rejects, webhooks at any moment. What changes the task, its attempts and its hold is
//! [`domain::task::advance`], asked for by [`domain::task::decide`]; only workers, network and
//! provider are modelled. A store that commits by compare-and-set is modelled as a mark
//! on each worker that is lost when somebody else commits.
//!
//! The weakened variants spoil what the rules are fed with, and each has to be caught. The violations
//! agree with those of the design's own explorer, whose numbering of the variants is kept. The numbers
//! of states do not: here lookups and misses are counted, deadlines pass, files are stored, and a
//! moment to send can be missed. The rules never try another attempt once work was accepted, so what
//! follows a failed run is shorter.
//!
//! Limits, besides the size of the world: time is only "at once", "quiet" or "past the deadline".

mod explorer;
mod machine;
mod world;

use std::collections::{BTreeSet, HashMap};

use domain::catalogue::{OnLostReply, Recovery};

use explorer::Explorer;
use machine::Machine;
use world::World;

/// What must never happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Violation {
    /// Two runs were paid for one task.
    DoublePaid,
    /// The ledger refuses the close.
    HoldWrong,
    /// An ended task took an outcome.
    Overwritten,
    /// Two attempts are open, or one that was over opened again.
    AttemptsWrong,
}

/// How the world of an exploration differs.
#[derive(Clone, Copy)]
pub(crate) struct Config {
    recovery: Recovery,
    on_lost_reply: OnLostReply,
    /// Whether the provider makes no second run of a key that it knows.
    knows_keys: bool,
    webhooks: bool,
    weakness: Option<Weakness>,
}

/// A mistake around the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weakness {
    /// V1: the quiet time is over while a request is still in flight.
    QuietTooShort,
    /// V2, V3: whether the lease is still ours is not asked again before the first byte.
    NoLeaseCheck,
    /// V4: the mark of an unanswered send is lost, so that the refusal of a re-send counts.
    RefusalTrusted,
    /// V5, V6, V7: a rescuer calls a stuck send refused instead of unknown.
    RescueRefuses,
    /// V8: a rescuer that also commits what it made of an old read, without compare-and-set.
    StaleRescue,
}

/// What an exploration found.
struct Found {
    states: usize,
    violations: BTreeSet<Violation>,
    /// States from which the task can never end.
    stuck: usize,
}

const fn config(recovery: Recovery) -> Config {
    Config {
        recovery,
        on_lost_reply: OnLostReply::FailAndRelease,
        knows_keys: matches!(recovery, Recovery::Idempotent),
        webhooks: true,
        weakness: None,
    }
}

const fn weak(recovery: Recovery, weakness: Weakness) -> Config {
    Config {
        weakness: Some(weakness),
        ..config(recovery)
    }
}

/// Visits every state.
fn explore(config: Config) -> Found {
    let mut machine = Machine::new(config.recovery, config.on_lost_reply);
    let mut explorer = Explorer::new(config, &mut machine);
    let start = World::start();
    let mut numbers = HashMap::from([(start, 0_usize)]);
    let mut worlds = vec![start];
    let mut parents: Vec<Vec<usize>> = vec![Vec::new()];
    let mut next = 0;
    while next < worlds.len() {
        for successor in explorer.successors(worlds[next]) {
            let number = *numbers.entry(successor).or_insert_with(|| {
                worlds.push(successor);
                parents.push(Vec::new());
                worlds.len() - 1
            });
            parents[number].push(next);
        }
        next += 1;
    }
    let violations = explorer.violations;
    let stuck = stuck(&worlds, &parents, &machine);
    Found {
        states: worlds.len(),
        violations,
        stuck,
    }
}

fn stuck(worlds: &[World], parents: &[Vec<usize>], machine: &Machine) -> usize {
    let ended = |world: &World| machine.is_ended(world.task);
    let mut can_end: Vec<bool> = worlds.iter().map(ended).collect();
    let mut todo: Vec<usize> = (0..worlds.len()).filter(|n| can_end[*n]).collect();
    while let Some(number) = todo.pop() {
        for parent in &parents[number] {
            if !can_end[*parent] {
                can_end[*parent] = true;
                todo.push(*parent);
            }
        }
    }
    can_end.iter().filter(|can| !**can).count()
}

fn check(config: Config, expected: &[Violation], states_min: usize) {
    let found = explore(config);
    eprintln!("{} states, {:?}", found.states, found.violations);
    let expected = BTreeSet::from_iter(expected.iter().copied());
    assert_eq!(found.violations, expected);
    assert_eq!(found.stuck, 0, "every task can end");
    // A world that lost its moves would find nothing and look safe.
    assert!(found.states >= states_min, "only {} states", found.states);
}

const DOUBLE_PAID: &[Violation] = &[Violation::DoublePaid];

#[test]
fn an_idempotent_key_is_safe() {
    check(config(Recovery::Idempotent), &[], 10_000);
}

#[test]
fn a_lookup_is_safe() {
    check(config(Recovery::Lookup), &[], 1_000);
}

#[test]
fn a_lookup_by_a_unique_reference_is_safe() {
    let unique = Config {
        knows_keys: true,
        ..config(Recovery::Lookup)
    };
    check(unique, &[], 1_000);
}

#[test]
fn without_recovery_to_fail_and_release_is_safe() {
    check(config(Recovery::None), &[], 150);
}

#[test]
fn without_recovery_to_resubmit_may_pay_twice_as_the_operator_accepted() {
    let resubmit = Config {
        on_lost_reply: OnLostReply::Resubmit,
        ..config(Recovery::None)
    };
    check(resubmit, DOUBLE_PAID, 1_000);
}

#[test]
fn v1_not_found_believed_while_in_flight_is_caught() {
    check(
        weak(Recovery::Lookup, Weakness::QuietTooShort),
        DOUBLE_PAID,
        1_000,
    );
}

#[test]
fn v2_a_lookup_without_a_second_look_at_the_lease_is_caught() {
    check(
        weak(Recovery::Lookup, Weakness::NoLeaseCheck),
        DOUBLE_PAID,
        1_000,
    );
}

#[test]
fn v3_an_idempotent_key_needs_no_second_look_at_the_lease() {
    check(
        weak(Recovery::Idempotent, Weakness::NoLeaseCheck),
        &[],
        10_000,
    );
}

#[test]
fn v4_a_refusal_of_a_resend_that_is_trusted_is_caught() {
    check(
        weak(Recovery::Idempotent, Weakness::RefusalTrusted),
        DOUBLE_PAID,
        10_000,
    );
}

#[test]
fn v5_a_rescue_back_to_the_queue_is_caught_with_lookups() {
    check(
        weak(Recovery::Lookup, Weakness::RescueRefuses),
        DOUBLE_PAID,
        1_000,
    );
}

#[test]
fn v6_a_rescue_back_to_the_queue_is_caught_without_recovery() {
    check(
        weak(Recovery::None, Weakness::RescueRefuses),
        DOUBLE_PAID,
        500,
    );
}

#[test]
fn v7_a_rescue_back_to_the_queue_is_caught_with_idempotent_keys() {
    check(
        weak(Recovery::Idempotent, Weakness::RescueRefuses),
        DOUBLE_PAID,
        10_000,
    );
}

#[test]
fn v8_a_rescue_from_an_old_read_is_caught_by_every_check() {
    let every = [
        Violation::DoublePaid,
        Violation::HoldWrong,
        Violation::Overwritten,
        Violation::AttemptsWrong,
    ];
    check(weak(Recovery::Lookup, Weakness::StaleRescue), &every, 1_000);
}

#[test]
fn v11_and_v12_ignored_webhooks_are_safe() {
    for recovery in [Recovery::Lookup, Recovery::None] {
        let deaf = Config {
            webhooks: false,
            ..config(recovery)
        };
        check(deaf, &[], 100);
    }
}
