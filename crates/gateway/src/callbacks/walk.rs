//! In which order the dispatcher looks at lanes.
//!
//! Invariant: does no I/O. A round looks at every lane, but at no more than a page of those of an
//! account that fills it; where it stopped, the next round goes on. So an account that names many
//! hosts delays its own callbacks, and a round takes no longer for it than for others.

use std::collections::HashMap;

use domain::ids::AccountId;

use crate::store::lanes::Lane;

/// How many lanes are looked at in one read.
pub(super) const PAGE: usize = 1_000;

/// Accounts with lanes that were not looked at, and the last one of each that was.
pub(super) type Rests = HashMap<AccountId, String>;

/// One round over the lanes.
#[derive(Debug)]
pub(super) struct Walk {
    /// The lanes behind this name are next.
    after: String,
    /// Whether it began at the first lane, or has come to it.
    has_wrapped: bool,
    /// From rounds before.
    rests: Rests,
    /// Of this round.
    left: Rests,
}

impl Walk {
    /// Begins behind the lane named `after`, and ends when all from the first were looked at.
    pub(super) fn new(after: String, rests: Rests) -> Self {
        Self {
            has_wrapped: after.is_empty(),
            after,
            rests,
            left: Rests::new(),
        }
    }

    pub(super) fn after(&self) -> &str {
        &self.after
    }

    /// Takes note of the page behind `after`; answers how many of its lanes are to be looked at, and
    /// whether the round goes on.
    pub(super) fn turn(&mut self, page: &[Lane]) -> (usize, bool) {
        for (at, Lane { account, .. }) in page.iter().enumerate() {
            if self.left.contains_key(account) {
                self.after = past(account);
                return (at, true);
            }
            if let Some(rest) = self.rests.remove(account) {
                self.after = rest;
                return (at, true);
            }
        }
        let is_whole = page.len() == PAGE;
        match page {
            [first, .., last] if is_whole && first.account == last.account => {
                self.left.insert(last.account.clone(), last.name());
                self.after = past(&last.account);
                (page.len(), true)
            }
            [.., last] if is_whole => {
                self.after = last.name();
                (page.len(), true)
            }
            _ => {
                let goes_on = !self.has_wrapped;
                self.has_wrapped = true;
                self.after = String::new();
                (page.len(), goes_on)
            }
        }
    }

    /// What is left for the next round, which may begin before this one has come to its end.
    pub(super) fn end(mut self, is_complete: bool) -> Rests {
        if !is_complete {
            self.rests.extend(self.left);
            return self.rests;
        }
        // Accounts that were not met again have no lanes any more.
        self.left
    }
}

/// Behind every lane of an account, before those of the next: a lane's name is the account, a space
/// and the host, and an exclamation mark comes after the space and before what ids are made of.
fn past(account: &AccountId) -> String {
    format!("{account}!")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The lanes of a store, by name.
    fn lanes(accounts: &[(&str, usize)]) -> BTreeMap<String, Lane> {
        let hosts = accounts.iter().flat_map(|(account, hosts)| {
            (0..*hosts).map(|host| Lane {
                account: AccountId((*account).to_owned()),
                host: format!("h{host:06}"),
                due_ms: Some(0),
            })
        });
        hosts.map(|lane| (lane.name(), lane)).collect()
    }

    /// A round to its end: how often each account's lanes were looked at, in how many reads.
    fn round(
        store: &BTreeMap<String, Lane>,
        after: &str,
        rests: &mut Rests,
        seen: &mut BTreeMap<String, usize>,
    ) -> usize {
        let mut walk = Walk::new(after.to_owned(), std::mem::take(rests));
        let mut reads = 0;
        loop {
            let behind = store.range::<str, _>((
                std::ops::Bound::Excluded(walk.after()),
                std::ops::Bound::Unbounded,
            ));
            let page: Vec<Lane> = behind.take(PAGE).map(|(_, lane)| lane.clone()).collect();
            reads += 1;
            let (count, goes_on) = walk.turn(&page);
            for lane in &page[..count] {
                *seen.entry(lane.name()).or_default() += 1;
            }
            if !goes_on {
                *rests = walk.end(true);
                return reads;
            }
        }
    }

    #[test]
    fn a_large_account_has_a_page_looked_at_and_the_next_one_next_time() {
        let store = lanes(&[("acc_1", 3), ("acc_12", 20_500), ("acc_2", 4)]);
        let (mut rests, mut seen) = (Rests::new(), BTreeMap::new());
        for n in 1..=60 {
            let before: usize = seen.values().sum();
            assert!(round(&store, "", &mut rests, &mut seen) <= 6);
            let looked_at = seen.values().sum::<usize>() - before;
            assert!(looked_at <= 7 + 2 * PAGE, "{looked_at}");
            for lane in ["acc_1 h000000", "acc_2 h000003"] {
                assert_eq!(seen[lane], n, "{lane} in every round");
            }
        }
        // Every lane has had its turn, again and again.
        assert_eq!(seen.len(), store.len());
        assert!(seen.values().all(|times| *times >= 2));
    }

    #[test]
    fn a_round_that_begins_in_the_middle_sees_all() {
        let store = lanes(&[("acc_1", 700), ("acc_2", 2_500), ("acc_3", 600)]);
        let (mut rests, mut seen) = (Rests::new(), BTreeMap::new());
        assert!(round(&store, "acc_3 h000300", &mut rests, &mut seen) <= 6);
        let of = |account: &str| seen.keys().filter(|lane| lane.starts_with(account)).count();
        assert_eq!((of("acc_1 "), of("acc_3 ")), (700, 600));
        assert!(of("acc_2 ") >= PAGE);
        assert!(!rests.is_empty());
    }

    #[test]
    fn accounts_that_are_gone_are_forgotten() {
        let (mut rests, mut seen) = (Rests::new(), BTreeMap::new());
        round(&lanes(&[("acc_1", 3_000)]), "", &mut rests, &mut seen);
        assert_eq!(rests.len(), 1);
        round(&lanes(&[("acc_2", 3)]), "", &mut rests, &mut seen);
        assert_eq!(rests, Rests::new());
    }

    #[test]
    fn a_round_that_runs_out_of_slots_forgets_nothing() {
        let rests = Rests::from([(AccountId("acc_9".to_owned()), "acc_9 h".to_owned())]);
        let store = lanes(&[("acc_1", 2_000)]);
        let page: Vec<_> = store.values().take(PAGE).cloned().collect();
        let mut walk = Walk::new(String::new(), rests);
        assert_eq!(walk.turn(&page), (PAGE, true));
        assert_eq!(walk.end(false).len(), 2);
    }
}
