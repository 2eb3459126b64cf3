//! Commands on the database.

use gateway::store::audit::{Actor, AuditFilter, AuditLine};
use gateway::store::{Access, Store};

use super::*;

#[test]
fn key_create_prints_only_the_key_and_works_beside_a_server() {
    let home = Home::new("key");
    let server = Server::start(&home);
    let (code, out, err) = home.run("key create --name laptop --account shop --credits 7.5");
    assert_eq!(code, 0, "{err}");
    let key = out.strip_suffix('\n').unwrap();
    assert!(domain::key::ApiKey::parse(key).is_some(), "{out}");
    assert!(
        err.contains("made the account shop with 7.5 credits"),
        "{err}"
    );
    assert!(home.ok("account show shop").contains("7.5 credits, 0 held"));
    // The account is there: nothing is given again.
    home.ok("key create --name phone --account shop --scopes read --sandbox");
    assert!(home.ok("account show shop").contains("7.5 credits, 0 held"));
    let line = "run image_generate.imagen_4 -p x --no-wait";
    let ran = server
        .ask(&home, line)
        .env("ROUTERBASE_API_KEY", key)
        .output();
    let (code, id, err) = said(ran.unwrap());
    assert_eq!(code, 0, "{err}");
    assert_eq!(id.trim().len(), 36, "{id}");
}

#[test]
fn a_key_is_judged_as_the_api_judges_it() {
    let home = Home::new("judged");
    let long = "x".repeat(101);
    for (line, what) in [
        ("key create --name x --scopes fly", "scopes"),
        ("key create --name x --models nothing.here", "models"),
        (&format!("key create --name {long}"), "name"),
        (&format!("key create --name x --account {long}"), "name"),
        (&format!("account create {long}"), "name"),
    ] {
        let (code, out, err) = home.run(line);
        assert_eq!((code, out.as_str()), (2, ""), "{line}: {err}");
        assert!(err.contains(what), "{line}: {err}");
    }
    assert_eq!(
        home.run("account show default").0,
        1,
        "no account is made for it"
    );
    let line = "key create --name n --scopes read,run,read --models image_generate.imagen_4";
    home.ok(line);
    let keys: serde_json::Value = serde_json::from_str(&home.ok("key list --json")).unwrap();
    assert_eq!(keys[0]["scopes"], serde_json::json!(["run", "read"]));
    let models = serde_json::json!(["image_generate.imagen_4"]);
    assert_eq!(keys[0]["models"], models);
}

#[test]
fn keys_are_listed_and_deleted() {
    let home = Home::new("keys");
    let first = home.ok("key create --name first --account shop");
    home.ok("key create --name second --account shop");
    let list = home.ok("key list --account shop");
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(
        !list.contains(first.trim()) && list.contains("second"),
        "{list}"
    );
    let id = domain::key::ApiKey::parse(first.trim())
        .unwrap()
        .id()
        .clone();
    assert_eq!(
        home.run(&format!("key delete {id}")).0,
        1,
        "of another account"
    );
    home.ok("key create --name third");
    assert_eq!(home.run(&format!("key delete {id}")).0, 1);
    home.ok(&format!("key delete {id} --account shop"));
    assert_eq!(home.run(&format!("key delete {id} --account shop")).0, 1);
    let list = home.ok("key list --account shop");
    assert!(!list.contains("first") && list.contains("second"), "{list}");
    assert_eq!(home.run("key list --account nobody").0, 1);
}

#[test]
fn accounts_are_listed_with_what_they_have() {
    let home = Home::new("accounts");
    home.ok("account create shop --credits 10");
    home.ok("account create agency");
    let list = home.ok("account list");
    let lines: Vec<Vec<_>> = list
        .lines()
        .map(|line| line.split_whitespace().skip(1).collect())
        .collect();
    assert_eq!(lines.len(), 3, "{list}");
    assert_eq!(lines[0], ["name", "credits", "held", "state"]);
    assert!(lines.contains(&vec!["shop", "10", "0"]), "{list}");
    assert!(lines.contains(&vec!["agency", "0", "0"]), "{list}");
    let json: serde_json::Value = serde_json::from_str(&home.ok("account list --json")).unwrap();
    let accounts = json.as_array().unwrap();
    let shop = accounts.iter().find(|one| one["name"] == "shop").unwrap();
    assert_eq!(
        (&shop["credits"], &shop["suspended"]),
        (&10.into(), &false.into())
    );
}

#[test]
fn a_correction_is_one_either_way() {
    let home = Home::new("adjust");
    home.ok("account create shop --credits 10");
    let grant = "credit grant --account shop --reference r --credits";
    assert_eq!(home.ok(&format!("{grant} 2 --adjust")), "12\n");
    // A gift of the same reference is something else, and the same correction is not made twice.
    assert_eq!(home.ok(&format!("{grant} 2")), "14\n");
    assert_eq!(home.ok(&format!("{grant} 2 --adjust")), "14\n");
    assert_eq!(home.run(&format!("{grant} -3 --adjust")).0, 1);
    let other = "credit grant --account shop --credits=-4 --adjust --reference s";
    assert_eq!(home.ok(other), "10\n");
    assert_eq!(home.ok("ledger check"), "ok: 1 accounts, 4 entries\n");
}

