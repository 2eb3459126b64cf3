//! That every series is there, and counts.

use super::*;

#[test]
fn every_series_is_there_before_anything_is_counted() {
    let text = Metrics::new(["kie", "sandbox"]).render();
    for line in [
        "routerbase_http_requests_total{route=\"openai\",status=\"5xx\"} 0",
        "routerbase_submits_admitted_total 0",
        "routerbase_submits_refused_total{type=\"rate_limited\"} 0",
        "routerbase_tasks_ended_total{end=\"moderated\"} 0",
        "routerbase_attempts_total{provider=\"kie\",state=\"unknown\"} 0",
        "routerbase_callbacks_total{result=\"delivered\"} 0",
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
    let metrics = Metrics::new(["kie"]);
    for class in RouteClass::ALL {
        metrics.request(class, 200);
    }
    metrics.request(RouteClass::Unknown, 404);
    metrics.admitted();
    metrics.refused("not a type");
    metrics.ended(domain::task::ErrorKind::MediaLost.as_str());
    metrics.attempt("kie", "done");
    metrics.attempt("nobody", "done");
    metrics.callback("gone");
    let step = metrics.step();
    metrics.poll_lag_ms(-5);
    metrics.commit(3, std::time::Duration::from_millis(2));
    let text = metrics.render();
    for line in [
        "routerbase_http_requests_total{route=\"submit\",status=\"2xx\"} 1",
        "routerbase_http_requests_total{route=\"unknown\",status=\"2xx\"} 1",
        "routerbase_http_requests_total{route=\"unknown\",status=\"4xx\"} 1",
        "routerbase_submits_admitted_total 1",
        "routerbase_submits_refused_total{type=\"other\"} 1",
        "routerbase_tasks_ended_total{end=\"media_lost\"} 1",
        "routerbase_attempts_total{provider=\"kie\",state=\"done\"} 1",
        "routerbase_attempts_total{provider=\"other\",state=\"done\"} 1",
        "routerbase_callbacks_total{result=\"gone\"} 1",
        "routerbase_worker_steps 1",
        "routerbase_poll_lag_seconds_bucket{le=\"0.005\"} 1",
        "routerbase_commit_operations_bucket{le=\"4\"} 1",
        "routerbase_commit_seconds_sum 0.002",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    drop(step);
    assert!(metrics.render().contains("routerbase_worker_steps 0"));
    assert!(
        !metrics
            .render()
            .contains("process_resident_memory_bytes 0\n")
    );
}
