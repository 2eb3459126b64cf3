//! TLS as this client speaks it: TLS 1.2 or 1.3 over ring, the public roots, HTTP/1.1 only.

use std::io;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

use super::wire::Metered;

/// A connector that trusts the public roots and these.
pub(super) fn connector(
    extra_roots: &[CertificateDer<'static>],
) -> Result<TlsConnector, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for root in extra_roots {
        roots.add(root.clone())?;
    }
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // HTTP/2 would bring REFUSED_STREAM and GOAWAY, and with them doubt about what was processed.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Early data can be replayed by whoever is between us and the server.
    config.enable_early_data = false;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Shakes hands for the host of the URL.
pub(super) async fn handshake(
    connector: &TlsConnector,
    url: &Url,
    stream: Metered,
) -> io::Result<TlsStream<Metered>> {
    let name = match url.host() {
        Some(Host::Domain(name)) => {
            ServerName::try_from(name.to_owned()).map_err(io::Error::other)?
        }
        Some(Host::Ipv4(address)) => ServerName::from(std::net::IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => ServerName::from(std::net::IpAddr::V6(address)),
        None => return Err(io::Error::other("no host")),
    };
    connector.connect(name, stream).await
}
