//! The caches of the sequences of a batch.

use crate::cache::{Cache, Layout};
use crate::error::{Error, Result};

/// Sequences that were last computed together share a cache, in which they stay until another group is requested: on a
/// CPU regrouping costs nothing, on a GPU it copies.
pub(super) struct Rows {
    layout: Layout,
    groups: Vec<Group>,
    count: usize,
}

struct Group {
    rows: Vec<usize>,
    cache: Cache,
}

impl Rows {
    pub fn new(layout: Layout) -> Rows {
        Rows { layout, groups: Vec::new(), count: 0 }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// Appends a sequence.
    pub fn push(&mut self, cache: Cache) {
        self.groups.push(Group { rows: vec![self.count], cache });
        self.count += 1;
    }

    /// Removes a sequence; later ones move up.
    pub fn remove(&mut self, row: usize) -> Result<Cache> {
        let cache = self.take(row)?;
        self.count -= 1;
        self.groups.iter_mut().flat_map(|g| &mut g.rows).filter(|r| **r > row).for_each(|r| *r -= 1);
        Ok(cache)
    }

    /// The cache of these sequences, in this order, and of no others. After an error none of them can be trusted.
    pub fn together(&mut self, rows: &[usize]) -> Result<&mut Cache> {
        if let Some(at) = self.groups.iter().position(|g| g.rows == rows) {
            return Ok(&mut self.groups[at].cache);
        }
        // The largest part that is grouped already; newcomers are appended to it.
        let fits = |g: &Group| if rows.starts_with(&g.rows) { g.rows.len() } else { 0 };
        let base = (0..self.groups.len()).max_by_key(|&i| fits(&self.groups[i])).filter(|&i| fits(&self.groups[i]) > 0);
        let mut group = match base {
            Some(i) => self.groups.swap_remove(i),
            None => Group { rows: vec![rows[0]], cache: self.take(rows[0])? },
        };
        for &row in &rows[group.rows.len()..] {
            let cache = self.take(row)?;
            group.cache.push(cache, self.layout)?;
            group.rows.push(row);
        }
        self.groups.push(group);
        Ok(&mut self.groups.last_mut().expect("just pushed").cache)
    }

    /// One sequence's own cache, taken out of its group.
    fn take(&mut self, row: usize) -> Result<Cache> {
        let found = self.groups.iter().enumerate().find_map(|(i, g)| Some((i, g.rows.iter().position(|r| *r == row)?)));
        let (i, at) = found.ok_or_else(|| Error::internal(format!("there is no sequence {row}")))?;
        let group = &mut self.groups[i];
        if group.rows.len() == 1 {
            return Ok(self.groups.swap_remove(i).cache);
        }
        group.rows.remove(at);
        group.cache.remove(at)
    }
}
