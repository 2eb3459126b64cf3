//! Every endpoint of the document, with a key of each single scope.

use domain::key::{ApiKey, Grant, Scope};
use serde_json::Value;

use crate::client::{Call, Reply};
use crate::world::World;

/// An operation of the document: method, path with its variables filled in, and the scope it says it
/// demands; nothing for one that demands no key.
struct Documented {
    verb: String,
    path: String,
    scope: Option<Scope>,
}

fn documented() -> Vec<Documented> {
    let text = gateway::api::openapi().to_json().unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let mut found = Vec::new();
    for (path, calls) in document["paths"].as_object().unwrap() {
        for (verb, call) in calls.as_object().unwrap() {
            let ways = call["security"].as_array();
            let ways = ways.unwrap_or_else(|| panic!("{verb} {path} names no scope"));
            assert_eq!(ways.len(), 1, "{verb} {path}");
            let scope = ways[0].get("key").map(|words| {
                let words = words.as_array().unwrap();
                assert_eq!(words.len(), 1, "{verb} {path} names one scope");
                Scope::parse(words[0].as_str().unwrap()).unwrap()
            });
            found.push(Documented {
                verb: verb.to_uppercase(),
                path: path.replace(['{', '}'], ""),
                scope,
            });
        }
    }
    found
}

async fn call(world: &World, one: &Documented, key: Option<&str>) -> Reply {
    let call = Call::new(world.address, &one.verb, &one.path);
    let call = match key {
        Some(key) => call.key(key),
        None => call,
    };
    call.send().await
}

#[tokio::test]
async fn every_endpoint_demands_its_own_scope() {
    let world = World::new().await;
    let mut keys = Vec::new();
    for scope in Scope::ALL {
        let grant = Grant {
            scopes: vec![scope],
            ..Grant::account(scope.as_str())
        };
        keys.push((scope, world.new_key(&world.account, grant).await));
    }
    let all = documented();
    for scope in Scope::ALL {
        let is_demanded = all.iter().any(|one| one.scope == Some(scope));
        assert!(is_demanded, "{scope:?} is for nothing");
    }
    for one in &all {
        let (verb, path) = (&one.verb, &one.path);
        let is_open = one.scope.is_none();
        let bare = call(&world, one, None).await;
        assert_eq!(bare.status != 401, is_open, "{verb} {path} without a key");
        let forged = ApiKey::mint(&[7; 10], &[7; 24]).reveal().to_owned();
        let forged = call(&world, one, Some(&forged)).await;
        assert_eq!(forged.status != 401, is_open, "{verb} {path} forged");
        for (scope, key) in &keys {
            let reply = call(&world, one, Some(key)).await;
            let is_let_in = is_open || one.scope == Some(*scope);
            assert_eq!(reply.status != 401, is_let_in, "{verb} {path} {scope:?}");
            assert!(reply.status < 500, "{verb} {path} {scope:?}: {reply:?}");
            if !is_let_in {
                assert_eq!(reply.json()["message"], forged.json()["message"]);
            }
        }
    }
}

#[tokio::test]
async fn every_admin_endpoint_demands_the_operators_scope() {
    for one in documented() {
        let is_admin = one.path.starts_with("/api/v1/admin/");
        assert_eq!(
            is_admin,
            one.scope == Some(Scope::Admin),
            "{} {}",
            one.verb,
            one.path
        );
    }
}
