//! Dates as the Hub writes them.

/// Days since 1970 of a date that begins like `2025-01-31`.
pub(super) fn days(date: &str) -> Option<i64> {
    let date = date.get(..10)?;
    let mut parts = date.split('-');
    let (y, m, d) = (parts.next()?, parts.next()?, parts.next()?);
    if (y.len(), m.len(), d.len()) != (4, 2, 2) {
        return None;
    }
    let (y, m, d): (i64, i64, i64) = (y.parse().ok()?, m.parse().ok()?, d.parse().ok()?);
    if !(1..=12).contains(&m) || !(1..=31).contains(&d) {
        return None;
    }
    // Years that begin in March, so that a leap day is their last.
    let (y, m) = if m > 2 { (y, m - 3) } else { (y - 1, m + 9) };
    Some(365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + d - 1 - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(days("1970-01-01"), Some(0));
        assert_eq!(days("2000-02-29T00:00:00.000Z"), Some(11_016));
        assert_eq!(days("2024-10-04"), Some(20_000));
        for bad in ["", "2025", "2025-13-01", "2025-1-1", "25-01-01xx", "2025-01-ü"] {
            assert_eq!(days(bad), None, "{bad}");
        }
    }
}
