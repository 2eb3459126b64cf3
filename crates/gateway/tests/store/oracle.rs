//! Random histories by many callers, compared with the ledger's rules in `domain`.
//!
//! What the database entered is replayed through `domain::ledger::apply`: no order of the entries
//! that were answered with success may break a rule, and the sums must be those of the account.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use domain::credits::Credits;
use domain::ledger::{Book, Entry, apply};
use domain::task::Outcome;
use futures_util::future::join_all;
use gateway::entropy::Entropy;
use gateway::store::Store;
use gateway::store::accounts::{Grant, Granted};
use gateway::store::submit::Admission;
use gateway::store::work::{Claim, Committed, Lease};

use crate::fixture::{Tenant, asked, failed, step, success, tenant};
use crate::support::{NOW_MS, stores};

/// Histories run on each database, one account each.
const HISTORIES: usize = 240;

/// Callers of one account, on two nodes.
const CALLERS: usize = 3;

/// Operations of a caller.
const STEPS: u32 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_agree_with_the_rules() {
    let seed = u64::from_le_bytes(Entropy::system().bytes());
    println!("seed {seed}");
    for db in stores().await {
        let nodes = [db.store.clone(), db.twin().await];
        let histories = (0..HISTORIES).map(|n| {
            let entropy = Entropy::seeded(seed.wrapping_add(u64::try_from(n).unwrap()));
            let nodes = nodes.clone();
            async move { history(nodes, entropy).await }
        });
        join_all(histories).await;
        let check = db.store.any_ledger_check().await.unwrap();
        assert_eq!(check.problems, [""; 0], "{}", db.name);
        let floor = HISTORIES * CALLERS;
        assert!(
            usize::try_from(check.entries).unwrap() > floor,
            "little was entered"
        );
    }
}

/// One account: callers top up, correct, submit, and end tasks, all at once.
async fn history(nodes: [Store; 2], entropy: Entropy) {
    let tenant = tenant(&nodes[0], 0).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let watch = watch(nodes[1].clone(), tenant.clone(), Arc::clone(&is_over));
    let callers = (0..CALLERS).map(|n| {
        let caller = Caller {
            store: nodes[n % 2].clone(),
            tenant: tenant.clone(),
            entropy: entropy.clone(),
            name: format!("{}/{n}", tenant.account),
            entered: Vec::new(),
        };
        caller.run()
    });
    let run = async {
        let entered: Vec<Entry> = join_all(callers).await.into_iter().flatten().collect();
        is_over.store(true, Ordering::Relaxed);
        entered
    };
    let (entered, ()) = tokio::join!(run, watch);
    let balance = nodes[0].balance(&tenant.account).await.unwrap();
    assert_eq!(replay(entered).balance, balance, "{}", tenant.account);
}

/// Applies entries in an order the rules accept: what came in first, then holds with their closes,
/// then corrections downwards. If the final balance is the same, the order does not matter to it.
fn replay(mut entered: Vec<Entry>) -> Book {
    let rank = |entry: &Entry| match entry {
        Entry::TopUp(_) => 0,
        Entry::Adjust(credits) => u8::from(credits.0 < 0) * 3,
        Entry::Hold { .. } => 1,
        Entry::Close { .. } => 2,
    };
    entered.sort_by_key(rank);
    let mut book = Book::default();
    let (holds, rest): (Vec<_>, Vec<_>) = entered
        .into_iter()
        .partition(|entry| matches!(entry, Entry::Hold { .. }));
    let mut open = Vec::new();
    let mut closes = Vec::new();
    for entry in &rest {
        match entry {
            Entry::Close { task, .. } => {
                let held =
                    |hold: &&Entry| matches!(hold, Entry::Hold { task: id, .. } if id == task);
                closes.push((holds.iter().find(held).expect("a hold of our own"), entry));
            }
            Entry::Adjust(credits) if credits.0 < 0 => open.push(entry),
            entry => apply(&mut book, entry).unwrap(),
        }
    }
    for (hold, close) in &closes {
        apply(&mut book, hold).unwrap();
        apply(&mut book, close).unwrap();
        assert!(apply(&mut book, close).is_err());
    }
    let is_open = |hold: &&Entry| !closes.iter().any(|(closed, _)| closed == hold);
    for entry in open.into_iter().chain(holds.iter().filter(is_open)) {
        apply(&mut book, entry).unwrap();
    }
    book
}

