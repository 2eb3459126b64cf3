//! The audit log: in the transaction of what it tells of, and only ever added to.

use std::path::Path;

use domain::ids::AuditId;
use domain::switches::Turns;
use gateway::store::audit::{Act, Action, Actor, AuditFilter};

use crate::fixture::{act, actor_of, by_hand, random, tenant};
use crate::support::{NOW_MS, stores};

/// Everything that could be done to rows of the log beside adding some.
const WRITES: [&str; 5] = [
    "UPDATE",
    "DELETE FROM",
    "DROP TABLE",
    "TRUNCATE",
    "REPLACE INTO",
];

#[test]
fn nothing_in_the_program_changes_or_removes_a_line() {
    let mut searched = 0;
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    search(&sources, &mut |text| {
        searched += 1;
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for write in WRITES {
            for quote in ["", "\""] {
                let found = format!("{write} {quote}audit");
                assert!(!text.contains(&found), "{found}");
            }
        }
    });
    assert!(searched > 50, "only {searched} files found");
}

fn search(folder: &Path, look: &mut impl FnMut(&str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            search(&path, look);
        } else if path
            .extension()
            .is_some_and(|ending| ending == "rs" || ending == "sql")
        {
            look(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[tokio::test]
async fn lines_are_found_by_account_and_action_newest_first() {
    for db in stores().await {
        let one = tenant(&db.store, 0).await;
        for n in 0..6 {
            let actor = match n % 2 {
                0 => Actor::Cli,
                _ => actor_of(&one),
            };
            let act = Act::new(actor, NOW_MS + n, &random());
            let done = db.store.any_turn_switches(Turns::default(), act).await;
            done.unwrap();
        }
        let read = |before: Option<AuditId>, limit| {
            let filter = AuditFilter {
                before,
                limit,
                ..AuditFilter::default()
            };
            let store = db.store.clone();
            async move { store.any_audit(&filter).await.unwrap() }
        };
        let all = read(None, 100).await;
        let times: Vec<_> = all.iter().map(|line| line.at_ms - NOW_MS).collect();
        assert_eq!(times, [5, 4, 3, 2, 1, 0], "{}", db.name);
        assert_eq!(all[1].actor, Actor::Cli);
        assert_eq!(all[0].actor, actor_of(&one));
        let mut paged = read(None, 4).await;
        let last = paged.last().unwrap().id.clone();
        paged.extend(read(Some(last), 4).await);
        assert_eq!(paged, all);
        let filter = AuditFilter {
            account: Some(one.account.clone()),
            action: Some(Action::FeaturesSet),
            limit: 100,
            ..AuditFilter::default()
        };
        assert_eq!(db.store.any_audit(&filter).await, Ok(vec![]));
    }
}

#[tokio::test]
async fn what_cannot_be_told_is_not_done() {
    for db in stores().await {
        by_hand(&db, "DROP TABLE audit").await;
        let turns = Turns {
            features: [("chat".to_owned(), false)].into(),
            ..Turns::default()
        };
        let done = db.store.any_turn_switches(turns, act()).await;
        assert!(done.is_err(), "{}", db.name);
        let switches = db.store.any_switches().await.unwrap();
        assert_eq!(switches, domain::switches::Switches::default());
    }
}
