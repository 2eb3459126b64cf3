//! Laws of grants over random ones, and what authorities let through.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::catalogue::Catalogue;
use crate::catalogue::shipped_tests::shipped;
use crate::credits::Credits;

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(shipped);

/// Networks that contain one another in all ways, in several spellings.
const NETWORKS: [&str; 8] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "::ffff:10.0.0.0/104",
    "10.1.2.3",
    "::ffff:10.1.2.3",
    "::/0",
    "2001:db8::/32",
    "2001:db8::1",
];

/// Places a key may be used from; what a whitelist means is which of them it lets in.
const PLACES: [&str; 5] = [
    "10.1.2.3",
    "10.9.9.9",
    "192.0.2.1",
    "2001:db8::1",
    "2001:db9::1",
];

fn grants() -> impl Strategy<Value = Grant> {
    let scopes = btree_set(prop::sample::select(Scope::ALL.to_vec()), 1..=3);
    let models = option::of(btree_set(prop::sample::select(vec!["a", "b", "c"]), 1..=2));
    let networks = vec(prop::sample::select(NETWORKS.to_vec()), 0..=2);
    let limit = || option::of(1_u32..4);
    let rest = (option::of(1_i64..4), any::<bool>(), limit(), limit());
    (scopes, models, networks, rest, limit(), limit()).prop_map(
        |(scopes, models, networks, (expires_ms, sandbox, rpm, tph), tpd, daily)| Grant {
            name: "any".to_owned(),
            scopes: scopes.into_iter().collect(),
            models: models
                .map(|models: BTreeSet<_>| models.into_iter().map(str::to_owned).collect()),
            expires_ms,
            sandbox,
            ip_whitelist: networks.into_iter().map(str::to_owned).collect(),
            rate_limit_rpm: rpm,
            rate_limit_tph: tph,
            rate_limit_tpd: tpd,
            daily_credit_limit: daily.map(|daily| Credits(i64::from(daily))),
        },
    )
}

/// A grant and one that differs from it in a few fields, so that many cover one another.
fn neighbours() -> impl Strategy<Value = (Grant, Grant)> {
    let few = (any::<u16>(), any::<u16>()).prop_map(|(some, others)| some & others);
    (grants(), grants(), few).prop_map(|(one, other, few)| {
        let other = differing(&one, &other, few);
        (one, other)
    })
}

/// Takes one field of another grant.
type Take = fn(&mut Grant, &Grant);

const TAKES: [Take; 9] = [
    |to, from| to.scopes.clone_from(&from.scopes),
    |to, from| to.models.clone_from(&from.models),
    |to, from| to.expires_ms = from.expires_ms,
    |to, from| to.sandbox = from.sandbox,
    |to, from| to.ip_whitelist.clone_from(&from.ip_whitelist),
    |to, from| to.rate_limit_rpm = from.rate_limit_rpm,
    |to, from| to.rate_limit_tph = from.rate_limit_tph,
    |to, from| to.rate_limit_tpd = from.rate_limit_tpd,
    |to, from| to.daily_credit_limit = from.daily_credit_limit,
];

/// `one` with the fields of `other` that `few` has bits for.
fn differing(one: &Grant, other: &Grant, few: u16) -> Grant {
    let mut mixed = one.clone();
    for (bit, take) in TAKES.iter().enumerate() {
        if few >> bit & 1 == 1 {
            take(&mut mixed, other);
        }
    }
    mixed
}

fn covers(one: &Grant, other: &Grant) -> bool {
    one.check_covers(other).is_ok()
}

/// Everything a key can do, spelt out: scope, model, place, instant, in the sandbox or not. Limits are
/// beside it.
fn deeds(grant: &Grant) -> BTreeSet<(Scope, &'static str, &'static str, i64, bool)> {
    let mut deeds = BTreeSet::new();
    for scope in Scope::ALL.into_iter().filter(|scope| grant.has(*scope)) {
        for model in ["a", "b", "c"].into_iter().filter(|id| grant.may_run(id)) {
            for place in PLACES {
                if !grant.may_come_from(&crate::network::parse(place).unwrap()) {
                    continue;
                }
                for now_ms in 0..5 {
                    if grant.expires_ms.is_none_or(|end_ms| end_ms > now_ms) {
                        deeds.insert((scope, model, place, now_ms, true));
                        if !grant.sandbox {
                            deeds.insert((scope, model, place, now_ms, false));
                        }
                    }
                }
            }
        }
    }
    deeds
}

fn limits(grant: &Grant) -> [u32; 4] {
    let rate = |rate: Option<u32>| rate.unwrap_or(u32::MAX);
    let daily = grant
        .daily_credit_limit
        .map(|daily| u32::try_from(daily.0).unwrap());
    [
        rate(grant.rate_limit_rpm),
        rate(grant.rate_limit_tph),
        rate(grant.rate_limit_tpd),
        rate(daily),
    ]
}

