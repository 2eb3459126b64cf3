//! Every move the world can make around the rules, and the watch over what must not happen.

use std::collections::BTreeSet;

use domain::ledger::{Book, Entry, apply};
use domain::task::{AttemptState, Phase};

use crate::machine::{Answer, Clock, Effect, Machine, Wanted, hold};
use crate::world::{ATTEMPTS, Message, Row, Run, RunState, WORKERS, Worker, World, bit};
use crate::{Config, Violation, Weakness};

/// Makes the moves and notes what must not happen.
pub(crate) struct Explorer<'a> {
    config: Config,
    machine: &'a mut Machine,
    pub(crate) violations: BTreeSet<Violation>,
    out: Vec<World>,
}

impl<'a> Explorer<'a> {
    pub(crate) fn new(config: Config, machine: &'a mut Machine) -> Self {
        Self {
            config,
            machine,
            violations: BTreeSet::new(),
            out: Vec::new(),
        }
    }

    /// Every world that one move leads to.
    pub(crate) fn successors(&mut self, world: World) -> Vec<World> {
        let paid = world.runs.iter().flatten();
        if paid.filter(|run| run.state != RunState::Failed).count() > 1 {
            self.violations.insert(Violation::DoublePaid);
        }
        for (index, worker) in world.workers.into_iter().enumerate() {
            match worker {
                Worker::Idle => {}
                Worker::Writes { attempt, is_lessee } => {
                    self.write(world, index, attempt, is_lessee);
                }
                Worker::Waits { attempt, is_lessee } => {
                    self.wait(world, index, attempt, is_lessee);
                }
            }
            if worker != Worker::Idle && world.kills > 0 {
                let mut killed = world.with_worker(index, Worker::Idle);
                killed.kills -= 1;
                self.add(killed);
            }
        }
        self.network(world);
        self.provider(world);
        self.claims(world);
        std::mem::take(&mut self.out)
    }

    /// A worker about to write the first byte of a paid request.
    fn write(&mut self, world: World, index: usize, attempt: usize, is_lessee: bool) {
        if is_lessee {
            let idle = world.with_worker(index, Worker::Idle);
            self.commit(idle, Clock::AtOnce, Answer::TooLate);
        }
        if is_lessee || self.config.weakness == Some(Weakness::NoLeaseCheck) {
            let mut sent = world.with_worker(index, Worker::Waits { attempt, is_lessee });
            sent.net |= bit(Message::Request, index, attempt);
            self.add(sent);
        } else {
            self.add(world.with_worker(index, Worker::Idle));
        }
    }

    /// A worker waiting for a reply; without the lease its commit changes nothing.
    fn wait(&mut self, world: World, index: usize, attempt: usize, is_lessee: bool) {
        let idle = world.with_worker(index, Worker::Idle);
        let trusts = self.config.weakness == Some(Weakness::RefusalTrusted);
        let rejected = if trusts {
            Answer::RejectedForSure
        } else {
            Answer::Rejected
        };
        let replies = [
            (None, Answer::Silence),
            (Some(Message::Created), Answer::Accepted),
            (Some(Message::Rejection), rejected),
        ];
        for (message, answer) in replies {
            let mask = message.map_or(0, |message| bit(message, index, attempt));
            if world.net & mask != mask {
                continue;
            }
            let mut read = idle;
            read.net &= !mask;
            if is_lessee {
                self.commit(read, Clock::AtOnce, answer);
            } else {
                self.add(read);
            }
        }
    }

    /// Requests are lost or arrive.
    fn network(&mut self, world: World) {
        for index in 0..WORKERS {
            for attempt in 0..ATTEMPTS {
                let request = bit(Message::Request, index, attempt);
                if world.net & request == 0 {
                    continue;
                }
                let mut lost = world;
                lost.net &= !request;
                self.add(lost);
                let replied = |message| {
                    let mut replied = lost;
                    replied.net |= bit(message, index, attempt);
                    replied
                };
                let mut runs = world.runs.iter().flatten();
                if self.config.knows_keys && runs.any(|run| run.attempt == attempt) {
                    self.add(replied(Message::Created));
                    continue;
                }
                self.add(replied(Message::Rejection));
                if let Some(free) = world.runs.iter().position(Option::is_none) {
                    let mut created = replied(Message::Created);
                    created.runs[free] = Some(Run {
                        attempt,
                        state: RunState::Runs,
                    });
                    self.add(created);
                }
            }
        }
    }

    /// Runs end, and webhooks tell of runs that are there.
    fn provider(&mut self, world: World) {
        for (index, run) in world.runs.into_iter().enumerate() {
            let Some(run) = run else { continue };
            if run.state == RunState::Runs {
                for state in [RunState::Finished, RunState::Failed] {
                    let mut ended = world;
                    ended.runs[index] = Some(Run { state, ..run });
                    self.add(ended);
                }
            }
            let phase = &self.machine.task(world.task).phase;
            let is_unanswered = matches!(phase, Phase::Sending { .. } | Phase::Unknown { .. });
            let is_asked_for = self.machine.attempt(world.task) == Some(run.attempt);
            if self.config.webhooks && is_unanswered && is_asked_for {
                self.commit(world, Clock::AtOnce, Answer::Accepted);
            }
        }
    }

