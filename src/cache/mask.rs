//! Which positions a query sees.

use std::ops::Range;

use crate::array::fused::{Mask, causal_mask};
use crate::array::{Array, Dtype, arange};
use crate::error::{Error, Result};

/// Which of the positions of one forward pass see which. All of them see what the cache remembers, as far as the
/// layer's window reaches.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Visible {
    /// Each sees itself and those before it.
    #[default]
    Causal,
    /// Each sees all, on both sides as far as the window reaches.
    Full,
    /// Causal, and the positions of a span see each other whatever the window: an image within a text. One list of
    /// spans a sequence, or one for all; positions count from the first of this pass, and no two spans of a sequence
    /// overlap.
    Spans(Vec<Vec<Range<i32>>>),
}

impl Visible {
    /// The mask for `n` new positions after `before` remembered keys.
    pub fn mask(&self, n: i32, before: i32, window: Option<i32>) -> Result<Mask> {
        // One position sees all that is kept.
        if n == 1 {
            return Ok(Mask::None);
        }
        let window = window.filter(|window| before + n > *window);
        match (self, window) {
            (Visible::Causal, None) => Ok(Mask::Causal),
            (Visible::Full, None) => Ok(Mask::None),
            (Visible::Causal, _) => Ok(Mask::Array(causal_mask(n, before, window)?)),
            (Visible::Full, Some(window)) => {
                let (queries, keys) = places(n, before)?;
                let near = |a: &Array, b: &Array| a.less(&(b + window as f32)?);
                Ok(Mask::Array(near(&queries, &keys)?.logical_and(&near(&keys, &queries)?)?))
            }
            (Visible::Spans(rows), _) => {
                let Some(spans) = numbered(rows, n)? else { return Visible::Causal.mask(n, before, window) };
                let causal = causal_mask(n, before, window)?;
                Ok(Mask::Array(causal.logical_or(&within_spans(&spans, n, before)?)?))
            }
        }
    }
}

/// The places of `n` queries, `[n, 1]`, and of all keys, `[1, before + n]`.
fn places(n: i32, before: i32) -> Result<(Array, Array)> {
    let from = |start: i32| arange(f64::from(start), f64::from(before + n), 1.0, Dtype::I32);
    Ok((from(before)?.expand_dims(1)?, from(0)?.expand_dims(0)?))
}

/// For each sequence the number of the span that each of `n` positions is in, 0 for none; one for all where they are
/// alike, `None` where there are no spans.
fn numbered(rows: &[Vec<Range<i32>>], n: i32) -> Result<Option<Vec<Vec<i32>>>> {
    let mut all = Vec::with_capacity(rows.len());
    for spans in rows {
        let mut row = vec![0; n as usize];
        for (span, number) in spans.iter().zip(1..) {
            let places = row.get_mut(span.start.max(0) as usize..span.end.max(0) as usize);
            match places.filter(|places| span.start >= 0 && !places.is_empty() && places.iter().all(|p| *p == 0)) {
                Some(places) => places.fill(number),
                None => {
                    return Err(Error::invalid_argument(format!("the span {span:?} of {n} positions")));
                }
            }
        }
        all.push(row);
    }
    if all.windows(2).all(|pair| pair[0] == pair[1]) {
        all.truncate(1);
    }
    Ok(Some(all).filter(|all| all.iter().flatten().any(|number| *number != 0)))
}

/// Whether query and key are in the same span: `[n, before + n]`, or `[sequences, 1, n, before + n]`.
fn within_spans(rows: &[Vec<i32>], n: i32, before: i32) -> Result<Array> {
    let of = |pad: i32| -> Result<Array> {
        let padded = rows.iter().flat_map(|row| std::iter::repeat_n(0, pad as usize).chain(row.iter().copied()));
        Array::from_slice(&padded.collect::<Vec<_>>(), &[rows.len() as i32, pad + n])
    };
    let shaped = |a: Array, shape: [i32; 2]| match rows.len() {
        1 => a.reshape(&shape),
        count => a.reshape(&[count as i32, 1, shape[0], shape[1]]),
    };
    let (queries, keys) = (shaped(of(0)?, [n, 1])?, shaped(of(before)?, [1, before + n])?);
    queries.equal(&keys)?.logical_and(&queries.greater_equal(&Array::scalar(1.0, Dtype::I32)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of 0 and 1.
    fn drawn(mask: Mask) -> Vec<String> {
        let Mask::Array(mask) = mask else { panic!("{mask:?}") };
        let columns = mask.dim(-1) as usize;
        let all = mask.to_vec::<bool>().unwrap();
        all.chunks(columns).map(|row| row.iter().map(|b| if *b { '1' } else { '0' }).collect()).collect()
    }

    #[test]
    fn windows_and_spans_meet() {
        assert_eq!(drawn(Visible::Causal.mask(3, 2, Some(2)).unwrap()), ["01100", "00110", "00011"]);
        assert_eq!(drawn(Visible::Full.mask(3, 2, Some(2)).unwrap()), ["01110", "00111", "00011"]);
        let spans = |rows: Vec<Vec<Range<i32>>>| Visible::Spans(rows);
        assert_eq!(drawn(spans(vec![vec![0..3]]).mask(4, 1, None).unwrap()), ["11110", "11110", "11110", "11111"]);
        assert_eq!(
            drawn(spans(vec![vec![1..4]]).mask(4, 1, Some(2)).unwrap()),
            ["11000", "01111", "00111", "00111"].map(|s| s)
        );
        let two = spans(vec![vec![0..2], vec![]]).mask(2, 0, None).unwrap();
        assert_eq!(drawn(two), ["11", "11", "10", "11"]);
        assert!(matches!(spans(vec![vec![]]).mask(4, 0, None).unwrap(), Mask::Causal));
        assert!(matches!(Visible::Full.mask(4, 0, Some(4)).unwrap(), Mask::None));
        assert!(matches!(Visible::Full.mask(1, 9, Some(4)).unwrap(), Mask::None));
    }

    #[test]
    #[allow(clippy::reversed_empty_ranges)]
    fn spans_that_cannot_be_are_errors() {
        for span in [2..6, -1..2, 3..3, 3..2] {
            assert!(Visible::Spans(vec![vec![span.clone()]]).mask(5, 0, None).is_err(), "{span:?}");
        }
        assert!(Visible::Spans(vec![vec![0..3, 2..4]]).mask(5, 0, None).is_err());
    }
}
