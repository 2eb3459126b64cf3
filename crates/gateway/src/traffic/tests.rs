use std::collections::BTreeMap;

use domain::catalogue::{Rate, Route, SourceFile};
use domain::credits::Credits;
use domain::ids::{AccountId, KeyId};
use domain::price::Price;
use domain::task::Phase;
use serde_json::json;

use super::lane::ASK_AGAIN_MS;
use super::*;

const NOW_MS: i64 = 1_790_000_000_000;

fn catalogue(more: &str) -> Catalogue {
    let provider = |id: &str| SourceFile {
        path: format!("providers/{id}.toml"),
        text: format!(
            "id = \"{id}\"\nname = \"P\"\ndialect = \"sandbox\"\n\
             base_url = \"https://{id}.test\"\nsecret = \"KEY\"\n{more}"
        ),
    };
    Catalogue::load(&[provider("a"), provider("b")], &["sandbox"]).unwrap()
}

fn traffic(more: &str, a: &str, b: &str) -> Traffic {
    let pools = [("a", a), ("b", b)];
    let pools = pools.map(|(id, setting)| (id.to_owned(), Credential::pool(setting)));
    Traffic::new(&catalogue(more), &BTreeMap::from(pools))
}

fn task(n: u32) -> Task {
    let order = json!({
        "model": "image_generate.m", "modality": "image", "prompt": "a fox", "params": {},
    });
    let route = |provider: &str| Route {
        provider: provider.to_owned(),
        ..Route::sandbox("m")
    };
    Task {
        id: TaskId(format!("t{n}")),
        account: AccountId("acc".to_owned()),
        key: KeyId("key".to_owned()),
        order: serde_json::from_value(order).unwrap(),
        price: Price::per_run(Credits(1)),
        hold: Credits(1),
        is_metered: false,
        routes: vec![route("a"), route("b")],
        callback_url: None,
        metadata: BTreeMap::new(),
        phase: Phase::Queued { route: 0 },
        attempts: 0,
        misses: 0,
        progress: None,
        is_cancel_asked: false,
        created_ms: NOW_MS,
        updated_ms: NOW_MS,
        started_ms: None,
        finished_ms: None,
        deadline_ms: NOW_MS + 3_600_000,
        due_ms: NOW_MS,
        version: 1,
    }
}

/// Lets a task in with the first credential there is.
fn admit(traffic: &Traffic, n: u32, now_ms: i64) -> Result<Pass, i64> {
    traffic.admit(&task(n), 0, &|_| 0, now_ms)
}

fn rejected() -> Verdict {
    Verdict::Rejected {
        reason: "no such key".to_owned(),
    }
}

#[test]
fn weights_share_the_credentials() {
    let traffic = traffic("", "sk-1, sk-2*3", "sk-3");
    let mut passes = 0;
    let pool = Credential::pool("sk-1, sk-2*3");
    for drawn in 0..4 {
        let pass = traffic.admit(&task(1), 0, &|_| drawn, NOW_MS).unwrap();
        assert_eq!(pass.route, 0);
        passes += u32::from(pass.credential == pool[1].id);
    }
    assert_eq!(passes, 3);
}

#[test]
fn a_rejected_credential_is_parked_and_the_others_take_over() {
    let traffic = traffic("", "sk-1, sk-2", "sk-3");
    let first = admit(&traffic, 1, NOW_MS).unwrap();
    let id = first.credential.clone();
    first.judged(&rejected(), NOW_MS);
    let second = admit(&traffic, 1, NOW_MS).unwrap();
    assert_eq!(second.route, 0);
    assert_ne!(second.credential, id);
    second.judged(&rejected(), NOW_MS);
    let third = admit(&traffic, 1, NOW_MS).unwrap();
    assert_eq!(third.route, 1, "another provider");
    third.judged(&rejected(), NOW_MS);
    assert_eq!(admit(&traffic, 1, NOW_MS).unwrap_err(), i64::MAX);
    let states: BTreeMap<_, _> = traffic.states(NOW_MS).into_iter().collect();
    let parked = &states["a"].credentials[0];
    assert_eq!((parked.state, &parked.id), ("parked", &id));
    assert_eq!(parked.reason.as_deref(), Some("no such key"));
    let later_ms = parked.until_ms.unwrap();
    assert!(admit(&traffic, 1, later_ms).is_ok(), "it is tried again");
}

#[test]
fn a_throttled_credential_cools_down() {
    let traffic = traffic("", "sk-1", "sk-3");
    let throttled = Verdict::Throttled {
        for_ms: Some(7_000),
        reason: "slow down".to_owned(),
    };
    admit(&traffic, 1, NOW_MS)
        .unwrap()
        .judged(&throttled, NOW_MS);
    assert_eq!(admit(&traffic, 1, NOW_MS).unwrap().route, 1);
    let states: BTreeMap<_, _> = traffic.states(NOW_MS).into_iter().collect();
    assert_eq!(states["a"].credentials[0].state, "cooling");
    assert_eq!(admit(&traffic, 1, NOW_MS + 7_000).unwrap().route, 0);
}