/// Reads the balance until the history is over: it never breaks a rule.
async fn watch(store: Store, tenant: Tenant, is_over: Arc<AtomicBool>) {
    while !is_over.load(Ordering::Relaxed) {
        let balance = store.balance(&tenant.account).await.unwrap();
        let (posted, held) = (balance.posted.0, balance.held.0);
        assert!(
            0 <= held && held <= posted,
            "{}: {balance:?}",
            tenant.account
        );
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

struct Caller {
    store: Store,
    tenant: Tenant,
    entropy: Entropy,
    name: String,
    entered: Vec<Entry>,
}

impl Caller {
    async fn run(mut self) -> Vec<Entry> {
        for _ in 0..STEPS {
            match self.entropy.below(10) {
                0..=2 => self.grant(Grant::TopUp).await,
                3 => self.grant(Grant::Adjust).await,
                4..=7 => self.submit().await,
                _ => self.finish().await,
            }
        }
        self.entered
    }

    async fn grant(&mut self, grant: Grant) {
        let micros = i64::from(self.entropy.below(200));
        let credits = match grant {
            Grant::TopUp => Credits(micros + 1),
            Grant::Adjust => Credits(micros - 150),
        };
        // References are shared by the callers of all accounts' histories of the same length, so some
        // come twice.
        let reference = format!("{}/{}", self.tenant.account, self.entropy.below(40));
        let done = self
            .store
            .grant(&self.tenant.account, grant, credits, &reference, NOW_MS);
        if done.await == Ok(Granted::Yes) {
            self.entered.push(match grant {
                Grant::TopUp => Entry::TopUp(credits),
                Grant::Adjust => Entry::Adjust(credits),
            });
        }
    }

    async fn submit(&mut self) {
        let task = self.tenant.task(i64::from(self.entropy.below(60)));
        match self.store.submit(&task, None).await.unwrap() {
            Admission::Accepted(_) => self.entered.push(Entry::Hold {
                task: task.id,
                credits: task.hold,
            }),
            Admission::Insufficient => {}
            other => panic!("{other:?}"),
        }
    }

    /// Ends some task, of whichever account, that nobody works on. Its close is entered in the book of
    /// its account by reading it back, as the caller that ends it may be another account's.
    async fn finish(&mut self) {
        let claims = self.store.claim(&self.name, 4, NOW_MS).await.unwrap();
        for claim in claims {
            if claim.task.account == self.tenant.account {
                self.end(claim).await;
            } else {
                self.store.put_back(&claim, NOW_MS, NOW_MS).await.unwrap();
            }
        }
    }

    async fn end(&mut self, mut claim: Claim) {
        let outcomes: Vec<Outcome> = match self.entropy.below(3) {
            0 => vec![Outcome::Cancelled],
            1 => success().into_iter().take(2).chain([failed()]).collect(),
            _ => success(),
        };
        let before = claim.clone();
        for outcome in outcomes {
            let done = step(&self.store, &mut claim, outcome, Lease::Keep).await;
            assert_eq!(done, Ok(Committed::Yes));
        }
        let lost = step(
            &self.store,
            &mut before.clone(),
            Outcome::Cancelled,
            Lease::Keep,
        )
        .await;
        assert_eq!(lost, Ok(Committed::Lost));
        let charge = claim.task.charge().expect("it ended");
        self.entered.push(Entry::Close {
            task: claim.task.id,
            charge,
        });
    }
}

/// How often PostgreSQL had to break a deadlock.
const DEADLOCKS: &str = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";

/// Nodes that hold, close and correct for the same two accounts, in opposite orders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_share_accounts_do_not_get_in_each_others_way() {
    for db in stores().await {
        let nodes = [db.store.clone(), db.twin().await];
        let accounts = [
            tenant(&db.store, 1_000_000).await,
            tenant(&db.store, 1_000_000).await,
        ];
        let submits = (0..1_200_usize).map(|n| {
            let (node, account) = (&nodes[n % 2], &accounts[(n / 2 + n % 2) % 2]);
            async move { node.submit(&account.task(1), None).await }
        });
        let answers = join_all(submits).await;
        let accepted = answers
            .iter()
            .filter(|done| **done == Ok(Admission::Accepted(vec![])));
        assert_eq!(accepted.count(), 1_200, "{}", db.name);
        for account in &accounts {
            let balance = db.store.balance(&account.account).await.unwrap();
            assert_eq!(balance.held, Credits(600), "{}", db.name);
        }
        if db.store.is_shared() {
            assert_eq!(asked(&db, DEADLOCKS).await, 0);
        }
    }
}
