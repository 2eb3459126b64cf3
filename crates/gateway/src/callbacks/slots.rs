//! Who may be delivered to now: slots for POSTs, and a breaker for each host.
//!
//! Invariant: does no I/O, and no account can take what would leave the others nothing: it may have
//! at most as many slots as are free.

use std::collections::HashMap;

use domain::ids::AccountId;

use super::Settings;
use crate::store::lanes::Lane;

/// How many hosts are remembered before those whose breaker is closed are forgotten.
const HOSTS_MAX: usize = 10_000;

/// What a POST says about its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// It answers.
    Up,
    /// It does not, or says that it cannot.
    Down,
    /// Nothing: there was no POST.
    Untold,
}

impl Health {
    /// The health of a host that answered so. A refusal comes from a host that lives.
    pub(super) fn of(status: u16) -> Self {
        match status {
            408 | 429 | 500.. => Self::Down,
            _ => Self::Up,
        }
    }
}

/// The slots in use and the hosts that fail.
#[derive(Debug)]
pub(super) struct Slots {
    settings: Settings,
    taken: usize,
    accounts: HashMap<AccountId, usize>,
    hosts: HashMap<String, Host>,
}

#[derive(Debug, Default)]
struct Host {
    taken: usize,
    /// In a row.
    failures: u32,
    /// No POST before this instant when there are too many failures.
    probe_ms: i64,
}

