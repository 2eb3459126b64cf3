use domain::upstream::{Auth, Request};
use serde_json::json;
use url::Url;

use super::super::{CallError, Outgoing, Refused, Trust};
use super::{Server, net, ok, secret};

const SECRET: &str = "sk-canary-7781";

fn base() -> Url {
    Url::parse("https://api.provider.example/v1").unwrap()
}

fn build(request: &Request) -> Result<Outgoing<'_>, Refused> {
    Outgoing::upstream(request, &[base()], Some(secret(SECRET)))
}

#[test]
fn the_secret_goes_nowhere_but_home() {
    for foreign in [
        "https://api.provider.example.evil.com/v1",
        "https://evil.com/?u=https://api.provider.example",
        "https://api.provider.example:8443/v1",
        "http://api.provider.example/v1",
        "https://provider.example/v1",
        "https://api.provider.example./v1",
        "https://api.provider.example@evil.com/",
        "https://sandbox.internal/",
        "/relative",
        "file:///etc/passwd",
    ] {
        for auth in [
            Auth::Bearer,
            Auth::Scheme("Key".into()),
            Auth::Header("x-key".into()),
        ] {
            let request = Request {
                auth,
                ..Request::get(foreign)
            };
            let refused = build(&request).unwrap_err();
            assert!(!format!("{refused} {refused:?}").contains(SECRET));
        }
    }
    let bare = Request {
        auth: Auth::None,
        ..Request::get("https://cdn.example/x")
    };
    let bare = build(&bare).unwrap();
    assert_eq!(bare.trust(), Trust::Outside);
    assert!(!bare.wire.headers().contains_key("authorization"));
}

#[test]
fn a_provider_may_have_more_than_one_home() {
    let homes = [base(), Url::parse("https://eu.provider.example").unwrap()];
    let to = |url: &str| {
        let request = Request::get(url);
        Outgoing::upstream(&request, &homes, Some(secret(SECRET))).map(|outgoing| outgoing.trust())
    };
    for home in [
        "https://api.provider.example/x",
        "https://eu.provider.example/y",
    ] {
        assert_eq!(to(home).unwrap(), Trust::Operator);
    }
    assert!(to("https://us.provider.example/y").is_err());
}

#[test]
fn each_auth_has_its_header_and_none_is_shown() {
    let url = "https://API.provider.example:443/v1/jobs?x=%20y";
    for (auth, name, value) in [
        (Auth::Bearer, "authorization", format!("Bearer {SECRET}")),
        (
            Auth::Scheme("Key".into()),
            "authorization",
            format!("Key {SECRET}"),
        ),
        (Auth::Header("x-key".into()), "x-key", SECRET.to_owned()),
        (
            Auth::Basic,
            "authorization",
            "Basic c2stY2FuYXJ5LTc3ODE=".to_owned(),
        ),
    ] {
        let request = Request {
            auth,
            ..Request::get(url)
        };
        let outgoing = build(&request).unwrap();
        assert_eq!(outgoing.trust(), Trust::Operator);
        assert_eq!(outgoing.wire.headers()[name], value.as_str());
        assert_eq!(outgoing.wire.uri(), "/v1/jobs?x=%20y");
        assert_eq!(outgoing.wire.headers()["host"], "api.provider.example");
        assert!(!format!("{outgoing:?} {:?}", outgoing.wire).contains(SECRET));
    }
}

#[test]
fn malformed_and_framing_headers_are_refused() {
    for (name, value) in [
        ("host", "evil.com"),
        ("Content-Length", "0"),
        ("transfer-encoding", "chunked"),
        ("connection", "upgrade"),
        ("x", "a\r\nauthorization: b"),
        ("x y", "a"),
    ] {
        let mut request = Request::get("https://api.provider.example/");
        request.headers = vec![(name.into(), value.into())];
        assert!(build(&request).is_err(), "{name}");
    }
    let request = Request::get("https://api.provider.example/");
    let refused = Outgoing::upstream(&request, &[base()], Some(secret("sk-canary\n"))).unwrap_err();
    assert!(!format!("{refused:?}").contains("canary"));
}

#[tokio::test]
async fn a_request_arrives_as_it_should() {
    let server = Server::saying(ok("{\"id\":1}"));
    let mut request = Request::post(server.url("/v1/jobs").as_str(), json!({"prompt": "é"}));
    request.headers = vec![
        ("user-agent".into(), "x".into()),
        ("x-ref".into(), "7".into()),
    ];
    let outgoing = Outgoing::upstream(&request, &[server.url("/")], Some(secret(SECRET))).unwrap();
    let reply = net().read(&outgoing, 2_000).await.unwrap();
    assert_eq!(reply.json(), json!({"id": 1}));
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    let host = format!("host: {}\r\n", server.address);
    for part in [
        "POST /v1/jobs HTTP/1.1\r\n",
        "content-type: application/json\r\n",
        "accept-encoding: identity\r\n",
        "user-agent: RouterBase/",
        "x-ref: 7\r\n",
        "authorization: Bearer sk-canary-7781\r\n",
        "content-length: 15\r\n",
        "{\"prompt\":\"é\"}",
        host.as_str(),
    ] {
        assert!(seen[0].contains(part), "{part} is not in {}", seen[0]);
    }
}

#[tokio::test]
async fn a_connection_takes_no_request_for_another_host() {
    let (server, other) = (Server::saying(ok("x")), Server::saying(ok("x")));
    let request = Request::get(other.url("/").as_str());
    let outgoing = Outgoing::upstream(&request, &[other.url("/")], Some(secret(SECRET))).unwrap();
    let connection = net()
        .connect(&server.url("/"), Trust::Operator, 2_000)
        .await
        .unwrap();
    let limits = super::super::Limits::json(1_000);
    let refused = connection.send(&outgoing, limits).await.unwrap_err();
    assert!(matches!(refused, super::super::SendError::NotSent(_)));
    assert!(server.seen().is_empty() && other.seen().is_empty());
    assert!(!format!("{:?}", CallError::from(refused)).contains(SECRET));
}
