//! Chance that is none: every choice of the renderer follows from a seed.

use std::collections::BTreeMap;

use domain::order::Order;
use sha2::{Digest, Sha256};

/// A stream of numbers that look random (splitmix64).
pub(crate) struct Dice(u64);

impl Dice {
    /// The stream of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// The next number between 0 and 1.
    pub(crate) fn fraction(&mut self) -> f32 {
        (self.roll() >> 40) as f32 / (1_u64 << 24) as f32
    }

    /// One of the choices.
    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let count = u64::try_from(choices.len()).unwrap_or(1).max(1);
        let index = usize::try_from(self.roll() % count).unwrap_or(0);
        &choices[index]
    }
}

/// Spreads the bits of a number so that neighbours have nothing in common.
pub(crate) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The order's own seed, else one that follows from everything it asks for.
pub(crate) fn seed(order: &Order) -> u64 {
    match order.params.get("seed") {
        Some(seed) if seed.is_number() => digest(&[seed.to_string().as_bytes()]),
        _ => {
            // Sorted by name: the same parameters in another order are the same order.
            let params: BTreeMap<_, _> = order.params.iter().collect();
            let params = serde_json::to_string(&params).unwrap_or_default();
            let parts = [&order.model, &order.prompt_text(), &params];
            digest(&parts.map(|part| part.as_bytes()))
        }
    }
}

/// The first 64 bits of the SHA-256 of the parts, each with its length before it.
fn digest(parts: &[&[u8]]) -> u64 {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update((part.len() as u64).to_be_bytes());
        sha.update(part);
    }
    let sum: [u8; 32] = sha.finalize().into();
    sum.iter()
        .take(8)
        .fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}
