//! Sets of byte ranges.

use std::collections::VecDeque;

use serde_json::{Value, json};

/// Disjoint ranges in order, none touching the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Adds `start..end`.
    pub fn insert(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let first = self.0.partition_point(|r| r.1 < start);
        let last = self.0.partition_point(|r| r.0 <= end);
        let merged = self.0[first..last].iter().fold((start, end), |m, r| (m.0.min(r.0), m.1.max(r.1)));
        self.0.splice(first..last, [merged]);
    }

    /// Bytes in all ranges.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|r| r.1 - r.0).sum()
    }

    /// The end of the range that begins at 0.
    pub fn prefix(&self) -> u64 {
        self.0.first().filter(|r| r.0 == 0).map_or(0, |r| r.1)
    }

    /// What is missing of `0..size`, in pieces of `piece` bytes at most.
    pub fn gaps(&self, size: u64, piece: u64) -> VecDeque<(u64, u64)> {
        let mut gaps = VecDeque::new();
        let mut at = 0;
        for &(start, end) in self.0.iter().chain([&(size, size)]) {
            while at < start {
                let to = start.min(at + piece);
                gaps.push_back((at, to));
                at = to;
            }
            at = at.max(end);
        }
        gaps
    }

    pub fn to_json(&self) -> Value {
        self.0.iter().map(|r| json!([r.0, r.1])).collect()
    }

    /// `None` if the JSON is not a list of ranges within `0..size`.
    pub fn from_json(json: &Value, size: u64) -> Option<Ranges> {
        let mut ranges = Ranges::default();
        for pair in json.as_array()? {
            let (start, end) = (pair.get(0)?.as_u64()?, pair.get(1)?.as_u64()?);
            if start >= end || end > size {
                return None;
            }
            ranges.insert(start, end);
        }
        Some(ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_and_finds_gaps() {
        let mut ranges = Ranges::default();
        for (start, end) in [(10, 20), (30, 40), (20, 25), (5, 5), (38, 50), (0, 1)] {
            ranges.insert(start, end);
        }
        assert_eq!(ranges.0, [(0, 1), (10, 25), (30, 50)]);
        assert_eq!((ranges.total(), ranges.prefix()), (36, 1));
        assert_eq!(ranges.gaps(60, 6), [(1, 7), (7, 10), (25, 30), (50, 56), (56, 60)]);
        assert_eq!(Ranges::from_json(&ranges.to_json(), 60), Some(ranges.clone()));
        assert_eq!(Ranges::from_json(&ranges.to_json(), 49), None);
        ranges.insert(0, 60);
        assert_eq!(ranges.0, [(0, 60)]);
        assert!(ranges.gaps(60, 6).is_empty());
    }

    /// Against a plain set of bytes.
    #[test]
    fn agrees_with_a_set() {
        let mut seed = 7u64;
        let mut next = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % 64
        };
        for _ in 0..200 {
            let (mut ranges, mut set) = (Ranges::default(), [false; 64]);
            for _ in 0..8 {
                let (a, b) = (next(), next());
                ranges.insert(a, b);
                (a..b).for_each(|i| set[i as usize] = true);
            }
            let mut covered = [true; 64];
            ranges.gaps(64, 5).iter().for_each(|g| (g.0..g.1).for_each(|i| covered[i as usize] = false));
            assert_eq!(covered, set);
            assert_eq!(ranges.total(), set.iter().filter(|s| **s).count() as u64);
        }
    }
}
