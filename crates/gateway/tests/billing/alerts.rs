//! Balances that fall below a threshold, and the mails that say so.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use domain::credits::Credits;
use domain::ids::{AccountId, AlertId};
use futures_util::future::join_all;
use gateway::alerts::{Alerts, Login, MailSettings, Post, Tls};
use gateway::clock::Clock;
use gateway::metrics::Metrics;
use gateway::store::Store;
use gateway::store::accounts::Grant;
use gateway::store::alerts::{Alert, AlertState};
use tokio_util::sync::CancellationToken;

use crate::fixture::{random, tenant};
use crate::smtp::{MailServer, Security, Taken};
use crate::support::{NOW_MS, TestStore, stores};

const HOUR_MS: i64 = 3_600_000;

/// An account with a clock that is moved by hand.
struct Bench {
    db: TestStore,
    account: AccountId,
    metrics: Metrics,
    clock: Clock,
    hand: Arc<AtomicI64>,
}

async fn benches(credits: i64) -> Vec<Bench> {
    let mut benches = Vec::new();
    for db in stores().await {
        let account = tenant(&db.store, credits).await.account;
        let (clock, hand) = Clock::manual(NOW_MS);
        benches.push(Bench {
            db,
            account,
            metrics: Metrics::default(),
            clock,
            hand,
        });
    }
    benches
}

fn settings(server: &MailServer) -> MailSettings {
    MailSettings {
        host: "localhost".to_owned(),
        port: server.address.port(),
        tls: Tls::Never,
        roots: Vec::new(),
        login: None,
        from: "Billing <billing@example.com>".parse().unwrap(),
        public_url: "https://ai.example.com".to_owned(),
    }
}

impl Bench {
    async fn alert(&self, threshold: i64) -> AlertId {
        let alert = Alert {
            id: AlertId::mint(&random()),
            threshold: Credits(threshold),
            email: "finance@example.org".to_owned(),
            state: AlertState::Armed,
            sent_ms: None,
            created_ms: NOW_MS,
        };
        let made = self.db.store.create_alert(&self.account, &alert).await;
        assert_eq!(made, Ok(true));
        alert.id
    }

    /// A node that sends as these settings say.
    fn node(&self, store: &Store, settings: MailSettings) -> Alerts {
        let post = Post::new(settings).unwrap();
        let (clock, metrics) = (self.clock.clone(), self.metrics.clone());
        Alerts::new(store.clone(), post, clock, metrics, 1)
    }

    async fn round(&self, settings: MailSettings) {
        let node = self.node(&self.db.store, settings);
        look(&node).await;
    }

    async fn adjust(&self, micros: i64) {
        let reference = hex::encode(random::<8>());
        let credits = Credits(micros);
        let store = &self.db.store;
        let done = store.grant(&self.account, Grant::Adjust, credits, &reference, NOW_MS);
        done.await.unwrap();
    }

    fn pass(&self, ms: i64) {
        self.hand.fetch_add(ms, Ordering::AcqRel);
    }

    async fn state(&self) -> AlertState {
        self.db.store.alerts(&self.account).await.unwrap()[0].state
    }

    fn counted(&self, result: &str) -> u64 {
        let page = self.metrics.render();
        let series = format!("routerbase_mails_total{{result=\"{result}\"}} ");
        let mut lines = page.lines();
        let line = lines.find_map(|line| line.strip_prefix(&series));
        line.unwrap().parse().unwrap()
    }
}

