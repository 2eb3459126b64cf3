//! One file of `providers/`.

use std::collections::BTreeMap;

use super::provider::RESUBMIT_BELOW;
use super::source::{Item, Section};
use super::{Delivery, OnLostReply, Provider, Rate, Recovery, mapping_file};
use crate::mapping::Mapping;
use crate::order::{Modality, link};

/// The keys of a provider file.
pub(super) const KEYS: [&str; 20] = [
    "id",
    "name",
    "dialect",
    "base_url",
    "origins",
    "secret",
    "webhook_secret",
    "webhook_keys",
    "local",
    "recovery",
    "on_lost_reply",
    "resubmit_below",
    "quiet_ms",
    "connect_timeout_ms",
    "call_timeout_ms",
    "concurrency",
    "rate",
    "upload_url",
    "files",
    "send",
];

/// Most characters of a base URL.
const URL_CHARS_MAX: usize = 500;

/// Longest of the times, in milliseconds: a day.
const TIME_MS_MAX: i64 = 86_400_000;

/// The provider a file describes; sound only if the page has no problem.
pub(super) fn provider(root: &Section<'_>, id: &str, dialects: &[&str]) -> Provider {
    let concurrency = root.int("concurrency", 1, i64::from(u32::MAX), 20);
    let time = |key, otherwise| root.int(key, 1, TIME_MS_MAX, otherwise);
    let recovery = root.get("recovery").and_then(|item| {
        item.choice(&[
            ("idempotent", Recovery::Idempotent),
            ("lookup", Recovery::Lookup),
            ("none", Recovery::None),
        ])
    });
    let on_lost_reply = root.get("on_lost_reply").and_then(|item| {
        item.choice(&[
            ("fail_and_release", OnLostReply::FailAndRelease),
            ("resubmit", OnLostReply::Resubmit),
        ])
    });
    let resubmit_below = root.get("resubmit_below").and_then(|item| item.credits());
    Provider {
        id: id.to_owned(),
        name: root.text("name"),
        dialect: dialect(root, dialects),
        base_url: root
            .demand("base_url")
            .map_or_else(String::new, |item| base(&item)),
        origins: origins(root),
        secret_env: root.get("secret").and_then(|item| secret(&item)),
        webhook_secret_env: root.get("webhook_secret").and_then(|item| secret(&item)),
        webhook_keys: root.get("webhook_keys").map(|item| base(&item)),
        is_local: root.flag("local"),
        recovery: recovery.unwrap_or(Recovery::None),
        on_lost_reply: on_lost_reply.unwrap_or(OnLostReply::FailAndRelease),
        resubmit_below: resubmit_below.unwrap_or(RESUBMIT_BELOW),
        quiet_ms: time("quiet_ms", 180_000),
        connect_timeout_ms: time("connect_timeout_ms", 5_000),
        call_timeout_ms: time("call_timeout_ms", 60_000),
        concurrency: u32::try_from(concurrency).unwrap_or(1),
        rate: rate(root),
        upload_url: root.get("upload_url").map(|item| base(&item)),
        delivery: root
            .get("files")
            .and_then(|item| item.choice(&Delivery::ALL))
            .unwrap_or(Delivery::Link),
        send: send(root),
    }
}

/// Longest stretch of a rate, in seconds: an hour.
const STRETCH_S_MAX: i64 = 3_600;

/// Most creating calls of a stretch.
const CREATES_MAX: i64 = 10_000;

/// `{ creates = 20, seconds = 10 }`.
fn rate(root: &Section<'_>) -> Option<Rate> {
    let section = root.get("rate")?.section(&["creates", "seconds"])?;
    let whole = |key, most| {
        section.demand(key)?;
        Some(section.int(key, 1, most, 1))
    };
    let creates = whole("creates", CREATES_MAX)?;
    let seconds = whole("seconds", STRETCH_S_MAX)?;
    Some(Rate {
        creates: usize::try_from(creates).ok()?,
        per_ms: seconds.saturating_mul(1_000),
    })
}

/// How parameters are said, by modality.
fn send(root: &Section<'_>) -> BTreeMap<Modality, Mapping> {
    let known = Modality::ALL.map(Modality::as_str);
    let section = root.get("send").and_then(|item| item.section(&known));
    let read = |modality: Modality| {
        let item = section?.get(modality.as_str())?;
        Some((modality, mapping_file::mapping(&item)))
    };
    Modality::ALL.into_iter().filter_map(read).collect()
}

fn origins(root: &Section<'_>) -> Vec<String> {
    let items = root.get("origins").and_then(|item| item.list());
    items.iter().flatten().map(base).collect()
}

fn dialect(root: &Section<'_>, dialects: &[&str]) -> String {
    let Some(item) = root.demand("dialect") else {
        return String::new();
    };
    let name = item.text().unwrap_or_default();
    if !name.is_empty() && !dialects.contains(&name) {
        let known = dialects.join(", ");
        item.note(format!(
            "names the unknown dialect {name}; known are {known}"
        ));
    }
    name.to_owned()
}

fn base(item: &Item<'_>) -> String {
    let url = item.text().unwrap_or_default();
    let is_base = link::is_web_link(url, URL_CHARS_MAX) && !url.ends_with('/');
    if !url.is_empty() && (!is_base || url.contains(['?', '#'])) {
        item.note("must be an http or https URL without query and without a slash at the end");
    }
    url.to_owned()
}

fn secret(item: &Item<'_>) -> Option<String> {
    let name = item.text()?;
    let is_plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    if !name.bytes().all(is_plain) {
        item.note("must name an environment variable in capitals, digits and underscores");
    }
    Some(name.to_owned())
}