fn does_no_more(one: &Grant, other: &Grant) -> bool {
    let (less, more) = (limits(one), limits(other));
    let is_lower = less.iter().zip(more).all(|(less, more)| *less <= more);
    is_lower && deeds(one).is_subset(&deeds(other))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn covering_is_a_partial_order((a, b) in neighbours(), c in grants(), few in any::<u16>()) {
        let c = differing(&b, &c, few);
        prop_assert!(covers(&a, &a));
        if covers(&a, &b) && covers(&b, &c) {
            prop_assert!(covers(&a, &c));
        }
    }

    #[test]
    fn what_is_covered_does_no_more((a, b) in neighbours()) {
        if covers(&a, &b) {
            prop_assert!(does_no_more(&b, &a), "{b:?} within {a:?}");
        }
    }

    #[test]
    fn no_change_adds_to_what_both_have(
        (own, before) in neighbours(),
        after in grants(),
        (few, is_near_own) in any::<(u16, bool)>(),
    ) {
        let after = differing(if is_near_own { &own } else { &before }, &after, few & 0b1_0011);
        // The change itself, judged by what can be done rather than by the fields.
        let is_less = does_no_more(&after, &before);
        if Authority::Itself(&own).check(Some(&own), Some(&after)).is_ok() {
            prop_assert!(does_no_more(&after, &own));
        }
        if Authority::Account(&own).check(Some(&before), Some(&after)).is_ok() && !is_less {
            prop_assert!(does_no_more(&after, &own));
            prop_assert!(!own.is_limited() || !after.has(Scope::Run));
        }
        if Authority::Account(&own).check(None, Some(&after)).is_ok() {
            prop_assert!(does_no_more(&after, &own));
            prop_assert!(own.has(Scope::Keys) && !(own.is_limited() && after.has(Scope::Run)));
        }
        for before in [None, Some(&before)] {
            let done = Authority::Operator(&own).check(before, Some(&after));
            if done.is_ok() && after.has(Scope::Admin) && !(before.is_some() && is_less) {
                prop_assert!(does_no_more(&after, &own));
            }
        }
    }

    #[test]
    fn an_operators_key_is_for_operators(own in grants(), before in grants(), after in grants()) {
        let after = Some(after).filter(|after| !after.sandbox);
        let done = Authority::Account(&own).check(Some(&before), after.as_ref());
        if before.has(Scope::Admin) && !own.has(Scope::Admin) {
            prop_assert_eq!(done, Err(Denied::Scope));
        }
        if !own.has(Scope::Admin) {
            let done = Authority::Operator(&own).check(Some(&before), after.as_ref());
            prop_assert_eq!(done, Err(Denied::Scope));
        }
        let done = Authority::CommandLine.check(Some(&before), after.as_ref());
        prop_assert_eq!(done, Ok(()));
    }

    #[test]
    fn arbitrary_bodies_never_panic(name in "\\PC*", number in any::<f64>(), text in "\\PC*") {
        for field in FIELDS {
            for value in [json!(name), json!(number), json!([text]), json!({"a": text})] {
                let mut body = json!({});
                body[field] = value;
                let _ = Wish::read(&CATALOGUE, &body, 0);
            }
        }
    }
}

const FIELDS: [&str; 10] = [
    "name",
    "scopes",
    "models",
    "expires_at",
    "sandbox",
    "ip_whitelist",
    "rate_limit_rpm",
    "rate_limit_tph",
    "rate_limit_tpd",
    "daily_credit_limit",
];

#[test]
fn nothing_that_is_said_changes_nothing_and_null_takes_away() {
    let full = json!({
        "name": "k", "scopes": ["run"], "models": ["image_generate.imagen_4"],
        "expires_at": "2999-01-01T00:00:00Z", "sandbox": true, "ip_whitelist": ["10.0.0.1"],
        "rate_limit_rpm": 1, "rate_limit_tph": 2, "rate_limit_tpd": 3, "daily_credit_limit": 4,
    });
    let wish = |body: &Value| Wish::read(&CATALOGUE, body, 0).unwrap();
    let maker = Grant::account("maker");
    let full = wish(&full).of_new(&maker).unwrap();
    assert_eq!(wish(&json!({})).of_changed(&full).unwrap(), full);
    for field in FIELDS {
        let mut body = json!({});
        body[field] = Value::Null;
        let changed = wish(&body).of_changed(&full);
        let is_always_there = ["name", "scopes", "sandbox"].contains(&field);
        match changed {
            Err(invalid) => assert!(is_always_there && invalid.param == field),
            Ok(changed) => {
                assert!(!is_always_there, "{field}");
                assert_ne!(changed, full, "{field}");
                assert!(
                    covers(&changed, &full) && !covers(&full, &changed),
                    "{field}"
                );
            }
        }
        // A new key has nothing yet that could be taken away: it is as its maker is.
        if field != "name" {
            body["name"] = json!("k");
            let made = wish(&body).of_new(&full).unwrap();
            assert_eq!(made, full, "{field}");
        }
    }
}
