//! Randomness, as a seam: the simulator puts a seeded source here.

use std::sync::{Arc, Mutex, PoisonError};

/// A source of random bytes. Cheap to clone.
#[derive(Clone)]
pub struct Entropy(Source);

#[derive(Clone)]
enum Source {
    System(Arc<Mutex<Pool>>),
    Seeded(Arc<Mutex<u64>>),
}

/// Bytes of the system that nobody has seen yet: asking for a few at a time is a system call each.
#[derive(Default)]
struct Pool(Vec<u8>);

/// Bytes asked of the system at a time.
const POOL_BYTES: usize = 512;

impl Pool {
    fn take(&mut self, bytes: &mut [u8]) {
        if bytes.len() > self.0.len() {
            self.0.resize(POOL_BYTES.max(bytes.len()), 0);
            // Without randomness every secret would be guessable: better no process than that.
            getrandom::fill(&mut self.0).expect("the system has a random source");
        }
        let rest = self.0.len() - bytes.len();
        bytes.copy_from_slice(&self.0[rest..]);
        // What was handed out is not kept.
        self.0[rest..].fill(0);
        self.0.truncate(rest);
    }
}

impl Entropy {
    /// The operating system's source.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System(Arc::default()))
    }

    /// A source that gives the same bytes for the same seed. Not for secrets.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(Mutex::new(seed))))
    }

    /// Random bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match &self.0 {
            Source::System(pool) => {
                let mut pool = pool.lock().unwrap_or_else(PoisonError::into_inner);
                pool.take(&mut bytes);
            }
            Source::Seeded(state) => {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                for byte in &mut bytes {
                    *byte = splitmix(&mut state).to_le_bytes()[0];
                }
            }
        }
        bytes
    }

    /// A random number below `end`; 0 when `end` is 0.
    #[must_use]
    pub fn below(&self, end: u32) -> u32 {
        let number = u32::from_le_bytes(self.bytes());
        number.checked_rem(end).unwrap_or(0)
    }
}

/// The generator SplitMix64 (Steele, Lea, Flood 2014).
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_itself_and_the_system_does_not() {
        assert_eq!(
            Entropy::seeded(7).bytes::<16>(),
            Entropy::seeded(7).bytes::<16>()
        );
        assert_ne!(
            Entropy::seeded(7).bytes::<16>(),
            Entropy::seeded(8).bytes::<16>()
        );
        assert_ne!(
            Entropy::system().bytes::<16>(),
            Entropy::system().bytes::<16>()
        );
        let system = Entropy::system();
        let drawn: std::collections::BTreeSet<_> =
            (0..1_000).map(|_| system.bytes::<10>()).collect();
        assert_eq!(drawn.len(), 1_000);
        assert_ne!(system.bytes::<600>()[..300], system.bytes::<600>()[300..]);
        assert!(system.below(3) < 3);
    }
}