impl Slots {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            taken: 0,
            accounts: HashMap::new(),
            hosts: HashMap::new(),
        }
    }

    pub(super) fn free(&self) -> usize {
        self.settings.in_flight_max.saturating_sub(self.taken)
    }

    /// Takes slots for the lanes that are due, by turns; answers how many for which.
    pub(super) fn pick(&mut self, lanes: &[Lane], now_ms: i64) -> Vec<(Lane, i64)> {
        let is_due = |lane: &&Lane| lane.due_ms.is_some_and(|due_ms| due_ms <= now_ms);
        let mut picks: Vec<(Lane, i64)> = lanes
            .iter()
            .filter(is_due)
            .map(|lane| (lane.clone(), 0))
            .collect();
        for _ in 0..self.settings.per_host_max {
            for (lane, count) in &mut picks {
                if self.may_start(lane, now_ms) {
                    self.take(&lane.account, &lane.host);
                    *count += 1;
                }
            }
        }
        picks.retain(|(_, count)| *count > 0);
        picks
    }

    fn may_start(&self, lane: &Lane, now_ms: i64) -> bool {
        let by_account = self.accounts.get(&lane.account).copied().unwrap_or(0);
        if by_account >= self.free() {
            return false;
        }
        let Some(host) = self.hosts.get(&lane.host) else {
            return true;
        };
        if host.failures >= self.settings.failures_max {
            // One probe at a time.
            return host.taken == 0 && host.probe_ms <= now_ms;
        }
        host.taken < self.settings.per_host_max
    }

    fn take(&mut self, account: &AccountId, host: &str) {
        self.taken += 1;
        *self.accounts.entry(account.clone()).or_default() += 1;
        self.hosts.entry(host.to_owned()).or_default().taken += 1;
    }

    /// Gives a slot back with what was learned about its host.
    pub(super) fn give_back(
        &mut self,
        account: &AccountId,
        host: &str,
        health: Health,
        now_ms: i64,
    ) {
        self.taken = self.taken.saturating_sub(1);
        if let Some(taken) = self.accounts.get_mut(account) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                self.accounts.remove(account);
            }
        }
        let Some(known) = self.hosts.get_mut(host) else {
            return;
        };
        known.taken = known.taken.saturating_sub(1);
        match health {
            Health::Up => known.failures = 0,
            Health::Down => {
                known.failures = known.failures.saturating_add(1);
                known.probe_ms = now_ms.saturating_add(self.settings.probe_ms);
            }
            Health::Untold => {}
        }
        if known.taken == 0 && known.failures == 0 {
            self.hosts.remove(host);
        }
        if self.hosts.len() > HOSTS_MAX {
            let failures_max = self.settings.failures_max;
            self.hosts
                .retain(|_, host| host.taken > 0 || host.failures >= failures_max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(account: &str, host: &str) -> Lane {
        Lane {
            account: AccountId(account.to_owned()),
            host: host.to_owned(),
            due_ms: Some(0),
        }
    }

    fn count(picks: &[(Lane, i64)], host: &str) -> i64 {
        let of_host = picks.iter().filter(|(lane, _)| lane.host == host);
        of_host.map(|(_, count)| count).sum()
    }

    #[test]
    fn a_host_gets_four_whoever_asks() {
        let mut slots = Slots::new(Settings::default());
        let picks = slots.pick(&[lane("a", "h"), lane("b", "h"), lane("a", "i")], 0);
        assert_eq!(count(&picks, "h"), 4);
        assert_eq!(count(&picks, "i"), 4);
        assert_eq!(picks[0].1, 2);
        assert!(slots.pick(&[lane("c", "h")], 0).is_empty());
    }

    #[test]
    fn what_is_not_due_or_held_is_left() {
        let mut slots = Slots::new(Settings::default());
        let (mut later, mut held) = (lane("a", "h"), lane("a", "i"));
        later.due_ms = Some(1);
        held.due_ms = None;
        assert!(slots.pick(&[later, held], 0).is_empty());
        assert_eq!(slots.free(), 64);
    }

    #[test]
    fn an_account_with_many_hosts_leaves_as_much_as_it_takes() {
        let mut slots = Slots::new(Settings::default());
        let greedy: Vec<Lane> = (0..1_000).map(|n| lane("a", &n.to_string())).collect();
        slots.pick(&greedy, 0);
        assert_eq!(slots.free(), 32);
        assert_eq!(slots.pick(&[lane("b", "h")], 0)[0].1, 4);
        assert!(slots.pick(&greedy, 0).is_empty());
    }

    #[test]
    fn a_breaker_opens_probes_and_closes() {
        let mut slots = Slots::new(Settings::default());
        let dead = [lane("a", "h"), lane("b", "h")];
        let account = &dead[0].account;
        let mut failures = 0;
        while failures < 10 {
            for (lane, count) in slots.pick(&dead, 0) {
                for _ in 0..count {
                    slots.give_back(&lane.account, "h", Health::Down, 0);
                    failures += 1;
                }
            }
        }
        assert!(slots.pick(&dead, 59_999).is_empty());
        assert_eq!(count(&slots.pick(&dead, 60_000), "h"), 1);
        assert!(slots.pick(&dead, 60_000).is_empty());
        slots.give_back(account, "h", Health::Down, 60_000);
        assert!(slots.pick(&dead, 119_999).is_empty());
        assert_eq!(count(&slots.pick(&dead, 120_000), "h"), 1);
        slots.give_back(account, "h", Health::Up, 120_000);
        assert_eq!(count(&slots.pick(&dead, 120_000), "h"), 4);
    }

    #[test]
    fn a_success_between_failures_keeps_the_breaker_closed() {
        let mut slots = Slots::new(Settings::default());
        for n in 0..30 {
            slots.take(&AccountId("a".to_owned()), "h");
            let health = if n % 9 == 8 { Health::Up } else { Health::Down };
            slots.give_back(&AccountId("a".to_owned()), "h", health, 0);
        }
        assert_eq!(count(&slots.pick(&[lane("a", "h")], 0), "h"), 4);
    }

    #[test]
    fn hosts_are_forgotten() {
        let mut slots = Slots::new(Settings::default());
        for n in 0..=HOSTS_MAX {
            slots.take(&AccountId("a".to_owned()), &n.to_string());
            slots.give_back(&AccountId("a".to_owned()), &n.to_string(), Health::Down, 0);
        }
        assert!(slots.hosts.is_empty() && slots.accounts.is_empty());
    }

    #[test]
    fn a_refusal_comes_from_a_host_that_lives() {
        assert_eq!(Health::of(404), Health::Up);
        assert_eq!(Health::of(302), Health::Up);
        assert_eq!(Health::of(429), Health::Down);
        assert_eq!(Health::of(500), Health::Down);
    }
}
