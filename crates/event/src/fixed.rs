//! Exact decimal numbers in steps of 1e-9: what conditions compare. Sums of them do not depend on
//! the order of adding, so that an alert is the same to the byte however its events came.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number in steps of 1e-9.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fixed(
    /// The number times 10^9.
    pub i128,
);

/// Steps in one.
const ONE: i128 = 1_000_000_000;
/// Digits after the point.
const DIGITS: usize = 9;

impl Fixed {
    /// The nearest step to a floating-point number; `None` for one that is not finite or beyond
    /// ±10^18.
    pub fn from_f64(number: f64) -> Option<Self> {
        let is_in_range = number.is_finite() && number.abs() <= 1e18;
        is_in_range.then(|| Self((number * ONE as f64).round() as i128))
    }

    /// The nearest floating-point number.
    pub fn to_f64(self) -> f64 {
        match self.whole() {
            Some(whole) => whole as f64,
            None => self.0 as f64 / ONE as f64,
        }
    }

    /// The number, if it is a whole one within 64 bits.
    pub fn whole(self) -> Option<i64> {
        (self.0 % ONE == 0).then(|| i64::try_from(self.0 / ONE).ok()).flatten()
    }
}

impl From<i64> for Fixed {
    fn from(whole: i64) -> Self {
        Self(i128::from(whole) * ONE)
    }
}

impl PartialEq<i64> for Fixed {
    fn eq(&self, other: &i64) -> bool {
        *self == Self::from(*other)
    }
}

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let steps = self.0.unsigned_abs();
        let (whole, part) = (steps / ONE as u128, steps % ONE as u128);
        let text = match part {
            0 => format!("{sign}{whole}"),
            part => {
                let digits = format!("{part:0DIGITS$}");
                format!("{sign}{whole}.{}", digits.trim_end_matches('0'))
            }
        };
        f.pad(&text)
    }
}

/// As a JSON number: a whole one as an integer, any other as the nearest floating-point number. In
/// formats for machines it is kept as it is.
impl Serialize for Fixed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_newtype_struct("Fixed", &self.0);
        }
        match self.whole() {
            Some(whole) => serializer.serialize_i64(whole),
            None => serializer.serialize_f64(self.to_f64()),
        }
    }
}

/// The counterpart of [`Serialize`].
impl<'de> Deserialize<'de> for Fixed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match from.is_human_readable() {
            true => from.deserialize_any(NumberVisitor),
            false => from.deserialize_newtype_struct("Fixed", NumberVisitor),
        }
    }
}

struct NumberVisitor;

impl<'de> Visitor<'de> for NumberVisitor {
    type Value = Fixed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Fixed, D::Error> {
        i128::deserialize(from).map(Fixed)
    }

    fn visit_i64<E: de::Error>(self, whole: i64) -> Result<Fixed, E> {
        Ok(Fixed::from(whole))
    }

    fn visit_u64<E: de::Error>(self, whole: u64) -> Result<Fixed, E> {
        Ok(Fixed(i128::from(whole) * ONE))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Fixed, E> {
        Fixed::from_f64(number).ok_or_else(|| E::custom(format!("{number} is out of range")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_without_trailing_zeros() {
        for (number, shown) in [
            (Fixed::from(4), "4"),
            (Fixed(1_500_000_000), "1.5"),
            (Fixed(-1), "-0.000000001"),
            (Fixed(0), "0"),
        ] {
            assert_eq!(number.to_string(), shown);
            assert_eq!(
                serde_json::to_string(&number).ok().as_deref(),
                Some(match shown {
                    "-0.000000001" => "-1e-9",
                    shown => shown,
                })
            );
        }
    }

    #[test]
    fn a_tenth_three_times_is_three_tenths() {
        let tenth = Fixed::from_f64(0.1).expect("finite");
        assert_eq!(Fixed::from_f64(0.3), Some(Fixed(tenth.0 * 3)));
        assert_eq!(Fixed::from_f64(f64::NAN), None);
    }
}
