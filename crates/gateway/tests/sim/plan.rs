//! What a seed decides once: who the providers are, and which faults are switched on at all.
//!
//! Many features are off in many seeds (swarm testing): a fault that is always there hides what
//! happens without it.

use std::fmt::Write as _;

use domain::catalogue::{Catalogue, OnLostReply, Recovery, SourceFile};

use crate::dialect::{PLAIN, WITH_UPLOAD};
use crate::dice::Dice;

/// The model that makes pictures.
pub(crate) const PICTURES: &str = "image_generate.sim_1";

/// The model that answers.
pub(crate) const ANSWERS: &str = "solve_problem.sim_1";

const MODELS: [(&str, &str); 2] = [
    (
        PICTURES,
        "modality = \"image\"\nprompt = { chars_max = 100 }\n[price]\nper_image = 0.04\n",
    ),
    (
        ANSWERS,
        "modality = \"chat\"\nprompt = { chars_max = 100 }\n[parameters]\n\
         max_tokens = { integer = [1, 1000], default = 1000 }\n\
         [price]\nper_million_tokens = { input = 0.5, output = 3.5 }\n",
    ),
];

/// A provider and its bad habits; chances are in a hundred.
#[derive(Debug, Clone)]
pub(crate) struct ProviderPlan {
    pub(crate) id: String,
    pub(crate) recovery: Recovery,
    pub(crate) on_lost_reply: OnLostReply,
    pub(crate) quiet_ms: u64,
    pub(crate) call_timeout_ms: u64,
    /// How long a request may travel, or wait there, before it is accepted.
    pub(crate) flight_ms: u64,
    /// How long a lookup does not see a run that there is.
    pub(crate) lag_ms: u64,
    /// How much is under way between the two ends, in bytes.
    pub(crate) buffer_bytes: usize,
    /// Longest time a run takes.
    pub(crate) run_ms: u64,
    /// Longest usual time to answer.
    pub(crate) slow_ms: u64,
    /// No connection.
    pub(crate) unreachable: u32,
    /// Refuses a creating call.
    pub(crate) refuses: u32,
    /// Something is wrong with the reply to a creating call.
    pub(crate) loses: u32,
    /// Answers with the id of another run.
    pub(crate) lies: u32,
    /// Something is wrong with the reply to a read.
    pub(crate) stumbles: u32,
    /// A run does not succeed.
    pub(crate) fails: u32,
    /// A result file is not right at first, or ever.
    pub(crate) spoils: u32,
}

/// Everything a seed decides once.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) providers: Vec<ProviderPlan>,
    pub(crate) nodes: usize,
    /// How far the clocks of nodes may be off, in milliseconds.
    pub(crate) skew_ms: u64,
    pub(crate) concurrency: usize,
    pub(crate) tasks: u32,
    /// Over how long tasks come in.
    pub(crate) busy_ms: u64,
    /// When all faults end.
    pub(crate) calm_ms: u64,
    /// Mean pause between faults of ours.
    pub(crate) fault_pause_ms: u64,
    /// How many in a hundred of them strike between a connection and the first byte on it.
    pub(crate) strikes_between: u32,
    pub(crate) crashes: u32,
    pub(crate) freezes: u32,
    /// How many in a hundred of them freeze the machine, its clock of passed time included.
    pub(crate) whole_freezes: u32,
    pub(crate) stops: u32,
    pub(crate) store_outages: u32,
    pub(crate) media_outages: u32,
    /// Longest usual time to commit a batch.
    pub(crate) commit_ms: u64,
    /// A batch that takes very long.
    pub(crate) stalls: u32,
    pub(crate) cancels: u32,
    pub(crate) short_deadlines: u32,
    /// A part of an upload, or the look at it, goes wrong.
    pub(crate) media_faults: u32,
}

impl Plan {
    pub(crate) fn of(dice: &Dice) -> Self {
        // Each feature in about half of the seeds.
        let some = |most: u32| match dice.chance(50) {
            true => dice.below(most) + 1,
            false => 0,
        };
        let count = dice.between(1, 3) as usize;
        let plan = Self {
            providers: (0..count).map(|n| provider(dice, n, &some)).collect(),
            nodes: dice.between(1, 3) as usize,
            skew_ms: dice.pick(&[0, 0, 300, 1_000]),
            concurrency: dice.pick(&[1, 4, 64]),
            tasks: dice.between(6, 30) as u32,
            busy_ms: dice.between(5_000, 60_000),
            calm_ms: dice.between(60_000, 200_000),
            fault_pause_ms: dice.between(1_500, 15_000),
            strikes_between: 25,
            crashes: some(10),
            freezes: some(10),
            whole_freezes: dice.pick(&[0, 50]),
            stops: some(3),
            store_outages: some(3),
            media_outages: some(3),
            commit_ms: dice.pick(&[0, 0, 5, 80]),
            stalls: some(2),
            cancels: some(40),
            short_deadlines: some(40),
            media_faults: some(20),
        };
        match dice.chance(15) {
            true => plan.for_zombies(),
            false => plan,
        }
    }