async fn look(node: &Alerts) {
    let stop = CancellationToken::new();
    node.round(&mut String::new(), &stop).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_goes_out_once_for_each_crossing() {
    for bench in benches(12_500_000).await {
        let server = MailServer::start(Security::Plain).await;
        let id = bench.alert(10_000_000).await;
        let again = || bench.round(settings(&server));
        again().await;
        assert_eq!(server.taken(), [], "{}", bench.db.name);
        bench.adjust(-2_700_000).await;
        for _ in 0..3 {
            again().await;
        }
        let [first] = &server.taken()[..] else {
            panic!("{}: {:?}", bench.db.name, server.taken());
        };
        assert_eq!(first.from, "MAIL FROM:<billing@example.com>");
        assert_eq!(first.to, ["RCPT TO:<finance@example.org>"]);
        for (name, value) in [
            ("From", "Billing <billing@example.com>"),
            ("To", "finance@example.org"),
            ("Subject", "Balance below 10 credits"),
            ("Message-ID", &format!("<{id}.1@example.com>")),
            ("Date", "Fri, 15 Jan 2027 08:00:00 +0000"),
            ("Auto-Submitted", "auto-generated"),
        ] {
            assert_eq!(first.header(name), value);
        }
        for part in [
            "The balance of the account account ",
            " is below 10 credits:\n9.8 credits could be spent at 2027-01-15T08:00:00.000Z.\n",
            &format!("Gateway: https://ai.example.com\nAlert: {id}\n"),
        ] {
            assert!(first.text.contains(part), "{part}\n{}", first.text);
        }
        bench.adjust(200_000).await;
        again().await;
        assert_eq!(bench.state().await, AlertState::Armed);
        bench.adjust(-1).await;
        again().await;
        again().await;
        let taken = server.taken();
        assert_eq!(taken.len(), 2, "{}", bench.db.name);
        let second = format!("<{id}.2@example.com>");
        assert_eq!(taken[1].header("Message-ID"), second);
        assert_eq!(bench.counted("sent"), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_look_at_once_send_each_mail_once() {
    for bench in benches(5).await {
        let server = MailServer::start(Security::Plain).await;
        let mut wanted = Vec::new();
        for threshold in 6..16 {
            let id = bench.alert(threshold).await;
            wanted.push(format!("<{id}.1@example.com>"));
        }
        let twin = bench.db.twin().await;
        let nodes: Vec<_> = [&bench.db.store, &twin, &bench.db.store, &twin]
            .into_iter()
            .map(|store| bench.node(store, settings(&server)))
            .collect();
        join_all(nodes.iter().map(look)).await;
        // One that looked before another had tripped leaves the rest to the next round.
        look(&nodes[0]).await;
        let taken = server.taken();
        let mut ids: Vec<_> = taken
            .iter()
            .map(|mail| mail.header("Message-ID").to_owned())
            .collect();
        ids.sort();
        wanted.sort();
        assert_eq!(ids, wanted, "{}", bench.db.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_work_later_is_tried_later() {
    for bench in benches(5).await {
        let server = MailServer::start(Security::Plain).await;
        let id = bench.alert(6).await;
        let again = || bench.round(settings(&server));
        // Nobody listens there.
        let mut nowhere = settings(&server);
        nowhere.port = 9;
        bench.round(nowhere).await;
        let trouble: [&[(&str, &str)]; 6] = [
            &[("", "421 4.3.2 not now")],
            &[("RCPT", "450 4.2.1 greylisted")],
            &[(".", "451 4.3.0 disk full")],
            &[("DATA", "")],
            &[("MAIL", "nonsense")],
            &[("", "")],
        ];
        for answers in trouble {
            again().await;
            assert_eq!(bench.state().await, AlertState::Due);
            // Not before it is time.
            server.answering(&[]);
            again().await;
            assert_eq!(server.taken(), [], "{}: {answers:?}", bench.db.name);
            server.answering(answers);
            bench.pass(8 * HOUR_MS);
            again().await;
        }
        server.answering(&[]);
        bench.pass(24 * HOUR_MS);
        again().await;
        let [mail] = &server.taken()[..] else {
            panic!("{}: {:?}", bench.db.name, server.taken());
        };
        // The same mail as at the first try.
        assert_eq!(mail.header("Message-ID"), format!("<{id}.1@example.com>"));
        assert_eq!(mail.header("Date"), "Fri, 15 Jan 2027 08:00:00 +0000");
        assert_eq!(bench.state().await, AlertState::Sent);
        assert_eq!((bench.counted("retry"), bench.counted("sent")), (7, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_for_good_is_given_up_until_the_next_crossing() {
    for bench in benches(5).await {
        let server = MailServer::start(Security::Plain).await;
        let id = bench.alert(6).await;
        let again = || bench.round(settings(&server));
        server.answering(&[("RCPT", "550 5.1.1 no such user")]);
        again().await;
        assert_eq!(bench.state().await, AlertState::Failed, "{}", bench.db.name);
        server.answering(&[]);
        bench.pass(100 * HOUR_MS);
        again().await;
        assert_eq!(server.taken(), []);
        bench.adjust(1).await;
        again().await;
        bench.adjust(-1).await;
        again().await;
        let taken = server.taken();
        let ids: Vec<_> = taken.iter().map(|mail| mail.header("Message-ID")).collect();
        assert_eq!(ids, [format!("<{id}.2@example.com>")], "{}", bench.db.name);
        assert_eq!((bench.counted("refused"), bench.counted("sent")), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stays_away_is_given_up_after_a_day() {
    for bench in benches(5).await {
        let server = MailServer::start(Security::Plain).await;
        server.answering(&[("", "421 4.3.2 not now")]);
        bench.alert(6).await;
        for _ in 0..12 {
            bench.round(settings(&server)).await;
            bench.pass(13 * HOUR_MS);
        }
        assert_eq!(bench.state().await, AlertState::Failed, "{}", bench.db.name);
        assert_eq!((bench.counted("retry"), bench.counted("exhausted")), (8, 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_whose_sender_died_is_sent_by_another() {
    for bench in benches(5).await {
        let server = MailServer::start(Security::Plain).await;
        let id = bench.alert(6).await;
        let looked = bench.db.store.any_look_at_alerts("", 10).await.unwrap();
        let turned = bench.db.store.any_turn_alerts(looked.turns, NOW_MS);
        assert_eq!(turned.await, Ok(1));
        let claimed = bench.db.store.any_claim_mails(10, NOW_MS).await.unwrap();
        assert_eq!(claimed.len(), 1);
        bench.round(settings(&server)).await;
        assert_eq!(server.taken(), []);
        bench.pass(61_000);
        bench.round(settings(&server)).await;
        let taken = server.taken();
        assert_eq!(taken.len(), 1, "{}", bench.db.name);
        assert_eq!(
            taken[0].header("Message-ID"),
            format!("<{id}.1@example.com>")
        );
    }
}

/// Sends one mail of a new bench on SQLite.
async fn sent(server: &MailServer, settings: MailSettings) -> (Vec<Taken>, AlertState) {
    let bench = benches(5).await.remove(0);
    bench.alert(6).await;
    bench.round(settings).await;
    (server.taken(), bench.state().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tls_the_login_and_the_mail_are_said_in_secret() {
    for (security, tls) in [
        (Security::StartTls, Tls::StartTls),
        (Security::Always, Tls::Always),
    ] {
        let server = MailServer::start(security).await;
        let settings = MailSettings {
            tls,
            roots: server.certificate.clone().into_bytes(),
            login: Some(Login {
                username: "billing".to_owned(),
                password: "hush".to_owned(),
            }),
            ..settings(&server)
        };
        let (taken, state) = sent(&server, settings).await;
        assert_eq!(state, AlertState::Sent, "{security:?}");
        assert!(taken[0].is_secure, "{security:?}");
        let login = hex::encode("\0billing\0hush");
        let said = taken[0].login.as_deref().unwrap();
        assert_eq!(hex::encode(decoded(said)), login);
        let heard = server.heard.lock().unwrap().join("\n");
        assert!(
            !heard.contains("AUTH") && !heard.contains("MAIL"),
            "{heard}"
        );
    }
}

fn decoded(text: &str) -> Vec<u8> {
    use base64::Engine;
    let engine = base64::engine::general_purpose::STANDARD;
    engine.decode(text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_tls_is_wanted_nothing_is_said_without_it() {
    for (security, tls, trusts) in [
        // A server, or somebody on the way, that does not offer it.
        (Security::Plain, Tls::StartTls, true),
        (Security::Plain, Tls::Always, true),
        // A certificate that nobody vouches for.
        (Security::StartTls, Tls::StartTls, false),
        (Security::Always, Tls::Always, false),
    ] {
        let server = MailServer::start(security).await;
        let mut settings = MailSettings {
            tls,
            ..settings(&server)
        };
        if trusts {
            settings.roots = server.certificate.clone().into_bytes();
        }
        let (taken, state) = sent(&server, settings).await;
        assert_eq!((taken, state), (vec![], AlertState::Due), "{security:?}");
        let heard = server.heard.lock().unwrap().join("\n");
        assert!(!heard.contains("MAIL"), "{heard}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_refused_is_the_operators_to_mend() {
    let server = MailServer::start(Security::Plain).await;
    server.answering(&[("AUTH", "535 5.7.8 wrong password")]);
    let settings = MailSettings {
        login: Some(Login {
            username: "billing".to_owned(),
            password: "wrong".to_owned(),
        }),
        ..settings(&server)
    };
    let shown = format!("{:?}", Post::new(settings.clone()).unwrap());
    assert!(!shown.contains("wrong"), "{shown}");
    let (taken, state) = sent(&server, settings).await;
    assert_eq!((taken, state), (vec![], AlertState::Due));
}
