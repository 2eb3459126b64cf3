//! The ledger: what an account has, what is spoken for, and the entries that changed it.
//!
//! Invariant: entries are only ever added; a task has at most one `hold` and one `close`, in that
//! order; `0 ≤ charge ≤ hold`; `0 ≤ held ≤ posted`. This module is the oracle the store's SQL is
//! compared with.

use std::collections::BTreeMap;

use crate::credits::Credits;
use crate::ids::TaskId;

/// What an account has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// The sum of all top-ups and adjustments less all charges.
    pub posted: Credits,
    /// The part that open tasks speak for.
    pub held: Credits,
}

impl Balance {
    /// What can be spent now.
    #[must_use]
    pub fn available(self) -> Credits {
        self.posted.minus(self.held).unwrap_or(Credits::ZERO)
    }
}

/// One line of an account's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Credits bought or granted; more than 0.
    TopUp(Credits),
    /// A correction by the operator, either way.
    Adjust(Credits),
    /// The most a task can cost, set aside at submit.
    Hold {
        /// The task.
        task: TaskId,
        /// How much.
        credits: Credits,
    },
    /// The end of a hold: `charge` is spent, the rest is free again.
    Close {
        /// The task.
        task: TaskId,
        /// What the task cost; 0 when it failed.
        charge: Credits,
    },
}

/// Why an entry is not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More than what can be spent now.
    #[error("the available credits do not cover it")]
    Insufficient,
    /// The task has such an entry already.
    #[error("the task has such an entry already")]
    Duplicate,
    /// The task has no open hold.
    #[error("the task has no open hold")]
    NotHeld,
    /// Not an amount this entry can have.
    #[error("the amount is out of range")]
    Amount,
}

/// An account's balance with the holds behind it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Book {
    /// The totals.
    pub balance: Balance,
    /// Every hold ever made, with the charge that closed it.
    pub holds: BTreeMap<TaskId, (Credits, Option<Credits>)>,
}

/// Adds an entry.
///
/// # Errors
/// A rule refuses it; the book is as before.
pub fn apply(book: &mut Book, entry: &Entry) -> Result<(), Refusal> {
    let Balance { posted, held } = book.balance;
    match entry {
        Entry::TopUp(credits) if credits.0 <= 0 => return Err(Refusal::Amount),
        Entry::TopUp(credits) | Entry::Adjust(credits) => {
            let posted = posted.plus(*credits).ok_or(Refusal::Amount)?;
            if posted < held {
                return Err(Refusal::Insufficient);
            }
            book.balance.posted = posted;
        }
        Entry::Hold { task, credits } => {
            if credits.0 < 0 {
                return Err(Refusal::Amount);
            }
            if book.holds.contains_key(task) {
                return Err(Refusal::Duplicate);
            }
            let held = held.plus(*credits).ok_or(Refusal::Amount)?;
            if held > posted {
                return Err(Refusal::Insufficient);
            }
            book.balance.held = held;
            book.holds.insert(task.clone(), (*credits, None));
        }
        Entry::Close { task, charge } => {
            let Some((hold, close)) = book.holds.get_mut(task) else {
                return Err(Refusal::NotHeld);
            };
            if close.is_some() {
                return Err(Refusal::Duplicate);
            }
            if charge.0 < 0 || *charge > *hold {
                return Err(Refusal::Amount);
            }
            book.balance = Balance {
                posted: posted.minus(*charge).ok_or(Refusal::Amount)?,
                held: held.minus(*hold).ok_or(Refusal::Amount)?,
            };
            *close = Some(*charge);
        }
    }
    assert!(
        book.balance.held.0 >= 0 && book.balance.held <= book.balance.posted,
        "0 ≤ held ≤ posted"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn task(n: u8) -> TaskId {
        TaskId(format!("task-{n}"))
    }

    fn entry() -> impl Strategy<Value = Entry> {
        prop_oneof![
            (-5_i64..500).prop_map(|micros| Entry::TopUp(Credits(micros))),
            (-300_i64..300).prop_map(|micros| Entry::Adjust(Credits(micros))),
            (0_u8..12, -5_i64..200).prop_map(|(n, micros)| Entry::Hold {
                task: task(n),
                credits: Credits(micros)
            }),
            (0_u8..12, -5_i64..250).prop_map(|(n, micros)| Entry::Close {
                task: task(n),
                charge: Credits(micros)
            }),
        ]
    }

    #[test]
    fn a_hold_is_closed_once_and_never_beyond_itself() {
        let mut book = Book::default();
        let hold = Entry::Hold {
            task: task(1),
            credits: Credits(40),
        };
        let close = |micros| Entry::Close {
            task: task(1),
            charge: Credits(micros),
        };
        assert_eq!(apply(&mut book, &hold), Err(Refusal::Insufficient));
        apply(&mut book, &Entry::TopUp(Credits(100))).unwrap();
        assert_eq!(apply(&mut book, &close(0)), Err(Refusal::NotHeld));
        apply(&mut book, &hold).unwrap();
        assert_eq!(apply(&mut book, &hold), Err(Refusal::Duplicate));
        assert_eq!(book.balance.available(), Credits(60));
        assert_eq!(apply(&mut book, &close(41)), Err(Refusal::Amount));
        apply(&mut book, &close(30)).unwrap();
        assert_eq!(apply(&mut book, &close(0)), Err(Refusal::Duplicate));
        assert_eq!(
            book.balance,
            Balance {
                posted: Credits(70),
                held: Credits(0)
            }
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn every_history_keeps_the_laws(entries in prop::collection::vec(entry(), 0..60)) {
            let mut book = Book::default();
            let (mut posted, mut held) = (0_i64, 0_i64);
            for entry in &entries {
                let before = book.clone();
                match apply(&mut book, entry) {
                    Err(_) => prop_assert_eq!(&book, &before),
                    Ok(()) => match entry {
                        Entry::TopUp(credits) | Entry::Adjust(credits) => posted += credits.0,
                        Entry::Hold { credits, .. } => held += credits.0,
                        Entry::Close { task, charge } => {
                            posted -= charge.0;
                            held -= before.holds[task].0.0;
                        }
                    },
                }
                prop_assert_eq!(book.balance, Balance { posted: Credits(posted), held: Credits(held) });
            }
            let open: i64 = book.holds.values().filter(|hold| hold.1.is_none()).map(|hold| hold.0.0).sum();
            prop_assert_eq!(book.balance.held, Credits(open));
        }
    }
}
