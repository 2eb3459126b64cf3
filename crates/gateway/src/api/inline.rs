//! Files that come along in an order, as `data:` URLs: stored like uploads before the task is recorded.
//!
//! Invariant: no task carries the bytes of a file. What is taken out of a body leaves a mark in its
//! place, and every mark of an order becomes a link to a file of ours.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use domain::ids::AccountId;
use domain::order::{Modality, Order};
use domain::task::StoredFile;
use futures_util::{StreamExt, stream};
use serde_json::Value;

use super::Api;
use super::body::{BODY_BYTES_MAX, RunFields};
use super::error::{ApiError, Kind};
use super::files::{NewFile, Unkept};

/// The most bytes of a file in a `data:` URL.
const FILE_BYTES_MAX: u64 = 10 << 20;

/// How a mark starts; it is a `data:` URL of no use, so that nobody else takes it for something.
const MARK: &str = "data:taken/";

/// Base64 whose padding may be left out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The `data:` URLs of a body, by the numbers of their marks.
pub(super) struct Taken(Vec<String>);

/// Whether a body brings a file along, or is large enough for some.
pub(super) fn has_any(body: &RunFields) -> bool {
    let groups = Modality::ALL.into_iter();
    let params = groups.filter_map(|modality| body.value.get(modality.group())?.as_object());
    let lists = params.flat_map(|params| params.values().filter_map(Value::as_array));
    let mut texts = lists.flatten().filter_map(Value::as_str);
    body.is_large || texts.any(is_inline)
}

/// Takes every `data:` URL out of the lists of a body.
///
/// # Errors
/// The rest of the body is too large.
pub(super) fn take(body: &mut RunFields) -> Result<Taken, ApiError> {
    let mut taken = Vec::new();
    for modality in Modality::ALL {
        let group = body.value.get_mut(modality.group());
        let Some(Value::Object(params)) = group else {
            continue;
        };
        let lists = params.values_mut().filter_map(Value::as_array_mut);
        for item in lists.flatten() {
            if let Value::String(text) = item
                && is_inline(text)
            {
                let mark = format!("{MARK}{},x", taken.len());
                taken.push(std::mem::replace(text, mark));
            }
        }
    }
    let mut rest = Counted(0);
    if body.is_large && serde_json::to_writer(&mut rest, &body.value).is_err() {
        let message =
            format!("The body must have at most {BODY_BYTES_MAX} bytes without its data: URLs.");
        return Err(ApiError::new(Kind::TooLarge, message));
    }
    Ok(Taken(taken))
}

fn is_inline(text: &str) -> bool {
    let scheme = text.get(..5);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
}

/// Counts what is written, up to what a body may have.
struct Counted(usize);

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        if self.0 > BODY_BYTES_MAX {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Files that were stored for an order.
pub(super) struct Kept(Vec<StoredFile>);

impl Kept {
    /// Removes them: no task came of the order.
    pub(super) async fn drop(self, api: &Api, account: &AccountId) {
        for file in self.0 {
            (api.shelf.drop)(account.clone(), file.path).await;
        }
    }
}

/// Stores what an order has marks for, and puts links in place of them.
///
/// # Errors
/// One of them is no file that is kept; the refusal names it, and none is kept.
pub(super) async fn keep(
    api: &Api,
    account: &AccountId,
    taken: Taken,
    order: &mut Order,
) -> Result<Kept, ApiError> {
    let mut kept = Kept(Vec::new());
    if taken.0.is_empty() {
        return Ok(kept);
    }
    let Taken(mut texts) = taken;
    let group = order.modality.group();
    for (name, value) in &mut order.params {
        for (index, item) in value.as_array_mut().into_iter().flatten().enumerate() {
            let number = item.as_str().and_then(number);
            let Some(text) = number.and_then(|number| texts.get_mut(number)) else {
                continue;
            };
            let text = std::mem::take(text);
            let path = format!("{group}.{name}[{index}]");
            match keep_one(api, account, text, &path).await {
                Ok(file) => {
                    *item = Value::from(api.file_url(&file));
                    kept.0.push(file);
                }
                Err(refusal) => {
                    kept.drop(api, account).await;
                    return Err(refusal);
                }
            }
        }
    }
    Ok(kept)
}

/// The number of a mark.
fn number(text: &str) -> Option<usize> {
    text.strip_prefix(MARK)?.strip_suffix(",x")?.parse().ok()
}

async fn keep_one(
    api: &Api,
    account: &AccountId,
    text: String,
    path: &str,
) -> Result<StoredFile, ApiError> {
    let bytes = decoded(&text).map_err(|message| match message {
        None => Unkept::TooLarge(FILE_BYTES_MAX).refusal(path),
        Some(message) => ApiError::invalid(path.to_owned(), message),
    })?;
    drop(text);
    let file = NewFile {
        account: account.clone(),
        content: stream::iter([Ok(bytes)]).boxed(),
        bytes_max: FILE_BYTES_MAX,
    };
    let kept = (api.shelf.keep)(file).await;
    kept.map_err(|unkept| unkept.refusal(path))
}

/// The bytes of a `data:` URL; what is wrong with it, nothing if that is its size.
fn decoded(text: &str) -> Result<Bytes, Option<&'static str>> {
    let parts = text.split_once(',');
    let parts = parts.filter(|(kind, _)| kind.to_ascii_lowercase().ends_with(";base64"));
    let (_, base64) = parts.ok_or(Some("must be a data: URL in base64"))?;
    // Four characters are three bytes.
    if base64.len() as u64 / 4 * 3 > FILE_BYTES_MAX + 3 {
        return Err(None);
    }
    let bytes = BASE64.decode(base64);
    let bytes = bytes.map_err(|_| Some("is not well-formed base64"))?;
    match bytes.len() as u64 > FILE_BYTES_MAX {
        true => Err(None),
        false => Ok(bytes.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_with_and_without_padding() {
        for text in ["data:image/png;base64,QUI=", "DATA:x/y;a=b;BASE64,QUI"] {
            assert_eq!(decoded(text).unwrap(), b"AB"[..], "{text}");
        }
        for text in [
            "data:image/png,AB",
            "data:",
            "data:;base64",
            "data:a/b;base64,A*",
        ] {
            assert!(decoded(text).unwrap_err().is_some(), "{text}");
        }
        let long = format!("data:a/b;base64,{}", "A".repeat((10 << 20) / 3 * 4 + 8));
        assert_eq!(decoded(&long), Err(None));
    }

    #[test]
    fn only_marks_have_numbers() {
        assert_eq!(number("data:taken/7,x"), Some(7));
        for text in [
            "data:taken/,x",
            "data:taken/7",
            "data:image/png;base64,x",
            "x",
        ] {
            assert_eq!(number(text), None);
        }
    }
}
