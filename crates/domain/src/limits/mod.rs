//! Limits of a key: requests in a sliding window, credits in a day.
//!
//! Invariant: no window of the length that a limit names ever holds more admissions than the limit
//! says, whatever the order in which they are counted, as long as the clocks of the nodes are less
//! than [`SKEW_MS_MAX`] apart. The price of counting in buckets is that a place may come free one
//! bucket late, which costs a busy key less than 1.7 % of its limit.

#[cfg(test)]
mod laws;

use serde::{Deserialize, Serialize};

use crate::credits::Credits;

/// How far the clocks of two nodes may be apart, in milliseconds.
pub const SKEW_MS_MAX: i64 = 60_000;

/// A day, in milliseconds; days begin at midnight UTC.
const DAY_MS: i64 = 86_400_000;

/// The windows there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// 60 seconds.
    Minute,
    /// 60 minutes.
    Hour,
    /// 24 hours.
    Day,
}

impl Span {
    /// Every window, shortest first.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// How long it is, in milliseconds.
    #[must_use]
    pub fn length_ms(self) -> i64 {
        match self {
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => DAY_MS,
        }
    }

    /// How long one of its buckets is, in milliseconds.
    fn bucket_ms(self) -> i64 {
        match self {
            Self::Minute => 1_000,
            Self::Hour => 60_000,
            Self::Day => 900_000,
        }
    }

    /// What it is called in a sentence.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Minute => "a minute",
            Self::Hour => "an hour",
            Self::Day => "24 hours",
        }
    }

    /// The word for it in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "rpm",
            Self::Hour => "tph",
            Self::Day => "tpd",
        }
    }
}

/// What a key may do in how much time; `None` for as much as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Requests in a minute, an hour, a day; in the order of [`Span::ALL`].
    pub requests: [Option<u32>; 3],
    /// Credits between midnight and midnight UTC.
    pub daily_credits: Option<Credits>,
}

impl Limits {
    /// Whether there is anything to count.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    fn windows(&self) -> impl Iterator<Item = (Span, u32)> {
        let pairs = Span::ALL.into_iter().zip(self.requests);
        pairs.filter_map(|(span, limit)| limit.map(|limit| (span, limit)))
    }
}

/// How much of a limit is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Which window.
    pub span: Span,
    /// What the limit says.
    pub limit: u32,
    /// How many more would be admitted now.
    pub left: u32,
    /// When another place comes free, in milliseconds from now; 0 when nothing is taken.
    pub reset_ms: i64,
}

/// Why a request is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// A window is full.
    Requests(Allowance),
    /// The day's credits do not cover it.
    Credits {
        /// What the limit says.
        limit: Credits,
        /// What is spent or held of it.
        spent: Credits,
        /// When the day ends, in milliseconds from now.
        reset_ms: i64,
    },
}

/// What a key has done so far; stored with it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Meter {
    /// Admissions by window, in the order of [`Span::ALL`]: start of the bucket in milliseconds and
    /// count, oldest first.
    windows: [Vec<(i64, u32)>; 3],
    /// The day that `spent` belongs to, counted from 1970.
    day: i64,
    /// Credits spent or held that day.
    spent: Credits,
}

impl Meter {
    /// Counts a request that may cost `hold`, or refuses it and counts nothing. Of several full
    /// windows the one that is full for longest is named.
    ///
    /// # Errors
    /// The limit that is exceeded.
    pub fn admit(&mut self, limits: &Limits, hold: Credits, now_ms: i64) -> Result<(), Exceeded> {
        let full = self.allowances(limits, now_ms).into_iter();
        let full = full.filter(|allowance| allowance.left == 0);
        if let Some(allowance) = full.max_by_key(|allowance| allowance.reset_ms) {
            return Err(Exceeded::Requests(allowance));
        }
        self.spend(limits, hold, now_ms)?;
        for (span, _) in limits.windows() {
            self.count(span, now_ms);
        }
        Ok(())
    }

    /// What is left of each limit.
    #[must_use]
    pub fn allowances(&self, limits: &Limits, now_ms: i64) -> Vec<Allowance> {
        let allowance = |(span, limit): (Span, u32)| {
            let open = self.open(span, now_ms);
            let used = open
                .iter()
                .fold(0_u32, |sum, bucket| sum.saturating_add(bucket.1));
            Allowance {
                span,
                limit,
                left: limit.saturating_sub(used),
                reset_ms: reset_ms(span, open, used, limit, now_ms),
            }
        };
        limits.windows().map(allowance).collect()
    }

    /// Gives credits back that were held on the day of `held_ms` and not spent.
    pub fn give_back(&mut self, credits: Credits, held_ms: i64) {
        if self.day == day(held_ms) {
            self.spent = self.spent.minus(credits).unwrap_or(Credits::ZERO);
            self.spent = self.spent.max(Credits::ZERO);
        }
    }

    fn spend(&mut self, limits: &Limits, hold: Credits, now_ms: i64) -> Result<(), Exceeded> {
        let Some(limit) = limits.daily_credits else {
            return Ok(());
        };
        // A node whose clock is behind goes on with the day that has begun.
        let today = day(now_ms).max(self.day);
        let spent = if today == self.day {
            self.spent
        } else {
            Credits::ZERO
        };
        let sum = spent.plus(hold).filter(|sum| *sum <= limit);
        let Some(sum) = sum else {
            let end_ms = today.saturating_add(1).saturating_mul(DAY_MS);
            return Err(Exceeded::Credits {
                limit,
                spent,
                reset_ms: end_ms.saturating_sub(now_ms),
            });
        };
        (self.day, self.spent) = (today, sum);
        Ok(())
    }

    /// The buckets that a window ending now reaches into, or that lie ahead of it.
    fn open(&self, span: Span, now_ms: i64) -> &[(i64, u32)] {
        let buckets = self.buckets(span);
        let first = buckets.partition_point(|bucket| leaves_ms(span, bucket.0) <= now_ms);
        buckets.get(first..).unwrap_or_default()
    }

    fn count(&mut self, span: Span, now_ms: i64) {
        let length = span.bucket_ms();
        let start_ms = now_ms.div_euclid(length).saturating_mul(length);
        let buckets = &mut self.windows[span as usize];
        match buckets.binary_search_by_key(&start_ms, |bucket| bucket.0) {
            Ok(at) => buckets[at].1 = buckets[at].1.saturating_add(1),
            Err(at) => buckets.insert(at, (start_ms, 1)),
        }
        // A node whose clock is behind may still need what has left this one's window.
        let horizon_ms = now_ms.saturating_sub(SKEW_MS_MAX);
        buckets.retain(|bucket| leaves_ms(span, bucket.0) > horizon_ms);
    }

    fn buckets(&self, span: Span) -> &[(i64, u32)] {
        &self.windows[span as usize]
    }
}

/// When nothing that was counted in a bucket can be in a window any more.
fn leaves_ms(span: Span, start_ms: i64) -> i64 {
    start_ms
        .saturating_add(span.bucket_ms())
        .saturating_add(span.length_ms())
}

/// When another place comes free: with the bucket whose leaving brings the sum below the limit.
fn reset_ms(span: Span, open: &[(i64, u32)], used: u32, limit: u32, now_ms: i64) -> i64 {
    let mut rest = used;
    for (start_ms, count) in open {
        rest = rest.saturating_sub(*count);
        if rest < limit {
            return leaves_ms(span, *start_ms).saturating_sub(now_ms);
        }
    }
    0
}

fn day(instant_ms: i64) -> i64 {
    instant_ms.div_euclid(DAY_MS)
}
