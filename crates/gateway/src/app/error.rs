//! Why the gateway does not start, for the operator.

use std::net::SocketAddr;

use crate::alerts::MailError;
use crate::media::MediaError;
use crate::store::StoreError;

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The catalogue has problems, a line each.
    #[error("the catalogue does not load:\n{0}")]
    Catalogue(String),
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The place for results does not open.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The model that is to translate is none.
    #[error("translation.model: there is no chat model {0}")]
    Translation(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// The certificates cannot be used.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// Mails cannot be sent.
    #[error(transparent)]
    Mail(#[from] MailError),
}