    /// Some node claims the task: it may at any time, as a lease can run out at any time.
    fn claims(&mut self, world: World) {
        let phase = &self.machine.task(world.task).phase;
        let is_sending = matches!(phase, Phase::Sending { .. });
        let is_unknown = matches!(phase, Phase::Unknown { .. });
        let attempt = self.machine.attempt(world.task);
        if self.config.weakness == Some(Weakness::StaleRescue) {
            self.rescue_late(world, is_sending);
        }
        if is_sending && self.config.weakness == Some(Weakness::RescueRefuses) {
            self.commit(world, Clock::AtOnce, Answer::RejectedForSure);
            return;
        }
        let in_flight = attempt.is_some_and(|attempt| {
            (0..WORKERS).any(|index| world.net & bit(Message::Request, index, attempt) != 0)
        });
        let may_be_over =
            !(is_unknown && in_flight) || self.config.weakness == Some(Weakness::QuietTooShort);
        self.act(world, attempt, Clock::AtOnce);
        if may_be_over {
            self.act(world, attempt, Clock::Quiet);
            self.act(world, attempt, Clock::Deadline);
        }
    }

    /// A rescuer reads a stuck send now and commits later, whatever has happened since.
    fn rescue_late(&mut self, world: World, is_sending: bool) {
        let snapshot = is_sending.then_some(world.task);
        self.add(World { snapshot, ..world });
        let Some(read) = world.snapshot else { return };
        let rescue = self
            .machine
            .advance(read, Clock::AtOnce, Answer::RejectedForSure);
        let committed = self.committed(world, rescue.expect("the task was being sent"));
        self.add(World {
            snapshot: None,
            ..committed
        });
    }

    /// Does what the rules want done at an instant, with every answer the world can give.
    fn act(&mut self, world: World, attempt: Option<usize>, clock: Clock) {
        let is_there = |state| {
            let mut runs = world.runs.iter().flatten();
            runs.any(|run| Some(run.attempt) == attempt && run.state == state)
        };
        let at_work = is_there(RunState::Runs);
        let finished = is_there(RunState::Finished);
        let failed = is_there(RunState::Failed);
        match self.machine.wanted(world.task, clock) {
            Wanted::Nothing => {}
            Wanted::Apply => self.commit(world, clock, Answer::Decided),
            Wanted::Start => {
                let free = world.rows.iter().position(|row| *row == Row::Absent);
                if let Some(attempt) = free {
                    self.intend(world, clock, attempt);
                }
            }
            Wanted::Resend => {
                let attempt = attempt.expect("only an attempt is sent again");
                self.intend(world, clock, attempt);
            }
            Wanted::Find => {
                let answer = if at_work || finished || failed {
                    Answer::Accepted
                } else {
                    Answer::NotFound
                };
                self.commit(world, clock, answer);
                self.commit(world, clock, Answer::Missed);
            }
            Wanted::Read if finished => self.commit(world, clock, Answer::Finished),
            Wanted::Read if at_work => self.commit(world, clock, Answer::Accepted),
            Wanted::Read => self.commit(world, clock, Answer::Failed),
            Wanted::Store => {
                self.commit(world, clock, Answer::Stored);
                self.commit(world, clock, Answer::Lost);
            }
        }
    }

    /// Commits intent and hands the attempt to a worker that has nothing to do.
    fn intend(&mut self, world: World, clock: Clock, attempt: usize) {
        let idle = world.workers.iter().position(|it| *it == Worker::Idle);
        let number = u8::try_from(attempt).expect("attempts are few");
        let Some(index) = idle else { return };
        let effect = self
            .machine
            .advance(world.task, clock, Answer::Intended(number))
            .expect("what the rules want is possible");
        let is_lessee = true;
        let committed = self.committed(world, effect);
        self.add(committed.with_worker(index, Worker::Writes { attempt, is_lessee }));
    }

    /// Commits what an answer makes of the task, where the rules allow it.
    fn commit(&mut self, world: World, clock: Clock, answer: Answer) {
        if let Some(effect) = self.machine.advance(world.task, clock, answer) {
            let committed = self.committed(world, effect);
            self.add(committed);
        }
    }

    fn committed(&mut self, mut world: World, effect: Effect) -> World {
        if self.machine.is_ended(world.task) {
            self.violations.insert(Violation::Overwritten);
        }
        world.task = effect.task;
        if let Some((number, state)) = effect.row {
            let is_new = world.rows[number] == Row::Absent && state == AttemptState::Sending;
            if world.rows[number] != Row::Open && !is_new {
                self.violations.insert(Violation::AttemptsWrong);
            }
            world.rows[number] = if state.is_open() {
                Row::Open
            } else {
                Row::Over
            };
        }
        if world.rows.iter().filter(|row| **row == Row::Open).count() > 1 {
            self.violations.insert(Violation::AttemptsWrong);
        }
        if let Some(charge) = effect.close {
            let (task, credits) = hold();
            let mut book = Book::default();
            let close = Entry::Close {
                task: task.clone(),
                charge,
            };
            let mut entries = vec![Entry::TopUp(credits), Entry::Hold { task, credits }];
            entries.extend((0..=world.closes).map(|_| close.clone()));
            if entries.iter().any(|entry| apply(&mut book, entry).is_err()) {
                self.violations.insert(Violation::HoldWrong);
            }
            world.closes += 1;
        }
        if self.machine.is_ended(world.task) != (world.closes == 1) {
            self.violations.insert(Violation::HoldWrong);
        }
        for worker in &mut world.workers {
            match worker {
                Worker::Idle => {}
                Worker::Writes { is_lessee, .. } | Worker::Waits { is_lessee, .. } => {
                    *is_lessee = false;
                }
            }
        }
        world
    }

    fn add(&mut self, world: World) {
        self.out.push(world.tidied());
    }
}
