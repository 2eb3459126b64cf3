//! The one text: every statement of the store is understood by both databases.

use std::path::Path;

use tokio_postgres::SimpleQueryMessage;

use crate::support::{TestStore, stores};

/// Fewer than the store has; far fewer means that they are not found any more.
const STATEMENTS_MIN: usize = 55;

/// What only PostgreSQL is asked.
const POSTGRES_ONLY: [&str; 3] = ["pg_", "= ANY(", "clock_timestamp"];

/// Starts of those that look at everything on purpose: the check of the ledger, and the count of
/// accounts at the start.
const CHECKS: [&str; 8] = [
    "SELECT (SELECT CAST(COUNT(*)",
    "SELECT CAST(COUNT(*) AS BIGINT) FROM accounts",
    "SELECT t.id FROM tasks t",
    "SELECT c.id FROM entries c",
    "SELECT h.id FROM entries h",
    "SELECT e.id FROM entries e",
    "SELECT a.id, a.posted, a.held",
    "SELECT a.id FROM accounts a WHERE a.tasks_active <>",
];

/// Indexes of what is open, and what a statement has found already.
const BOUNDED: [&str; 9] = [
    "tasks_queued",
    "tasks_moving",
    "tasks_leased",
    "tasks_parked",
    "notices_lanes",
    "attempts_busy",
    "SCAN lanes",
    "SCAN lines",
    "SCAN page",
];

/// Indexes of what is open in tables that keep what has ended.
const OPEN: [&str; 7] = [
    "tasks_queued",
    "tasks_turns",
    "tasks_moving",
    "tasks_leased",
    "tasks_parked",
    "notices_lanes",
    "alerts_due",
];

#[tokio::test]
async fn both_databases_understand_every_statement() {
    let statements = statements();
    assert!(
        statements.len() >= STATEMENTS_MIN,
        "only {} statements found",
        statements.len()
    );
    for db in stores().await {
        for statement in &statements {
            let is_for_postgres = POSTGRES_ONLY.iter().any(|word| statement.contains(word));
            if is_for_postgres && !db.store.is_shared() {
                continue;
            }
            let done = db.store.any_prepare(statement).await;
            assert_eq!(done, Ok(()), "{}: {statement}", db.name);
        }
    }
}

/// Tables grow and are not looked through: what is open has indexes that hold nothing else.
#[tokio::test]
async fn no_statement_walks_a_whole_table() {
    let db = TestStore::sqlite().await;
    let file = rusqlite::Connection::open(db.url.strip_prefix("sqlite://").unwrap()).unwrap();
    let mut walks = Vec::new();
    for statement in statements() {
        let is_check = CHECKS.iter().any(|start| statement.starts_with(start));
        let is_for_postgres = POSTGRES_ONLY.iter().any(|word| statement.contains(word));
        if is_check || is_for_postgres {
            continue;
        }
        let mut plan = file
            .prepare(&format!("EXPLAIN QUERY PLAN {statement}"))
            .unwrap();
        for index in 1..=plan.parameter_count() {
            plan.raw_bind_parameter(index, 1).unwrap();
        }
        let mut rows = plan.raw_query();
        while let Some(row) = rows.next().unwrap() {
            let step: String = row.get(3).unwrap();
            let is_walk = step.starts_with("SCAN ") && !step.starts_with("SCAN CONSTANT ROW");
            let is_bounded = BOUNDED.iter().any(|index| step.ends_with(index));
            if is_walk && !is_bounded {
                walks.push(format!("{step}: {statement}"));
            }
        }
    }
    assert!(walks.is_empty(), "{}", walks.join("\n"));
}

/// PostgreSQL plans a statement once, often before there is a row, when every way looks as short.
#[tokio::test]
async fn no_plan_of_an_empty_database_is_bad_for_a_full_one() {
    let db = TestStore::postgres().await;
    let connected = tokio_postgres::connect(&db.url, tokio_postgres::NoTls).await;
    let (client, connection) = connected.unwrap();
    gateway::spawn::detached("plans", async move { drop(connection.await) });
    let settings = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off";
    client.batch_execute(settings).await.unwrap();
    let mut bad = Vec::new();
    for (index, statement) in statements().into_iter().enumerate() {
        if CHECKS.iter().any(|start| statement.starts_with(start)) {
            continue;
        }
        let text = statement.replace("/* skip locked */", "FOR UPDATE SKIP LOCKED");
        let prepared = client.prepare(&text).await.unwrap();
        let values = match prepared.params().len() {
            0 => String::new(),
            count => format!("({})", vec!["NULL"; count].join(", ")),
        };
        let explain = format!(
            "PREPARE plan{index} AS {text}; EXPLAIN (COSTS OFF) EXECUTE plan{index}{values}"
        );
        let answers = client.simple_query(&explain).await.unwrap();
        let lines = answers.iter().filter_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        let plan: Vec<_> = lines.collect();
        if looks_through_what_is_open(&plan) {
            bad.push(format!("{statement}\n{}", plan.join("\n")));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n\n"));
}

/// Whether all that is open is read for a row that has an id, for each of some rows, or for the least.
fn looks_through_what_is_open(plan: &[&str]) -> bool {
    let reads_open = |line: &str| {
        OPEN.iter()
            .any(|index| line.contains(&format!("using {index}")))
    };
    let is_for_an_id = |line: &&str| line.contains("Filter: ") && line.contains("(id = ");
    let is_for_each = |line: &&str| line.contains("Join Filter: ") && line.contains("due.id");
    let is_walk = plan.windows(3).any(|lines| {
        let is_search = reads_open(lines[0]) && lines[1..].iter().any(is_for_an_id);
        is_search || (lines[0].ends_with("Aggregate") && reads_open(lines[1]))
    });
    is_walk || plan.iter().any(is_for_each)
}

/// Every constant of the store that holds a statement.
fn statements() -> Vec<&'static str> {
    let mut found = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    collect(&folder, &mut found);
    found
}

fn collect(folder: &Path, found: &mut Vec<&'static str>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            found.extend(constants(&source));
        }
    }
}

fn constants(source: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for (at, _) in source.match_indices(": &str =") {
        let Some(text) = source[at + ": &str =".len()..]
            .trim_start()
            .strip_prefix('"')
        else {
            continue;
        };
        let end = text.find('"').expect("a constant ends");
        let text = &text[..end];
        let verbs = ["SELECT ", "INSERT ", "UPDATE ", "DELETE ", "WITH "];
        if verbs.iter().any(|verb| text.starts_with(verb)) {
            assert!(!text.contains('\\'), "an escape is not read here: {text}");
            found.push(&*Box::leak(text.to_owned().into_boxed_str()));
        }
    }
    found
}
