//! That every series is there, and counts.

use super::*;

#[test]
fn every_series_is_there_before_anything_is_counted() {
    let text = Metrics::new(["kie", "sandbox"], Vec::new()).render();
    for line in [
        "routerbase_tasks_ended_total{end=\"moderated\"} 0",
        "routerbase_attempts_total{provider=\"kie\",state=\"unknown\"} 0",
        "routerbase_webhooks_total{provider=\"kie\",result=\"nudge\"} 0",
        "routerbase_orphan_works_total{provider=\"kie\"} 0",
        "routerbase_late_successes_total{provider=\"other\"} 0",
        "routerbase_callbacks_total{result=\"delivered\"} 0",
        "routerbase_mails_total{result=\"sent\"} 0",
        "routerbase_worker_steps 0",
        "routerbase_poll_lag_seconds_count 0",
        "routerbase_commit_operations_count 0",
        "routerbase_commit_seconds_count 0",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
}

#[test]
fn what_is_counted_shows() {
    let metrics = Metrics::new(["kie"], vec![Box::new(Program { began_ms: 1_500 })]);
    metrics.ended("not an end");
    metrics.ended(domain::task::ErrorKind::MediaLost.as_str());
    metrics.attempt("kie", "done");
    metrics.attempt("nobody", "done");
    metrics.webhook("kie", "receipt");
    metrics.orphan_work("kie");
    metrics.late_success("kie");
    metrics.callback("gone");
    metrics.mail("refused");
    let step = metrics.step();
    metrics.poll_lag_ms(-5);
    metrics.commit(3, std::time::Duration::from_millis(2));
    let text = metrics.render();
    for line in [
        "routerbase_tasks_ended_total{end=\"media_lost\"} 1",
        "routerbase_tasks_ended_total{end=\"other\"} 1",
        "process_start_time_seconds 1.5",
        concat!(
            "routerbase_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\"} 1"
        ),
        "routerbase_attempts_total{provider=\"kie\",state=\"done\"} 1",
        "routerbase_attempts_total{provider=\"other\",state=\"done\"} 1",
        "routerbase_webhooks_total{provider=\"kie\",result=\"receipt\"} 1",
        "routerbase_orphan_works_total{provider=\"kie\"} 1",
        "routerbase_late_successes_total{provider=\"kie\"} 1",
        "routerbase_callbacks_total{result=\"gone\"} 1",
        "routerbase_mails_total{result=\"refused\"} 1",
        "routerbase_worker_steps 1",
        "routerbase_poll_lag_seconds_bucket{le=\"0.005\"} 1",
        "routerbase_commit_operations_bucket{le=\"4\"} 1",
        "routerbase_commit_seconds_sum 0.002",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    drop(step);
    assert!(metrics.render().contains("routerbase_worker_steps 0"));
    assert!(!text.contains("process_resident_memory_bytes 0"), "{text}");
}
