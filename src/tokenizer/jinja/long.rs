//! Integers beyond 128 bits, which only JSON brings: they are printed and compared, not computed with.

use minijinja::Value;
use minijinja::value::{Object, ObjectRepr};
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::number::{Number, as_number};

/// The digits, without zeros before them, perhaps with a sign.
#[derive(PartialEq)]
pub(super) struct Long(String);

impl fmt::Debug for Long {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Object for Long {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }
}

/// The number that JSON text stands for: an integer, `NaN` or an infinity.
pub(super) fn from_text(text: &str) -> Value {
    match (text.parse::<i128>(), text) {
        (Ok(number), _) => Number::Int(number).value(),
        (_, "NaN") => f64::NAN.into(),
        (_, "Infinity") => f64::INFINITY.into(),
        (_, "-Infinity") => f64::NEG_INFINITY.into(),
        _ => Value::from_object(Long(text.to_owned())),
    }
}

pub(super) fn digits(value: &Value) -> Option<&str> {
    value.downcast_object_ref::<Long>().map(|long| long.0.as_str())
}

impl Long {
    fn float(&self) -> f64 {
        self.0.parse().unwrap_or(f64::NAN)
    }

    fn is_negative(&self) -> bool {
        self.0.starts_with('-')
    }

    fn compare(&self, other: &Long) -> Ordering {
        let (a, b) = (self.0.trim_start_matches('-'), other.0.trim_start_matches('-'));
        let sizes = || a.len().cmp(&b.len()).then_with(|| a.cmp(b));
        match (self.is_negative(), other.is_negative()) {
            (false, false) => sizes(),
            (true, true) => sizes().reverse(),
            (negative, _) => {
                if negative {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
        }
    }

    fn compare_number(&self, other: Number) -> Option<Ordering> {
        match other {
            Number::Int(_) => Some(if self.is_negative() { Ordering::Less } else { Ordering::Greater }),
            Number::Float(float) => self.float().partial_cmp(&float),
        }
    }
}

/// The order of two numbers of which at least one is long; `None` where that is not what they are. The inner `None` is the
/// order of NaN.
pub(super) fn order(a: &Value, b: &Value) -> Option<Option<Ordering>> {
    match (a.downcast_object_ref::<Long>(), b.downcast_object_ref::<Long>()) {
        (Some(x), Some(y)) => Some(Some(x.compare(y))),
        (Some(x), None) => as_number(b).map(|y| x.compare_number(y)),
        (None, Some(y)) => as_number(a).map(|x| y.compare_number(x).map(Ordering::reverse)),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_numbers() {
        let long = |sign: &str, first: char| from_text(&format!("{sign}{first}{}", "0".repeat(50)));
        let is_long = |value: &Value| digits(value).is_some();
        let ascending = [
            f64::NEG_INFINITY.into(),
            long("-", '2'),
            long("-", '1'),
            i128::MIN.into(),
            (-1.5).into(),
            0.into(),
            i128::MAX.into(),
            long("", '1'),
            long("", '2'),
            1e60.into(),
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                if is_long(a) || is_long(b) {
                    assert_eq!(order(a, b), Some(Some(i.cmp(&j))), "{a} {b}");
                }
            }
        }
        assert_eq!(order(&ascending[1], &f64::NAN.into()), Some(None));
        assert_eq!(order(&ascending[1], &"a".into()), None);
        assert_eq!(order(&1.into(), &2.into()), None);
    }
}