#[test]
fn a_provider_that_cannot_be_reached_is_passed_over_and_tried_by_one() {
    let traffic = traffic("", "sk-1", "sk-3");
    for n in 0..5 {
        let pass = admit(&traffic, n, NOW_MS).unwrap();
        assert_eq!(pass.route, 0);
        pass.judged(&Verdict::Unreachable, NOW_MS);
    }
    assert_eq!(admit(&traffic, 9, NOW_MS).unwrap().route, 1);
    let states: BTreeMap<_, _> = traffic.states(NOW_MS).into_iter().collect();
    let until_ms = states["a"].unreachable_until_ms.unwrap();
    let trying = admit(&traffic, 9, until_ms).unwrap();
    assert_eq!(trying.route, 0);
    assert_eq!(admit(&traffic, 10, until_ms).unwrap().route, 1, "one try");
    drop(trying);
    let again = admit(&traffic, 9, until_ms).unwrap();
    assert_eq!(again.route, 0, "a try that came to nothing is none");
    again.judged(&Verdict::Served, until_ms);
    assert_eq!(admit(&traffic, 11, until_ms).unwrap().route, 0);
}

#[test]
fn answers_without_use_close_the_way_for_that_model_only() {
    let traffic = traffic("", "sk-1", "sk-3");
    for n in 0..5 {
        let pass = admit(&traffic, n, NOW_MS).unwrap();
        pass.judged(&Verdict::Faulty, NOW_MS);
    }
    assert_eq!(admit(&traffic, 9, NOW_MS).unwrap().route, 1);
    let mut other = task(10);
    other.order.model = "image_generate.other".to_owned();
    assert_eq!(traffic.admit(&other, 0, &|_| 0, NOW_MS).unwrap().route, 0);
    let states: BTreeMap<_, _> = traffic.states(NOW_MS).into_iter().collect();
    assert_eq!(states["a"].breakers.len(), 1);
}

#[test]
fn what_is_beyond_the_slots_waits_and_is_called() {
    let traffic = traffic("concurrency = 1", "sk-1", "");
    let mut pass = admit(&traffic, 1, NOW_MS).unwrap();
    pass.opened();
    pass.judged(&Verdict::Served, NOW_MS);
    let until_ms = admit(&traffic, 2, NOW_MS).unwrap_err();
    assert_eq!(until_ms, NOW_MS + ASK_AGAIN_MS);
    assert!(admit(&traffic, 3, NOW_MS).is_err());
    assert!(traffic.has_waiting());
    // The store counts the one that is open.
    let open = BTreeMap::from([("a".to_owned(), 1)]);
    assert_eq!(traffic.counted(&open, NOW_MS), []);
    assert_eq!(traffic.ended("a", NOW_MS), [TaskId("t2".to_owned())]);
    assert!(admit(&traffic, 3, NOW_MS).is_err(), "not its turn");
    // A pass that comes to nothing gives the slot back.
    drop(admit(&traffic, 2, NOW_MS).unwrap());
    let none = BTreeMap::new();
    assert_eq!(traffic.counted(&none, NOW_MS), [TaskId("t3".to_owned())]);
    assert!(admit(&traffic, 3, NOW_MS).is_ok());
    assert!(!traffic.has_waiting());
}

#[test]
fn a_rate_gives_each_its_moment() {
    let traffic = traffic("rate = { creates = 2, seconds = 10 }", "sk-1", "");
    let place = |n: u32, now_ms| admit(&traffic, n, now_ms).map(drop);
    assert_eq!(place(1, NOW_MS), Ok(()));
    assert_eq!(place(2, NOW_MS), Ok(()));
    let third_ms = place(3, NOW_MS).unwrap_err();
    assert!(third_ms >= NOW_MS + 10_000);
    assert_eq!(place(4, NOW_MS), Err(third_ms));
    let fifth_ms = place(5, NOW_MS).unwrap_err();
    assert!(fifth_ms >= third_ms + 10_000);
    assert_eq!(place(9, third_ms).map_err(|ms| ms >= fifth_ms), Err(true));
    assert_eq!(place(3, third_ms), Ok(()), "its place was kept");
    let rate = catalogue("rate = { creates = 2, seconds = 10 }");
    let rate = rate.provider("a").unwrap().rate;
    assert_eq!(
        rate,
        Some(Rate {
            creates: 2,
            per_ms: 10_000
        })
    );
}

#[test]
fn the_sandbox_is_never_left_alone() {
    let traffic = traffic("", "", "");
    let mut sandboxed = task(1);
    sandboxed.routes = vec![Route::sandbox("m")];
    for _ in 0..20 {
        let pass = traffic.admit(&sandboxed, 0, &|_| 0, NOW_MS).unwrap();
        pass.judged(&Verdict::Faulty, NOW_MS);
    }
    assert!(traffic.states(NOW_MS).iter().all(|(id, _)| id != SANDBOX));
}
