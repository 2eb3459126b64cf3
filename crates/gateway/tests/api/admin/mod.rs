//! The operator's endpoints.

mod accounts;
mod audit;
mod credits;
mod keys;
mod switches;

use domain::ids::AccountId;
use serde_json::Value;

use crate::client::{Call, Reply};
use crate::world::World;

/// A gateway and whoever operates it.
struct Operated {
    world: World,
    key: String,
}

impl Operated {
    async fn new() -> Self {
        let world = World::new().await;
        let key = world.operator().await;
        Self { world, key }
    }

    fn call(&self, verb: &str, path: &str) -> Call {
        let path = format!("/api/v1/admin/{path}");
        Call::new(self.world.address, verb, &path).key(&self.key)
    }

    async fn get(&self, path: &str) -> Reply {
        self.call("GET", path).send().await
    }

    async fn post(&self, path: &str, body: Value) -> Reply {
        self.call("POST", path).json(&body).send().await
    }

    async fn put(&self, path: &str, body: Value) -> Reply {
        self.call("PUT", path).json(&body).send().await
    }

    async fn delete(&self, path: &str) -> Reply {
        self.call("DELETE", path).send().await
    }

    /// The path of the tenant's account.
    fn tenant(&self) -> String {
        format!("accounts/{}", self.world.account)
    }

    /// Everything of a list, page after page.
    async fn all(&self, path: &str, limit: i64) -> Vec<Value> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        let separator = if path.contains('?') { '&' } else { '?' };
        loop {
            let part = format!("{path}{separator}limit={limit}&cursor={cursor}");
            let page = self.get(&part).await.ok();
            let things = page["data"].as_array().unwrap();
            assert!(i64::try_from(things.len()).unwrap() <= limit);
            all.extend(things.iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => return all,
            }
        }
    }
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap()
}

fn account(value: &Value) -> AccountId {
    AccountId(text(value, "id").to_owned())
}
