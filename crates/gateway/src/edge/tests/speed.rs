//! A constant answer to be measured from outside: the edge beside `axum::serve`.

use super::*;

/// `cargo test --release -p gateway edge::tests::speed -- --ignored`, then `wrk -t1 -c64` against
/// the two printed addresses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a bench: it serves for two minutes"]
async fn serve_both() {
    let router = || Router::new().route("/", get(|| async { "hello" }));
    let edge = TcpListener::bind("127.0.0.1:7101").await.unwrap();
    let plain = TcpListener::bind("127.0.0.1:7102").await.unwrap();
    println!("edge 7101, axum::serve 7102");
    let token = CancellationToken::new();
    let tracker = TaskTracker::new();
    tracker.spawn(serve(edge, router(), EdgeSettings::default(), token));
    tracker.spawn(async move { axum::serve(plain, router()).await.unwrap() });
    sleep(Duration::from_secs(120)).await;
}
