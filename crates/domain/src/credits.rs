//! Money: integer micro-credits, decimal in JSON and TOML.
//!
//! Invariant: no float takes part in a calculation. A float appears only as the carrier of a JSON
//! number, where the shortest decimal that reads back as the same float is the decimal meant:
//! exact for every whole amount and for every fraction below 2^33 (8 589 934 592) credits.

use std::fmt;

use serde::de::{Deserializer, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// Micro-credits in one credit; one credit is one US dollar.
pub const MICROS_PER_CREDIT: i64 = 1_000_000;

/// Decimal places of a credit.
const PLACES: u32 = 6;

/// An amount of money in micro-credits. May be negative in a ledger, never in a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Credits(pub i64);

/// Why a text is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not a plain decimal number.
    #[error("an amount is a decimal number such as 0.35")]
    Malformed,
    /// More than six decimal places.
    #[error("an amount has at most 6 decimal places")]
    TooFine,
    /// Beyond 64 bits of micro-credits.
    #[error("the amount is out of range")]
    OutOfRange,
}

impl Credits {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Whether it is nothing.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// The sum, `None` beyond 64 bits.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, `None` beyond 64 bits.
    #[must_use]
    pub fn minus(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The amount taken `count` times, `None` beyond 64 bits.
    #[must_use]
    pub fn times(self, count: i64) -> Option<Self> {
        self.0.checked_mul(count).map(Self)
    }

    /// `self × numerator ÷ denominator`, rounded up to the next micro-credit; `None` beyond 64 bits,
    /// for a negative factor and for a denominator of 0.
    #[must_use]
    pub fn share(self, numerator: u64, denominator: u64) -> Option<Self> {
        let product = i128::from(self.0).checked_mul(i128::from(numerator))?;
        let denominator = i128::from(denominator);
        let floor = product.checked_div_euclid(denominator)?;
        let rest = product.checked_rem_euclid(denominator)?;
        let rounded = floor.checked_add(i128::from(rest != 0))?;
        i64::try_from(rounded).ok().map(Self)
    }

    /// Reads a decimal number of credits: `42`, `-0.35`, `1e-3`.
    ///
    /// # Errors
    /// The text is no decimal number, has more than six decimal places, or is too large.
    pub fn parse(text: &str) -> Result<Self, AmountError> {
        let (micros, exact) = scaled(text, PLACES)?;
        if exact {
            Ok(Self(micros))
        } else {
            Err(AmountError::TooFine)
        }
    }
}

/// Prints the shortest decimal: `0.35`, `42`, `-0.000001`.
impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, fraction) = (size / 1_000_000, size % 1_000_000);
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let digits = format!("{fraction:06}");
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

/// A JSON number: an integer for a whole amount, else the float whose shortest form is the decimal.
impl Serialize for Credits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 % MICROS_PER_CREDIT == 0 {
            return serializer.serialize_i64(self.0 / MICROS_PER_CREDIT);
        }
        // Of two numbers that a float holds exactly the quotient is the nearest float, as read from text.
        let number = match i32::try_from(self.0) {
            Ok(micros) => f64::from(micros) / 1e6,
            Err(_) => {
                let text = self.to_string();
                text.parse().map_err(serde::ser::Error::custom)?
            }
        };
        serializer.serialize_f64(number)
    }
}

impl<'de> Deserialize<'de> for Credits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Amount;

        impl Visitor<'_> for Amount {
            type Value = Credits;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal number of credits")
            }

            fn visit_i64<E: serde::de::Error>(self, whole: i64) -> Result<Credits, E> {
                let micros = whole.checked_mul(MICROS_PER_CREDIT);
                micros
                    .map(Credits)
                    .ok_or_else(|| E::custom(AmountError::OutOfRange))
            }

            fn visit_u64<E: serde::de::Error>(self, whole: u64) -> Result<Credits, E> {
                let whole = i64::try_from(whole).map_err(|_| E::custom(AmountError::OutOfRange))?;
                self.visit_i64(whole)
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Credits, E> {
                Credits::parse(&number.to_string()).map_err(E::custom)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Credits, E> {
                Credits::parse(text).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Amount)
    }
}