#[test]
fn commands_are_audited() {
    let home = Home::new("audit");
    let _server = Server::start(&home);
    home.ok("account create shop --credits 5");
    let key = home.ok("key create --name operator --scope admin --account operators");
    home.ok("credit grant --account shop --credits 2 --reference r");
    home.ok("credit grant --account shop --credits 2 --reference r");
    let id = domain::key::ApiKey::parse(key.trim()).unwrap().id().clone();
    home.ok(&format!("key delete {id} --account operators"));
    let lines = audited(&home);
    let actions: Vec<_> = lines.iter().map(|line| line.action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "key.delete",
            "credits.grant",
            "key.create",
            "account.create",
            "account.create",
            "account.create"
        ]
    );
    let (first, commands) = lines.split_last().unwrap();
    assert_eq!(first.actor, Actor::Bootstrap);
    assert!(commands.iter().all(|line| line.actor == Actor::Cli));
    assert_eq!(commands[0].subject, id.as_str());
}

/// The audit log, newest first.
fn audited(home: &Home) -> Vec<AuditLine> {
    let url = format!("sqlite://{}/data/routerbase.db", home.0.display());
    let filter = AuditFilter {
        limit: 100,
        ..AuditFilter::default()
    };
    let read = async {
        let store = Store::open(&url, Access::Beside, 0).await.unwrap();
        store.any_audit(&filter).await.unwrap()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(read)
}

#[test]
fn migrate_can_be_run_twice() {
    let home = Home::new("migrate");
    assert!(home.ok("migrate").starts_with("applied 1\n"));
    assert_eq!(home.ok("migrate"), "up to date\n");
}

#[test]
fn credits_are_granted_once_for_a_reference_and_the_ledger_adds_up() {
    let home = Home::new("credit");
    assert!(
        home.ok("account create shop --credits 10")
            .starts_with("acc_")
    );
    assert_eq!(home.run("account create shop").0, 1);
    let grant = "credit grant --account shop --credits 2.5 --reference invoice-1";
    assert_eq!(home.ok(grant), "12.5\n");
    let (code, out, err) = home.run(grant);
    assert_eq!((code, out.as_str()), (0, "12.5\n"));
    assert!(err.contains("before"), "{err}");
    assert_eq!(
        home.ok("credit grant --account shop --credits -12"),
        "0.5\n"
    );
    assert_eq!(home.run("credit grant --account shop --credits -1").0, 1);
    assert_eq!(home.run("credit grant --account nobody --credits 1").0, 1);
    assert_eq!(home.run("credit grant --account shop --credits 0").0, 2);
    assert_eq!(home.run("credit grant --account shop --credits much").0, 2);
    assert_eq!(home.ok("ledger check"), "ok: 1 accounts, 3 entries\n");
}

#[test]
fn wrong_settings_start_nothing_and_are_told_together() {
    let home = Home::new("settings");
    std::fs::write(
        home.0.join("routerbase.toml"),
        "[server]\nlisten = \"nowhere\"\nlisen = 1\n",
    )
    .unwrap();
    for line in ["serve", "key create --name x", "migrate", "ledger check"] {
        let mut command = home.command(line);
        let output = command.env("ROUTERBASE_SEVER__LISTEN", "x").output();
        let (code, out, err) = said(output.unwrap());
        assert_eq!((code, out.as_str()), (2, ""), "{line}: {err}");
        for place in [
            "routerbase.toml:2",
            "routerbase.toml:3",
            "ROUTERBASE_SEVER__LISTEN",
        ] {
            assert!(err.contains(place), "{line}: {err}");
        }
    }
    assert!(!home.0.join("data").exists());
    let (code, out, _) = home.run("doctor");
    assert_eq!(code, 2);
    assert_eq!(out.matches("fail  settings").count(), 2, "{out}");
    assert_eq!(home.run("migrate --config nowhere.toml").0, 2);
    home.ok("--help");
}

#[test]
fn the_printed_defaults_can_be_used() {
    let home = Home::new("config");
    let defaults = home.ok("config");
    std::fs::write(home.0.join("all.toml"), defaults).unwrap();
    home.ok("migrate --config all.toml");
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_to_do() {
    let home = Home::new("doctor");
    let out = home.ok("doctor");
    assert!(out.contains("warn  database"), "{out}");
    home.ok("migrate");
    let out = home.ok("doctor");
    assert!(out.contains("ok    database"), "{out}");
    assert!(out.contains("ok    media"), "{out}");
    assert!(out.contains("ok    catalogue"), "{out}");
    let models = home.0.join("overlay/models");
    std::fs::create_dir_all(&models).unwrap();
    std::fs::write(models.join("broken.toml"), "id = 1\n").unwrap();
    let mut command = home.command("doctor");
    command
        .env("ROUTERBASE_CATALOGUE__FOLDER", "overlay")
        .env(
            "ROUTERBASE_DATABASE__URL",
            "postgres://u:hush@127.0.0.1:1/rb",
        )
        .env("ROUTERBASE_MEDIA__URL", "file:///proc/nowhere");
    let (code, out, err) = said(command.output().unwrap());
    assert_eq!(code, 1, "{out}{err}");
    for subject in ["fail  catalogue", "fail  database", "fail  media"] {
        assert!(out.contains(subject), "{out}");
    }
    assert!(out.contains("-> ") && !out.contains("hush"), "{out}");
}

#[test]
fn the_printed_document_is_openapi() {
    let home = Home::new("openapi");
    let document: serde_json::Value = serde_json::from_str(&home.ok("openapi")).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    assert!(document["paths"]["/api/v1/run/{model_id}"]["post"].is_object());
}
