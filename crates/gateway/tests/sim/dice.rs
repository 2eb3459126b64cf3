//! Seeded chance for the world, apart from the gateway's own entropy.

use gateway::entropy::Entropy;

/// A source of decisions; clones share it.
#[derive(Clone)]
pub(crate) struct Dice(Entropy);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Entropy::seeded(seed ^ 0x5151_d1ce_5151_d1ce))
    }

    /// A number below `end`; 0 when `end` is 0.
    pub(crate) fn below(&self, end: u32) -> u32 {
        self.0.below(end)
    }

    /// A number from `least` to `most`, both included.
    pub(crate) fn between(&self, least: u64, most: u64) -> u64 {
        let span = u32::try_from(most.saturating_sub(least).saturating_add(1)).unwrap_or(u32::MAX);
        least + u64::from(self.below(span))
    }

    /// Whether something with so many chances in a hundred happens.
    pub(crate) fn chance(&self, percent: u32) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Copy>(&self, of: &[T]) -> T {
        of[self.below(u32::try_from(of.len()).unwrap()) as usize]
    }

    /// One of several, each with its weight.
    pub(crate) fn weighted<T: Copy>(&self, of: &[(u32, T)]) -> T {
        let total = of.iter().map(|(weight, _)| *weight).sum();
        let mut left = self.below(total);
        for (weight, item) in of {
            if left < *weight {
                return *item;
            }
            left -= *weight;
        }
        of[0].1
    }
}
