//! Limits, tested: what a busy key gets, and the law that no window ever holds more.

use proptest::prelude::*;

use super::*;

fn limits(requests: [Option<u32>; 3]) -> Limits {
    Limits {
        requests,
        daily_credits: None,
    }
}

#[test]
fn a_busy_key_gets_its_share_and_never_more() {
    let limits = limits([Some(20), None, None]);
    let mut meter = Meter::default();
    let start_ms = 1_700_000_000_123;
    let mut admitted = Vec::new();
    for now_ms in (start_ms..start_ms + 600_000).step_by(7) {
        if meter.admit(&limits, Credits::ZERO, now_ms).is_ok() {
            admitted.push(now_ms);
        }
    }
    assert!(admitted.len() >= 190, "{} in ten minutes", admitted.len());
    for pair in admitted.windows(21) {
        assert!(pair[20] - pair[0] >= 60_000);
    }
}

#[test]
fn whoever_waits_as_long_as_told_is_admitted() {
    let limits = limits([Some(2), Some(3), None]);
    let mut meter = Meter::default();
    let mut now_ms = 5_500;
    for _ in 0..50 {
        if let Err(Exceeded::Requests(full)) = meter.admit(&limits, Credits::ZERO, now_ms) {
            assert!(full.reset_ms > 0 && full.reset_ms <= full.span.length_ms() + 60_000);
            let almost_ms = now_ms + full.reset_ms - 1;
            assert!(
                meter
                    .clone()
                    .admit(&limits, Credits::ZERO, almost_ms)
                    .is_err()
            );
            now_ms += full.reset_ms;
            let again = meter.admit(&limits, Credits::ZERO, now_ms);
            assert!(again.is_ok() || full.span == Span::Minute, "{again:?}");
        }
    }
}

#[test]
fn a_raised_limit_counts_what_was_admitted_before() {
    let mut meter = Meter::default();
    let before = limits([Some(2), None, None]);
    for _ in 0..3 {
        let _ = meter.admit(&before, Credits::ZERO, 0);
    }
    let left = meter.allowances(&limits([Some(5), None, None]), 0);
    assert_eq!(left[0].left, 3);
}

#[test]
fn the_day_takes_back_what_was_not_spent_and_ends_at_midnight() {
    let limits = Limits {
        daily_credits: Some(Credits(100)),
        ..Limits::default()
    };
    let mut meter = Meter::default();
    assert_eq!(meter.admit(&limits, Credits(60), 1_000), Ok(()));
    let refused = meter.admit(&limits, Credits(41), 2_000);
    let (limit, spent) = (Credits(100), Credits(60));
    let reset_ms = DAY_MS - 2_000;
    assert_eq!(
        refused,
        Err(Exceeded::Credits {
            limit,
            spent,
            reset_ms
        })
    );
    meter.give_back(Credits(20), 1_000);
    assert_eq!(meter.admit(&limits, Credits(60), 3_000), Ok(()));
    assert!(meter.admit(&limits, Credits(1), 4_000).is_err());
    assert_eq!(meter.admit(&limits, Credits(90), DAY_MS), Ok(()));
    // What was held yesterday is not given back to today.
    meter.give_back(Credits(60), 1_000);
    assert!(meter.admit(&limits, Credits(11), DAY_MS + 1).is_err());
    // A node whose clock is a little behind does not bring yesterday back.
    assert!(meter.admit(&limits, Credits(11), DAY_MS - 5).is_err());
}

#[test]
fn a_refused_request_counts_nowhere() {
    let mut meter = Meter::default();
    let strict = Limits {
        requests: [Some(5), Some(1), None],
        daily_credits: Some(Credits(10)),
    };
    assert_eq!(meter.admit(&strict, Credits(1), 0), Ok(()));
    let before = meter.clone();
    assert!(meter.admit(&strict, Credits(1), 0).is_err());
    let poor = limits([Some(5), None, None]);
    let poor = Limits {
        daily_credits: Some(Credits(5)),
        ..poor
    };
    assert!(meter.admit(&poor, Credits(9), 0).is_err());
    assert_eq!(meter, before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Instants come in any order within the skew, as they do from several nodes.
    #[test]
    fn no_window_ever_holds_more(
        steps in prop::collection::vec((0_i64..3_000, 0_i64..SKEW_MS_MAX), 1..400),
        limit in 1_u32..30,
    ) {
        let limits = limits([Some(limit), None, None]);
        let mut meter = Meter::default();
        let mut admitted = Vec::new();
        let mut clock_ms = 1_700_000_000_000_i64;
        for (pause_ms, behind_ms) in steps {
            clock_ms += pause_ms;
            let now_ms = clock_ms - behind_ms;
            if meter.admit(&limits, Credits::ZERO, now_ms).is_ok() {
                admitted.push(now_ms);
            }
        }
        admitted.sort_unstable();
        let most = usize::try_from(limit).unwrap();
        for run in admitted.windows(most + 1) {
            prop_assert!(run[most] - run[0] >= 60_000, "{limit} in {run:?}");
        }
    }

    #[test]
    fn the_day_never_costs_more(
        holds in prop::collection::vec((0_i64..60, 0_i64..60, 0_i64..40_000_000), 1..60),
    ) {
        let limits = Limits { daily_credits: Some(Credits(100)), ..Limits::default() };
        let mut meter = Meter::default();
        let mut days = std::collections::BTreeMap::<i64, i64>::new();
        let mut now_ms = 0;
        for (hold, charge, pause_ms) in holds {
            now_ms += pause_ms;
            if meter.admit(&limits, Credits(hold), now_ms).is_ok() {
                let charge = charge.min(hold);
                meter.give_back(Credits(hold - charge), now_ms);
                *days.entry(day(now_ms)).or_default() += charge;
            }
        }
        prop_assert!(days.values().all(|spent| *spent <= 100));
    }
}
