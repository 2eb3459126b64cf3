//! TLS to a PostgreSQL that takes nothing else.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gateway::store::{Access, Store, StoreError};
use rcgen::{CertificateParams, Issuer, KeyPair};

use crate::own_server::OwnServer;
use crate::support::NOW_MS;

/// What the authority certifies, and the authority itself, as PEM.
struct Certificates {
    server: String,
    key: String,
    root: String,
}

fn certificates(name: &str) -> Certificates {
    let authority = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = params.self_signed(&authority).unwrap();
    let root = pem("CERTIFICATE", root.der());
    let issuer = Issuer::new(params, authority);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    Certificates {
        server: pem(
            "CERTIFICATE",
            params.signed_by(&key, &issuer).unwrap().der(),
        ),
        key: pem("PRIVATE KEY", &key.serialize_der()),
        root,
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).collect();
    let text = String::from_utf8(lines.join(&b'\n')).unwrap();
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn a_server_is_only_talked_to_when_its_certificate_is_good() {
    let certificates = certificates("localhost");
    let port = format!("port={}", free_port());
    let settings = [
        "listen_addresses=127.0.0.1",
        "ssl=on",
        "ssl_cert_file=server.pem",
        "ssl_key_file=server.key",
        &port,
    ];
    let server = OwnServer::start(&settings, |files| {
        write(files, "server.pem", &certificates.server);
        write(files, "server.key", &certificates.key);
        let encrypted_only = "hostssl all all 127.0.0.1/32 trust\n";
        write(files, "pg_hba.conf", encrypted_only);
    });
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let root = folder.join(format!("root-{port}.pem"));
    std::fs::write(&root, &certificates.root).unwrap();
    let port = port.trim_start_matches("port=");
    let open = async |host: &str, query: &str| {
        let url = format!("postgres://tests@{host}:{port}/postgres{query}");
        let opened = Store::open(&url, Access::Server, NOW_MS).await;
        opened.map(drop).map_err(|error| match error {
            StoreError::Unavailable(text) => text,
            other => panic!("{other:?}"),
        })
    };
    let trusted = format!("sslrootcert={}", root.display());
    for mode in ["require", "verify-ca", "verify-full"] {
        let query = format!("?sslmode={mode}&{trusted}");
        assert_eq!(open("localhost", &query).await, Ok(()), "{mode}");
        // The name is not the one that was asked for.
        let refused = open("127.0.0.1", &query).await.unwrap_err();
        assert!(refused.contains("certificate"), "{refused}");
        // Nobody public vouches for it.
        let query = format!("?sslmode={mode}");
        let refused = open("localhost", &query).await.unwrap_err();
        assert!(refused.contains("certificate"), "{refused}");
    }
    let refused = open("localhost", "").await.unwrap_err();
    assert!(refused.contains("no encryption"), "{refused}");
    std::fs::remove_file(root).unwrap();
    drop(server);
}

/// Asked for encryption, it does not go on without.
#[tokio::test]
async fn a_server_without_tls_is_not_talked_to() {
    let port = format!("port={}", free_port());
    let _server = OwnServer::start(&["listen_addresses=127.0.0.1", &port], |_| {});
    let port = port.trim_start_matches("port=");
    let url = format!("postgres://tests@localhost:{port}/postgres");
    Store::open(&url, Access::Server, NOW_MS).await.unwrap();
    let url = format!("{url}?sslmode=require");
    let refused = Store::open(&url, Access::Server, NOW_MS).await.map(drop);
    assert!(
        matches!(&refused, Err(StoreError::Unavailable(text)) if text.contains("TLS")),
        "{refused:?}"
    );
}
