//! A request that is ready for the wire.
//!
//! Invariant: a provider's secret is put on a request to the provider's own origin only, and is
//! never shown by `Debug` or by an error.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use domain::signing::jwt;
use domain::upstream::{Auth, Body, Request};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use http_body_util::Full;
use url::Url;

use super::form;
use super::guard::{Trust, check_form};

/// How this client introduces itself.
pub const USER_AGENT: &str = concat!("RouterBase/", env!("CARGO_PKG_VERSION"));

/// Why a request was not even built; nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the request is refused: {0}")]
pub struct Refused(pub(super) &'static str);

/// A provider's secret, and when it is used: some sign a token that is good for a while.
#[derive(Clone, Copy)]
pub struct Secret<'a> {
    /// As the operator gave it.
    pub text: &'a str,
    /// Unix milliseconds.
    pub now_ms: i64,
}

impl<'a> From<&'a str> for Secret<'a> {
    /// One that is sent as it is and signs nothing.
    fn from(text: &'a str) -> Self {
        Self { text, now_ms: 0 }
    }
}

/// A request with its headers, its secret and its body in place.
#[derive(Clone)]
pub struct Outgoing<'a> {
    pub(super) wire: http::Request<Full<Bytes>>,
    pub(super) upstream: Option<&'a Request>,
    url: Url,
    trust: Trust,
}

impl fmt::Debug for Outgoing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("method", self.wire.method())
            .field("host", &self.url.host_str())
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

impl<'a> Outgoing<'a> {
    /// A provider's request. The secret goes where the request says; without a secret nothing does.
    /// A request without auth may leave the provider's origins and is then [`Trust::Outside`].
    ///
    /// # Errors
    /// When the URL is no plain http(s) URL, when a request with auth leaves the origins of the
    /// provider, and when a header or a part of a form is malformed or belongs to the framing.
    pub fn upstream(
        request: &'a Request,
        homes: &[Url],
        secret: Option<Secret<'_>>,
    ) -> Result<Self, Refused> {
        let url = Url::parse(&request.url).map_err(|_| Refused("the URL is malformed"))?;
        check_form(&url).map_err(|blocked| Refused(blocked.detail()))?;
        let is_home = homes.iter().any(|home| home.origin() == url.origin());
        if request.auth != Auth::None && !is_home {
            return Err(Refused("a secret is wanted for another host"));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let name = HeaderName::try_from(name).map_err(|_| Refused("a malformed header"))?;
            let value = HeaderValue::try_from(value).map_err(|_| Refused("a malformed header"))?;
            headers.append(name, value);
        }
        if let Some(secret) = secret {
            attach(&mut headers, &request.auth, &secret)?;
        }
        let body = match &request.body {
            None => None,
            Some(Body::Json(value)) => Some(Bytes::from(value.to_string())),
            Some(Body::Form(parts)) => {
                let (kind, body) = form::encoded(parts)?;
                headers.insert(header::CONTENT_TYPE, kind);
                Some(body)
            }
        };
        let method = Method::from_bytes(request.method.as_str().as_bytes())
            .map_err(|_| Refused("an unknown verb"))?;
        let trust = if is_home {
            Trust::Operator
        } else {
            Trust::Outside
        };
        let mut outgoing = Self::new(method, url, trust, headers, body)?;
        outgoing.upstream = Some(request);
        Ok(outgoing)
    }

    /// A bare GET without any secret.
    ///
    /// # Errors
    /// When the URL is no plain http(s) URL.
    pub fn get(url: Url, trust: Trust) -> Result<Self, Refused> {
        Self::new(Method::GET, url, trust, HeaderMap::new(), None)
    }

    /// A POST of JSON to an address that somebody outside chose.
    ///
    /// # Errors
    /// When the URL is no plain http(s) URL or a header belongs to the framing.
    pub fn post(url: Url, headers: HeaderMap, body: Bytes) -> Result<Self, Refused> {
        Self::new(Method::POST, url, Trust::Outside, headers, Some(body))
    }

    /// A POST to an address that the operator configured, with a secret as its bearer.
    ///
    /// # Errors
    /// When the URL is no plain http(s) URL, the secret does not fit a header, or a header belongs
    /// to the framing.
    pub fn operator(
        url: Url,
        secret: &str,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Self, Refused> {
        attach(&mut headers, &Auth::Bearer, &secret.into())?;
        Self::new(Method::POST, url, Trust::Operator, headers, Some(body))
    }

    /// Where it goes.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether its address is judged.
    #[must_use]
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// The same request to where a redirect points: with everything on it inside the same origin,
    /// bare and judged outside it.
    pub(super) fn redirected(&self, url: Url) -> Result<Outgoing<'a>, Refused> {
        if url.origin() != self.url.origin() {
            return Outgoing::get(url, Trust::Outside);
        }
        let mut next = self.clone();
        *next.wire.uri_mut() = origin_form(&url)?;
        // The sandbox knows requests, not URLs, and never redirects.
        next.upstream = None;
        next.url = url;
        Ok(next)
    }

    fn new(
        method: Method,
        url: Url,
        trust: Trust,
        mut headers: HeaderMap,
        body: Option<Bytes>,
    ) -> Result<Self, Refused> {
        check_form(&url).map_err(|blocked| Refused(blocked.detail()))?;
        const FRAMING: [HeaderName; 7] = [
            header::HOST,
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
            header::CONNECTION,
            header::UPGRADE,
            header::TE,
            header::EXPECT,
        ];
        if FRAMING.iter().any(|name| headers.contains_key(name)) {
            return Err(Refused("a header that belongs to the framing"));
        }
        headers.insert(header::HOST, host(&url)?);
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
        if body.is_some() && !headers.contains_key(header::CONTENT_TYPE) {
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
        }
        let mut wire = http::Request::new(Full::new(body.unwrap_or_default()));
        *wire.method_mut() = method;
        *wire.uri_mut() = origin_form(&url)?;
        *wire.headers_mut() = headers;
        Ok(Self {
            wire,
            upstream: None,
            url,
            trust,
        })
    }
}

fn attach(headers: &mut HeaderMap, auth: &Auth, secret: &Secret<'_>) -> Result<(), Refused> {
    let Secret {
        text: secret,
        now_ms,
    } = *secret;
    let (name, value) = match auth {
        Auth::None => return Ok(()),
        Auth::Bearer => (header::AUTHORIZATION, format!("Bearer {secret}")),
        Auth::Scheme(scheme) => (header::AUTHORIZATION, format!("{scheme} {secret}")),
        Auth::Basic => {
            let pair = STANDARD.encode(secret);
            (header::AUTHORIZATION, format!("Basic {pair}"))
        }
        Auth::Jwt => {
            let token = jwt(secret, now_ms / 1_000).ok_or(Refused(
                "the secret must be an access key and a secret key with a colon between them",
            ))?;
            (header::AUTHORIZATION, format!("Bearer {token}"))
        }
        Auth::Header(name) => {
            let name =
                HeaderName::try_from(name.as_ref()).map_err(|_| Refused("a malformed header"))?;
            (name, secret.to_owned())
        }
    };
    let malformed = |_| Refused("the secret does not fit a header");
    let mut value = HeaderValue::try_from(value).map_err(malformed)?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}

fn host(url: &Url) -> Result<HeaderValue, Refused> {
    let host = url.host_str().unwrap_or_default();
    let host = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    HeaderValue::try_from(host).map_err(|_| Refused("the host does not fit a header"))
}

fn origin_form(url: &Url) -> Result<Uri, Refused> {
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    Uri::try_from(target).map_err(|_| Refused("the path does not fit a request"))
}