    /// Little happens but freezes between intent and first byte, and nothing else is to blame: the
    /// one thing that only the last look before sending stands against.
    fn for_zombies(mut self) -> Self {
        for provider in &mut self.providers {
            provider.recovery = Recovery::Lookup;
            provider.on_lost_reply = OnLostReply::FailAndRelease;
            (provider.quiet_ms, provider.flight_ms) = (20_000, 12_000);
            (provider.run_ms, provider.slow_ms) = (1_000, 5);
            (provider.loses, provider.unreachable, provider.lies) = (0, 0, 0);
        }
        (self.nodes, self.tasks, self.concurrency) = (3, 30, 64);
        (self.busy_ms, self.calm_ms, self.fault_pause_ms) = (90_000, 200_000, 3_000);
        (self.crashes, self.stops, self.freezes) = (0, 0, 20);
        self.whole_freezes = 50;
        (self.store_outages, self.stalls) = (0, 0);
        (self.cancels, self.short_deadlines) = (0, 0);
        self.strikes_between = 90;
        self
    }

    /// A catalogue with these providers.
    pub(crate) fn catalogue(&self) -> Catalogue {
        let models = MODELS.iter().map(|(id, rest)| SourceFile {
            path: format!("models/{id}.toml"),
            text: format!(
                "id = \"{id}\"\nname = \"Sim\"\nvendor = \"Sim\"\ndescription = \"For a test.\"\n\
                 {rest}source = \"a test\"\ndate = \"2026-11-24\"\n{}",
                self.routes(id)
            ),
        });
        let providers = self.providers.iter().map(|plan| SourceFile {
            path: format!("providers/{}.toml", plan.id),
            text: plan.file(),
        });
        let files: Vec<_> = models.chain(providers).collect();
        Catalogue::load(&files, &["sim"]).unwrap()
    }
}

impl Plan {
    /// Every provider runs every model under either name.
    fn routes(&self, model: &str) -> String {
        let send = match model {
            ANSWERS => "send = { max_tokens = \"max_tokens\" }\n",
            _ => "",
        };
        let route = |plan: &ProviderPlan, name: &str| {
            let id = &plan.id;
            format!("[[routes]]\nprovider = \"{id}\"\nmodel = \"{name}\"\n{send}")
        };
        let of = |plan| [PLAIN, WITH_UPLOAD].map(|name| route(plan, name));
        self.providers.iter().flat_map(of).collect()
    }
}

impl ProviderPlan {
    fn file(&self) -> String {
        let recovery = match self.recovery {
            Recovery::Idempotent => "idempotent",
            Recovery::Lookup => "lookup",
            Recovery::None => "none",
        };
        let on_lost_reply = match self.on_lost_reply {
            OnLostReply::FailAndRelease => "fail_and_release",
            OnLostReply::Resubmit => "resubmit",
        };
        let mut text = String::new();
        let id = &self.id;
        let _ = write!(
            text,
            "id = \"{id}\"\nname = \"{id}\"\ndialect = \"sim\"\nbase_url = \"http://{id}.example\"\n\
             recovery = \"{recovery}\"\non_lost_reply = \"{on_lost_reply}\"\nquiet_ms = {}\n\
             call_timeout_ms = {}\nconnect_timeout_ms = 3000\n",
            self.quiet_ms, self.call_timeout_ms
        );
        text
    }
}

fn provider(dice: &Dice, n: usize, some: &impl Fn(u32) -> u32) -> ProviderPlan {
    let quiet_ms = dice.between(20_000, 60_000);
    let lag_ms = dice.pick(&[0, 0, 1_000, 4_000]);
    ProviderPlan {
        id: format!("p{n}"),
        recovery: dice.pick(&[Recovery::Idempotent, Recovery::Lookup, Recovery::None]),
        on_lost_reply: dice
            .weighted(&[(3, OnLostReply::FailAndRelease), (1, OnLostReply::Resubmit)]),
        quiet_ms,
        call_timeout_ms: dice.between(4_000, 20_000),
        // The quiet time is chosen by the operator to cover both, with room for clocks.
        flight_ms: quiet_ms - 4_000 - lag_ms,
        lag_ms,
        buffer_bytes: dice.pick(&[64, 300, 8_192]),
        run_ms: 40_000,
        slow_ms: dice.pick(&[5, 100, 1_500]),
        unreachable: some(15),
        refuses: some(50),
        loses: some(90),
        lies: some(20),
        stumbles: some(25),
        fails: some(25),
        spoils: some(25),
    }
}
