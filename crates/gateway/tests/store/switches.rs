//! The switches: turned on several nodes at once, none undone unseen.

use domain::switches::{Feature, Maintenance, Switches, Turns};
use futures_util::future::join_all;
use gateway::store::audit::{Action, AuditFilter};

use crate::fixture::act;
use crate::support::{NOW_MS, stores};

fn off(model: &str) -> Turns {
    Turns {
        models: [(model.to_owned(), false)].into(),
        ..Turns::default()
    }
}

#[tokio::test]
async fn everything_is_on_at_first_and_stays_as_it_is_turned() {
    for db in stores().await {
        let twin = db.twin().await;
        let first = db.store.any_switches().await;
        assert_eq!(first, Ok(Switches::default()), "{}", db.name);
        let features = Turns {
            features: [("chat".to_owned(), false)].into(),
            providers: [("kie".to_owned(), false)].into(),
            ..Turns::default()
        };
        let turned = db.store.any_turn_switches(features, act()).await.unwrap();
        assert_eq!(twin.any_switches().await, Ok(turned.clone()));
        assert!(!turned.has(Feature::Chat) && turned.has(Feature::Image));
        assert!(!turned.has_provider("kie") && turned.has_provider("fal"));
        let maintenance = |since_ms, message: &str| {
            Some(Maintenance {
                message: Some(message.to_owned()),
                since_ms,
            })
        };
        let set = |maintenance| db.store.any_set_maintenance(maintenance, act());
        set(maintenance(NOW_MS, "one")).await.unwrap();
        let second = set(maintenance(NOW_MS + 9, "two")).await.unwrap();
        assert_eq!(second.maintenance, maintenance(NOW_MS, "two"));
        assert!(!second.has(Feature::Chat), "another switch is not touched");
        let none = set(None).await.unwrap();
        assert_eq!(none, turned);
    }
}

#[tokio::test]
async fn turns_on_several_nodes_are_all_kept_and_told() {
    for db in stores().await {
        let twin = db.twin().await;
        let nodes = [&db.store, &twin];
        let models: Vec<_> = (0..6).map(|n| format!("a.model_{n}")).collect();
        let turns = models
            .iter()
            .enumerate()
            .map(|(n, model)| nodes[n % 2].any_turn_switches(off(model), act()));
        for turned in join_all(turns).await {
            turned.unwrap();
        }
        let switches = db.store.any_switches().await.unwrap();
        assert!(switches.models_off().eq(models.iter()), "{}", db.name);
        let filter = AuditFilter {
            action: Some(Action::FeaturesSet),
            limit: 100,
            ..AuditFilter::default()
        };
        let lines = db.store.any_audit(&filter).await.unwrap();
        assert_eq!(lines.len(), models.len());
        for line in lines {
            let (before, after) = (line.before.unwrap(), line.after.unwrap());
            assert_ne!(before, after, "each was told as it was turned");
        }
    }
}
