//! TLS to PostgreSQL, as the URL asks for it.
//!
//! Invariant: encrypted means verified, the chain and the name, whichever mode asks for it: what is
//! only encrypted is encrypted for whoever stands in between.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as Encrypted;

use super::super::DbError;

/// Makes encrypted connections, or refuses to.
#[derive(Clone)]
pub(super) struct Tls(Option<TlsConnector>);

/// What a URL asks for, and the URL without it, as the driver does not know all of it.
pub(super) fn read(url: &str) -> Result<(Tls, String), DbError> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut mode, mut roots) = (None, None);
    let mut rest = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        // A plus is a plus in a path.
        let plain = part.replace('+', "%2B");
        match url::form_urlencoded::parse(plain.as_bytes()).next() {
            Some((name, value)) if name == "sslmode" => mode = Some(value.into_owned()),
            Some((name, value)) if name == "sslrootcert" => roots = Some(value.into_owned()),
            _ => rest.push(part),
        }
    }
    let tls = match mode.as_deref() {
        Some("require" | "verify-ca" | "verify-full") => Tls(Some(connector(roots.as_deref())?)),
        None | Some("disable" | "allow" | "prefer") if roots.is_none() => Tls(None),
        None | Some("disable" | "allow" | "prefer") => {
            return Err(refused("sslrootcert needs sslmode=verify-full".to_owned()));
        }
        Some(other) => return Err(refused(format!("sslmode={other} is not known"))),
    };
    let url = match rest.is_empty() {
        true => base.to_owned(),
        false => format!("{base}?{}", rest.join("&")),
    };
    Ok((tls, url))
}

/// Trusts the certificates of a file, else the public roots.
fn connector(roots: Option<&str>) -> Result<TlsConnector, DbError> {
    let mut trusted = RootCertStore::empty();
    match roots {
        Some(path) => {
            let unusable = |error: &dyn std::fmt::Display| {
                refused(format!("sslrootcert={path} cannot be used: {error}"))
            };
            let found = CertificateDer::pem_file_iter(path).map_err(|error| unusable(&error))?;
            for root in found {
                let root = root.map_err(|error| unusable(&error))?;
                trusted.add(root).map_err(|error| unusable(&error))?;
            }
            if trusted.is_empty() {
                return Err(unusable(&"there is no certificate in it"));
            }
        }
        None => trusted.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(error.to_string()))?
        .with_root_certificates(trusted)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn refused(why: String) -> DbError {
    DbError::Unavailable(format!("database.url: {why}"))
}

impl Tls {
    /// What to ask of the server.
    pub(super) fn mode(&self) -> SslMode {
        match self.0 {
            Some(_) => SslMode::Require,
            None => SslMode::Disable,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
    type Stream = Stream<S>;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Handshake> {
        Ok(Handshake {
            connector: self.0.clone(),
            host: host.to_owned(),
        })
    }
}

/// A handshake that is about to begin.
pub(super) struct Handshake {
    connector: Option<TlsConnector>,
    host: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Handshake {
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let connector = self.connector.ok_or_else(|| io::Error::other("no TLS"))?;
            let host = ServerName::try_from(self.host).map_err(io::Error::other)?;
            Ok(Stream(connector.connect(host, stream).await?))
        })
    }
}

/// An encrypted connection, as the driver takes it.
pub(super) struct Stream<S>(Encrypted<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        // The certificate is verified, so the password need not vouch for it.
        ChannelBinding::none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        read(url).map(drop).unwrap_err().to_string()
    }

    #[test]
    fn what_a_url_says_of_tls_is_taken_out() {
        let plain = "postgres://u:p@one:1,two:2/db";
        for query in ["", "?sslmode=disable", "?sslmode=prefer", "?sslmode=allow"] {
            let (tls, url) = read(&format!("{plain}{query}")).unwrap();
            assert_eq!((tls.mode(), url.as_str()), (SslMode::Disable, plain));
        }
        for mode in ["require", "verify-ca", "verify-full"] {
            let asked = format!("{plain}?a=b%20c&sslmode={mode}&d=e");
            let (tls, url) = read(&asked).unwrap();
            assert_eq!(tls.mode(), SslMode::Require, "{mode}");
            assert_eq!(url, format!("{plain}?a=b%20c&d=e"));
        }
    }

    #[test]
    fn what_would_not_be_encrypted_as_asked_is_refused() {
        assert!(refusal("postgres://h/db?sslmode=verify").contains("sslmode=verify is not"));
        assert!(refusal("postgres://h/db?sslrootcert=/ca.pem").contains("verify-full"));
        let url = "postgres://h/db?sslmode=require&sslrootcert=%2Fno+where.pem";
        assert!(refusal(url).contains("/no+where.pem cannot be used"));
    }
}
