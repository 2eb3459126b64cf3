//! Which bytes of a file a request asks for (RFC 9110, section 14).

use std::ops::Range;

use axum::http::HeaderValue;

/// What a range comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// These bytes; never none.
    Part(Range<u64>),
    /// Nothing that the file has.
    Beyond,
}

/// The one range of bytes that a header asks for. Several ranges, other units and nonsense are
/// answered with the whole file, as the specification allows.
pub(super) fn asked_range(text: &HeaderValue, total: u64) -> Option<Asked> {
    let (unit, spec) = text.to_str().ok()?.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = spec.trim().split_once('-')?;
    let range = match (first, last) {
        ("", suffix) => total.saturating_sub(number(suffix)?)..total,
        (first, "") => number(first)?..total,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(total)
        }
    };
    Some(if range.start >= range.end {
        Asked::Beyond
    } else {
        Asked::Part(range)
    })
}

/// Digits alone; more than fit are as many as can be.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(text: &str) -> Option<Asked> {
        asked_range(&HeaderValue::from_str(text).unwrap(), 100)
    }

    #[test]
    fn one_range_is_understood_in_each_of_its_forms() {
        for (text, range) in [
            ("bytes=0-0", 0..1),
            ("bytes=10-19", 10..20),
            ("bytes=90-", 90..100),
            ("bytes=-10", 90..100),
            ("bytes=-1000", 0..100),
            ("bytes=50-99999999999999999999", 50..100),
            ("Bytes = 5-6 ", 5..7),
        ] {
            assert_eq!(asked(text), Some(Asked::Part(range)), "{text}");
        }
        for text in [
            "bytes=100-",
            "bytes=100-200",
            "bytes=-0",
            "bytes=99999999999999999999-",
        ] {
            assert_eq!(asked(text), Some(Asked::Beyond), "{text}");
        }
    }

    #[test]
    fn anything_else_means_the_whole_file() {
        for text in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=9-3",
            "bytes=+1-2",
            "bytes=1--2",
            "bytes=0-1,5-6",
            "items=0-1",
            "bytes=0x1-2",
            "bytes 0-1",
            "bytes=1",
        ] {
            assert_eq!(asked(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_and_never_beyond_the_end(text in "bytes=[0-9]{0,3}-[0-9]{0,3}", total in 0_u64..300) {
            let header = HeaderValue::from_str(&text).unwrap();
            if let Some(Asked::Part(range)) = asked_range(&header, total) {
                prop_assert!(range.start < range.end && range.end <= total);
            }
        }
    }
}
