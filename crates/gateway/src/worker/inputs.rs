//! Files that an order starts from, brought into the form that its route wants them in.
//!
//! Invariant: nothing here costs money or changes the task, so all of it may be done again. Bytes are
//! there only while their room is; links of others are fetched under the guard, files of ours are read
//! from where they are kept.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dialects::InputFile;
use domain::catalogue::{Delivery, Listing, SANDBOX};
use domain::order::Order;
use domain::signing::derive;
use domain::task::Attempt;
use domain::upstream::{Fault, FaultClass};
use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::sync::{Semaphore, SemaphorePermit};
use url::Url;

use super::Worker;
use super::step::Upstream;
use crate::media::{HEAD_BYTES, MediaError, judge};
use crate::net::{CallError, Limits, NetError, Trust};

/// The largest file that is handed on, in bytes.
const FILE_BYTES_MAX: u64 = 20 << 20;

/// The most bytes of all files of one order.
const ORDER_BYTES_MAX: u64 = 64 << 20;

/// How long the file of somebody else may take to arrive, in milliseconds.
const FILE_MS: u64 = 60_000;

/// How many MiB of files are handed on at the same time by one node. A file is there up to five times for
/// a moment, as bytes, in base64, in the order, in the request and on the wire, a third larger each, so
/// that all of them take at most about 600 MiB. It must hold the largest order.
const ROOM_MIB: usize = 96;

/// The room for files on their way.
pub(super) struct Room(Semaphore);

impl Room {
    pub(super) fn new() -> Self {
        Self(Semaphore::new(ROOM_MIB))
    }
}

/// An order as its route wants it, and the room that it takes.
pub(super) struct Prepared<'a> {
    pub(super) order: Cow<'a, Order>,
    pub(super) room: Option<SemaphorePermit<'a>>,
}

/// A file that has to be handed on in another form.
struct Wanted<'a> {
    list: &'a str,
    index: usize,
    /// How a client names it.
    param: String,
    link: &'a str,
    /// Where it is kept, and its size, if it is ours.
    own: Option<(&'a str, u64)>,
    is_uploaded: bool,
}

/// A file, read.
struct Read {
    extension: &'static str,
    bytes: u64,
    /// As a `data:` URL.
    content: String,
}