/// A decimal text times 10^`places`, rounded up, and whether that was exact.
///
/// # Errors
/// The text is no decimal number, or the result does not fit.
pub(crate) fn scaled(text: &str, places: u32) -> Result<(i64, bool), AmountError> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (
            mantissa,
            exponent
                .parse::<i32>()
                .map_err(|_| AmountError::Malformed)?,
        ),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_decimal = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_decimal(whole) || !is_decimal(fraction) {
        return Err(AmountError::Malformed);
    }
    if digits.ends_with('.') {
        return Err(AmountError::Malformed);
    }
    // The digits before `cut` make the result, the others are the rounded remainder.
    let cut = i64::try_from(whole.len())
        .ok()
        .and_then(|length| length.checked_add(i64::from(exponent)))
        .and_then(|length| length.checked_add(i64::from(places)))
        .ok_or(AmountError::OutOfRange)?;
    let mut value = 0_i64;
    let mut is_exact = true;
    let mut position = 0_i64;
    for byte in whole.bytes().chain(fraction.bytes()) {
        let digit = i64::from(byte.wrapping_sub(b'0'));
        if position < cut {
            value = shifted(value, digit)?;
        } else if digit != 0 {
            is_exact = false;
        }
        position = position.saturating_add(1);
    }
    while position < cut && value != 0 {
        value = shifted(value, 0)?;
        position = position.saturating_add(1);
    }
    if negative {
        // Rounding up means towards zero here.
        return Ok((
            value.checked_neg().ok_or(AmountError::OutOfRange)?,
            is_exact,
        ));
    }
    let rounded = value
        .checked_add(i64::from(!is_exact))
        .ok_or(AmountError::OutOfRange)?;
    Ok((rounded, is_exact))
}

fn shifted(value: i64, digit: i64) -> Result<i64, AmountError> {
    let tenfold = value.checked_mul(10).ok_or(AmountError::OutOfRange)?;
    tenfold.checked_add(digit).ok_or(AmountError::OutOfRange)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_read_exactly() {
        for (text, micros) in [
            ("0", 0),
            ("42", 42_000_000),
            ("42.50", 42_500_000),
            ("0.35", 350_000),
            ("-0.05", -50_000),
            ("0.000001", 1),
            ("1e-6", 1),
            ("1.5E2", 150_000_000),
            ("0e999999999", 0),
            ("9223372036854.775807", i64::MAX),
        ] {
            assert_eq!(Credits::parse(text), Ok(Credits(micros)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "", "-", ".5", "5.", "1,5", "+1", "0x10", "1e", "NaN", "inf", "1 ", "1e5.0", "1e--1",
        ] {
            assert_eq!(Credits::parse(text), Err(AmountError::Malformed), "{text}");
        }
        assert_eq!(Credits::parse("0.0000001"), Err(AmountError::TooFine));
        assert_eq!(
            Credits::parse("9223372036854.775808"),
            Err(AmountError::OutOfRange)
        );
        assert_eq!(Credits::parse("1e400"), Err(AmountError::OutOfRange));
    }

    #[test]
    fn json_shows_plain_decimals() {
        let json = |micros| serde_json::to_string(&Credits(micros)).unwrap();
        assert_eq!(json(350_000), "0.35");
        assert_eq!(json(0), "0");
        assert_eq!(json(42_000_000), "42");
        assert_eq!(json(-50_000), "-0.05");
        assert_eq!(json(8_589_934_591_999_999), "8589934591.999999");
        assert!(serde_json::from_str::<Credits>("0.0000001").is_err());
        assert!(serde_json::from_str::<Credits>("1e300").is_err());
        assert!(serde_json::from_str::<Credits>("true").is_err());
    }

    #[test]
    fn shares_round_up() {
        assert_eq!(Credits(1).share(1, 3), Some(Credits(1)));
        assert_eq!(Credits(10).share(12_500, 10_000), Some(Credits(13)));
        assert_eq!(Credits(10).share(1, 0), None);
        assert_eq!(Credits(i64::MAX).share(2, 1), None);
        assert_eq!(
            Credits(i64::MAX).share(2, 4),
            Some(Credits(4_611_686_018_427_387_904))
        );
    }

    proptest! {
        #[test]
        fn text_reads_back(micros in any::<i64>()) {
            prop_assume!(micros != i64::MIN);
            prop_assert_eq!(Credits::parse(&Credits(micros).to_string()), Ok(Credits(micros)));
        }

        #[test]
        fn json_reads_back(micros in -8_589_934_592_000_000_i64..=8_589_934_592_000_000) {
            let json = serde_json::to_string(&Credits(micros)).unwrap();
            prop_assert_eq!(serde_json::from_str::<Credits>(&json).unwrap(), Credits(micros));
            let value = serde_json::to_value(Credits(micros)).unwrap();
            prop_assert_eq!(serde_json::from_value::<Credits>(value).unwrap(), Credits(micros));
        }

        #[test]
        fn small_amounts_are_written_as_their_decimals_are(micros in any::<i32>()) {
            let amount = Credits(i64::from(micros));
            let decimal: f64 = amount.to_string().parse().unwrap();
            let written: f64 = serde_json::to_string(&amount).unwrap().parse().unwrap();
            prop_assert_eq!(written.to_bits(), decimal.to_bits());
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".*") {
            let _ = Credits::parse(&text);
        }
    }
}
