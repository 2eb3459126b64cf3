use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use url::Url;

use super::super::{CallError, Limits, Net, NetError, NetSettings, Outgoing, SendError, Trust};
use super::{Names, Server, ok, read_request};

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        Self { issuer, root }
    }

    /// A server whose certificate is for this name, valid up to the end of this year.
    fn server(&self, name: &str, last_year: i32) -> Server {
        let config = self.config(name, last_year);
        Server::raw(move |stream, seen| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream);
            let Ok(request) = read_request(&mut stream) else {
                return;
            };
            let name = stream.conn.server_name().unwrap_or_default().to_owned();
            seen.lock().unwrap().push(format!("{name} {request}"));
            if request.contains("/silent") {
                return;
            }
            drop(stream.write_all(ok("sealed").as_bytes()));
            // Without close_notify a TLS client takes the end for a truncation.
            stream.conn.send_close_notify();
            drop(stream.flush());
        })
    }

    fn config(&self, name: &str, last_year: i32) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(last_year, 12, 31);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }
}

fn net(server: &Server, roots: &[&CertificateDer<'static>]) -> Net {
    let names = Names {
        answers: vec!["93.184.215.14:443".parse().unwrap()],
        leads_to: Some(server.address),
        ..Names::default()
    };
    let settings = NetSettings {
        extra_roots: roots.iter().map(|root| (*root).clone()).collect(),
        ..NetSettings::default()
    };
    Net::over(Arc::new(names), settings, None).unwrap()
}

fn url() -> Url {
    Url::parse("https://api.provider.example/x").unwrap()
}

#[tokio::test]
async fn a_good_certificate_is_accepted_under_the_name_of_the_url() {
    let authority = Authority::new();
    let server = authority.server("api.provider.example", 2099);
    let net = net(&server, &[&authority.root]);
    let outgoing = Outgoing::get(url(), Trust::Outside).unwrap();
    let reply = net.read(&outgoing, 2_000).await.unwrap();
    assert_eq!(reply.body, b"sealed");
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].starts_with("api.provider.example GET /x HTTP/1.1"));
}

#[tokio::test]
async fn bad_certificates_are_errors_of_connecting() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let good = authority.server("api.provider.example", 2099);
    let wrong = authority.server("api.other.example", 2099);
    let parent = authority.server("provider.example", 2099);
    let expired = authority.server("api.provider.example", 2020);
    let plain = Server::saying(ok("x"));
    for (what, server, roots) in [
        ("an unknown authority", &good, &[][..]),
        ("another authority", &good, &[&stranger.root]),
        ("another name", &wrong, &[&authority.root]),
        ("a parent's name", &parent, &[&authority.root]),
        ("a past date", &expired, &[&authority.root]),
        ("no TLS", &plain, &[&authority.root]),
    ] {
        for trust in [Trust::Outside, Trust::Operator] {
            let refused = net(server, roots).connect(&url(), trust, 1_000).await;
            assert!(matches!(refused, Err(NetError::Unreachable(_))), "{what}");
        }
        assert!(server.seen().is_empty(), "{what}");
    }
}

#[tokio::test]
async fn the_meter_tells_sent_from_not_sent_below_tls() {
    let authority = Authority::new();
    let config = authority.config("api.provider.example", 2099);
    let closing = Server::raw(move |stream, _| {
        let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(stream).unwrap();
        }
    });
    let outgoing = Outgoing::get(url(), Trust::Outside).unwrap();
    let connection = net(&closing, &[&authority.root])
        .connect(&url(), Trust::Outside, 2_000)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let sent = connection.send(&outgoing, Limits::json(1_000)).await;
    assert!(matches!(sent, Err(SendError::NotSent(_))), "{sent:?}");

    let server = authority.server("api.provider.example", 2099);
    let silent = url().join("/silent").unwrap();
    let silent = Outgoing::get(silent, Trust::Outside).unwrap();
    let sent = net(&server, &[&authority.root]).read(&silent, 1_000).await;
    let is_unanswered = matches!(sent, Err(CallError::Send(SendError::Unanswered(_))));
    assert!(is_unanswered, "{sent:?}");
    assert_eq!(server.seen().len(), 1);
}