impl Worker {
    /// The order with its links as the route of the attempt wants them.
    pub(super) async fn delivered<'a>(
        &'a self,
        upstream: &Upstream<'_>,
        order: &'a Order,
        attempt: &Attempt,
    ) -> Result<Prepared<'a>, Fault> {
        let listing = self.catalogue.listing(upstream.route, order);
        let listing = listing.filter(|_| upstream.provider.id != SANDBOX);
        let wanted = match listing {
            Some(listing) => self.wanted(listing, order).await?,
            None => Vec::new(),
        };
        if wanted.is_empty() {
            return Ok(Prepared {
                order: Cow::Borrowed(order),
                room: None,
            });
        }
        let mut room = self.room(&wanted).await?;
        let left = AtomicU64::new(ORDER_BYTES_MAX);
        let reads = wanted.iter().map(|file| self.read_file(file, &left));
        let files = try_join_all(reads).await?;
        let bytes = files.iter().map(|file| file.bytes).sum();
        drop(room.split(room.num_permits().saturating_sub(mib(bytes))));
        let mut order = order.clone();
        for (file, read) in wanted.iter().zip(files) {
            let said = match file.is_uploaded {
                true => self.uploaded(upstream, file, &read, attempt).await?,
                false => read.content,
            };
            let list = order.params.get_mut(file.list);
            if let Some(item) = list.and_then(|list| list.get_mut(file.index)) {
                *item = Value::from(said);
            }
        }
        Ok(Prepared {
            order: Cow::Owned(order),
            room: Some(room),
        })
    }

    /// The files that cannot go as the links they are.
    async fn wanted<'a>(
        &'a self,
        listing: &'a Listing,
        order: &'a Order,
    ) -> Result<Vec<Wanted<'a>>, Fault> {
        let mut wanted = Vec::new();
        let lists = listing.inputs.keys().map(String::as_str);
        for list in lists.filter(|list| listing.send.reads(list)) {
            let delivery = listing.delivery(list);
            for (index, link) in order.list(list).into_iter().enumerate() {
                let own = self.own_path(link);
                let is_wanted = match delivery {
                    Delivery::Link => false,
                    Delivery::Data => true,
                    Delivery::Either | Delivery::Upload => own.is_some(),
                };
                if !is_wanted {
                    continue;
                }
                let param = format!("{}.{list}[{index}]", order.modality.group());
                let own = match own {
                    Some(path) => Some((path, self.own_size(path, &param).await?)),
                    None => None,
                };
                let is_uploaded = delivery == Delivery::Upload;
                wanted.push(Wanted {
                    list,
                    index,
                    param,
                    link,
                    own,
                    is_uploaded,
                });
            }
        }
        Ok(wanted)
    }

    /// Where a link leads to, if it is one of ours.
    fn own_path<'l>(&self, link: &'l str) -> Option<&'l str> {
        let rest = link.strip_prefix(self.settings.public_url.as_str())?;
        let path = ["/files/", "/results/"]
            .iter()
            .find_map(|start| rest.strip_prefix(start))?;
        let path = path.split(['?', '#']).next()?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-.".contains(&byte);
        path.bytes().all(is_plain).then_some(path)
    }

    async fn own_size(&self, path: &str, param: &str) -> Result<u64, Fault> {
        let found = self.store.any_file(path, self.clock.now_ms()).await;
        let found = found.map_err(|error| away(param, &error))?;
        let found = found.ok_or_else(|| wrong(param, "is no file that is kept here any more"))?;
        let bytes = u64::try_from(found.bytes).unwrap_or(u64::MAX);
        if bytes > FILE_BYTES_MAX {
            return Err(too_large(param));
        }
        Ok(bytes)
    }

    /// Room for as much as the files can have.
    async fn room(&self, wanted: &[Wanted<'_>]) -> Result<SemaphorePermit<'_>, Fault> {
        let bytes = |file: &Wanted<'_>| file.own.map_or(FILE_BYTES_MAX, |(_, bytes)| bytes);
        let bytes = wanted.iter().map(bytes).sum::<u64>().min(ORDER_BYTES_MAX);
        let mib = u32::try_from(mib(bytes)).unwrap_or(u32::MAX);
        let room = self.room.0.acquire_many(mib).await;
        room.map_err(|closed| away("a file", &closed))
    }

    async fn read_file(&self, file: &Wanted<'_>, left: &AtomicU64) -> Result<Read, Fault> {
        let param = &file.param;
        let bytes = match file.own {
            Some((path, _)) => {
                let bytes = self.media.read(path, FILE_BYTES_MAX).await;
                let bytes = bytes.map_err(|error| match error {
                    MediaError::TooLarge(_) => too_large(param),
                    error => away(param, &error),
                })?;
                take(left, bytes.len(), param)?;
                bytes.to_vec()
            }
            None => self.fetch(file, left).await?,
        };
        let head = bytes.get(..HEAD_BYTES).unwrap_or(&bytes);
        let judged = judge(head)
            .ok_or_else(|| wrong(param, "is no picture, film or sound of a known type"))?;
        let mut content = format!("data:{};base64,", judged.content_type);
        STANDARD.encode_string(&bytes, &mut content);
        Ok(Read {
            extension: judged.extension,
            bytes: bytes.len() as u64,
            content,
        })
    }

    /// Fetches the file of somebody else.
    async fn fetch(&self, file: &Wanted<'_>, left: &AtomicU64) -> Result<Vec<u8>, Fault> {
        let param = &file.param;
        // The size is judged here, as a file that is too large is the client's to shrink.
        let limits = Limits {
            body_bytes_max: u64::MAX,
            ..Limits::file(FILE_MS)
        };
        let url = Url::parse(file.link).map_err(|_| wrong(param, "is a malformed link"))?;
        let download = self.net.download(&url, Trust::Outside, limits).await;
        let mut download = download.map_err(|error| unfetched(param, &error))?;
        match download.status {
            200 => {}
            // These may pass: a timeout, too early, too many.
            status @ (400..=407 | 409..=424 | 426..=428 | 430..=499) => {
                let message = format!("cannot be fetched: its server answers {status}");
                return Err(wrong(param, &message));
            }
            status => return Err(away(param, &format!("status {status}"))),
        }
        if download
            .content_length
            .is_some_and(|bytes| bytes > FILE_BYTES_MAX)
        {
            return Err(too_large(param));
        }
        let mut bytes = Vec::new();
        loop {
            let chunk = download.body.chunk().await;
            let Some(chunk) = chunk.map_err(|error| away(param, &error))? else {
                return Ok(bytes);
            };
            take(left, chunk.len(), param)?;
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > FILE_BYTES_MAX {
                return Err(too_large(param));
            }
        }
    }

    /// Gives the provider a file of ours; the link that it knows it by.
    async fn uploaded(
        &self,
        upstream: &Upstream<'_>,
        file: &Wanted<'_>,
        read: &Read,
        attempt: &Attempt,
    ) -> Result<String, Fault> {
        let unable = || away(&file.param, &"the provider takes no uploads");
        let upload_url = upstream.provider.upload_url.as_deref();
        let secret = self.secret.as_bytes();
        let name = derive(secret, &["input", attempt.token.as_str(), &file.param]);
        let name = format!("{}.{}", name.get(..32).unwrap_or(&name), read.extension);
        let input = InputFile {
            upload_url: upload_url.ok_or_else(unable)?,
            name: &name,
            bytes: read.bytes,
            content: &read.content,
        };
        let cx = upstream.context(&attempt.token);
        let call = upstream.dialect.upload(&input, &cx);
        let reply = self.call(upstream, &call.ok_or_else(unable)?).await;
        let reply = reply.map_err(|fault| away(&file.param, &fault))?;
        let link = upstream.dialect.uploaded(&reply);
        link.map_err(|fault| match fault.class {
            FaultClass::Credential | FaultClass::Throttled => fault,
            _ => away(&file.param, &fault),
        })
    }
}

/// Takes bytes of what an order may have.
fn take(left: &AtomicU64, bytes: usize, param: &str) -> Result<(), Fault> {
    let bytes = bytes as u64;
    let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.checked_sub(bytes)
    });
    taken.map(drop).map_err(|_| {
        let mib = ORDER_BYTES_MAX >> 20;
        wrong(
            param,
            &format!("is too large: all files together have at most {mib} MiB"),
        )
    })
}

fn mib(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(1 << 20)).unwrap_or(usize::MAX)
}

/// What the client has to change.
fn wrong(param: &str, message: &str) -> Fault {
    Fault::new(FaultClass::InvalidInput, format!("{param} {message}"))
}

fn too_large(param: &str) -> Fault {
    let mib = FILE_BYTES_MAX >> 20;
    wrong(
        param,
        &format!("is too large: a file has at most {mib} MiB"),
    )
}

/// What may work later.
fn away(param: &str, detail: &dyn std::fmt::Display) -> Fault {
    let public = format!("{param} could not be handed on to the provider");
    Fault::new(FaultClass::Unavailable, public).because(format!("{param}: {detail}"))
}

fn unfetched(param: &str, error: &CallError) -> Fault {
    match error {
        CallError::Refused(_) => wrong(param, "is a link that cannot be called"),
        CallError::Connect(NetError::Blocked(blocked)) => {
            wrong(param, "is a link that cannot be called").because(blocked.detail())
        }
        CallError::Connect(error) => away(param, &error.detail()),
        CallError::Send(error) => away(param, error),
    }
}
