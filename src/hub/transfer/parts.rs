//! Which parts of a file have arrived, which are in flight, and which have not been started.

use std::collections::VecDeque;

use super::super::ranges::Ranges;

/// A range that a worker fetches.
pub(in super::super) struct Chunk {
    id: u64,
    pub(super) at: u64,
    pub(super) end: u64,
}

/// The progress of a worker in its range.
struct Active {
    id: u64,
    start: u64,
    at: u64,
}

/// The parts of one file.
#[derive(Default)]
pub(super) struct Parts {
    size: u64,
    there: Ranges,
    queue: VecDeque<(u64, u64)>,
    active: Vec<Active>,
    next_id: u64,
    /// The worker that alone fetches everything, from a server without ranges.
    alone: Option<u64>,
}

impl Parts {
    /// A file of `size` bytes, some of which are there, the others to be fetched in pieces of `piece` bytes.
    pub fn new(size: u64, there: Ranges, piece: u64) -> Parts {
        let mut parts = Parts { size, there, ..Parts::default() };
        parts.cut(piece);
        parts
    }

    /// Queues what is missing, in pieces of `piece` bytes. No worker is on the file.
    pub fn cut(&mut self, piece: u64) {
        self.queue = self.there.gaps(self.size, piece);
    }

    /// Discards everything. No worker is on the file.
    pub fn clear(&mut self, piece: u64) {
        self.there = Ranges::default();
        self.alone = None;
        self.cut(piece);
    }

    /// The next range for a worker.
    pub fn claim(&mut self) -> Option<Chunk> {
        let (at, end) = self.queue.pop_front()?;
        let id = self.next_id;
        self.next_id += 1;
        self.active.push(Active { id, start: at, at });
        Some(Chunk { id, at, end })
    }

    /// What a worker that is about to leave has not fetched goes to the next.
    pub fn give_back(&mut self, chunk: &Chunk) {
        if self.counts(chunk) && self.alone.is_none() && chunk.at < chunk.end {
            self.queue.push_front((chunk.at, chunk.end));
        }
    }

    /// Whether what this worker fetches still counts.
    pub fn counts(&self, chunk: &Chunk) -> bool {
        self.alone.is_none_or(|id| id == chunk.id) && self.active.iter().any(|a| a.id == chunk.id)
    }

    /// A worker has come as far as `chunk.at`; false if that does not count any more.
    pub fn advance(&mut self, chunk: &Chunk) -> bool {
        let part = self.active.iter_mut().find(|a| a.id == chunk.id);
        part.map(|part| part.at = chunk.at).is_some()
    }

    /// A worker leaves its range; what it has of it stays.
    pub fn leave(&mut self, chunk: &Chunk) {
        if let Some(place) = self.active.iter().position(|a| a.id == chunk.id) {
            let part = self.active.swap_remove(place);
            self.there.insert(part.start, part.at);
        }
        if self.alone == Some(chunk.id) {
            self.alone = None;
        }
    }

    /// The server sends the whole file: this worker takes all of it from the beginning, and the others leave.
    pub fn take_all(&mut self, chunk: &mut Chunk) {
        if chunk.at != 0 || chunk.end != self.size {
            self.alone = Some(chunk.id);
            self.queue.clear();
            self.there = Ranges::default();
            // Parts of workers that are leaving count for nothing, or the file would be complete too early.
            self.active.retain(|a| a.id == chunk.id);
        }
        for part in &mut self.active {
            (part.start, part.at) = (0, 0);
        }
        (chunk.at, chunk.end) = (0, self.size);
    }

    /// Whether no worker is on the file.
    pub fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// Whether ranges wait for workers.
    pub fn has_queue(&self) -> bool {
        !self.queue.is_empty()
    }

    /// All bytes that have arrived, including those of ranges in flight.
    pub fn arrived(&self) -> Ranges {
        let mut there = self.there.clone();
        for part in &self.active {
            there.insert(part.start, part.at);
        }
        there
    }

    /// Bytes that have arrived, not counting ranges in flight.
    pub fn total(&self) -> u64 {
        self.there.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advance(parts: &mut Parts, chunk: &mut Chunk, bytes: u64) -> bool {
        chunk.at += bytes;
        parts.advance(chunk)
    }

    #[test]
    fn what_workers_leave_is_fetched_by_the_next() {
        let mut parts = Parts::new(100, Ranges::default(), 40);
        let mut first = parts.claim().unwrap();
        let second = parts.claim().unwrap();
        assert_eq!((second.at, second.end), (40, 80));
        assert!(advance(&mut parts, &mut first, 15));
        assert_eq!((parts.arrived().total(), parts.arrived().prefix(), parts.total()), (15, 15, 0));
        parts.leave(&first);
        parts.leave(&second);
        assert!(parts.is_idle() && parts.has_queue());
        parts.cut(40);
        let rest: Vec<(u64, u64)> = std::iter::from_fn(|| parts.claim()).map(|c| (c.at, c.end)).collect();
        assert_eq!(rest, [(15, 55), (55, 95), (95, 100)]);
    }

    #[test]
    fn what_a_worker_gives_back_comes_next() {
        let mut parts = Parts::new(100, Ranges::default(), 40);
        let mut first = parts.claim().unwrap();
        advance(&mut parts, &mut first, 15);
        parts.give_back(&first);
        parts.leave(&first);
        let next = parts.claim().unwrap();
        assert_eq!((next.at, next.end, parts.total()), (15, 40, 15));
    }

    #[test]
    fn one_worker_can_take_everything() {
        let mut parts = Parts::new(100, Ranges::default(), 40);
        let mut first = parts.claim().unwrap();
        let mut second = parts.claim().unwrap();
        advance(&mut parts, &mut first, 40);
        parts.take_all(&mut second);
        assert_eq!((second.at, second.end, parts.arrived().total()), (0, 100, 0));
        assert!(parts.counts(&second) && !parts.counts(&first) && !parts.has_queue());
        assert!(!advance(&mut parts, &mut first, 0), "what it brings does not count");
        parts.leave(&first);
        assert_eq!(parts.total(), 0);
        advance(&mut parts, &mut second, 100);
        parts.leave(&second);
        assert!(parts.is_idle() && parts.total() == 100);
    }

    #[test]
    fn a_file_in_one_piece_is_no_special_case() {
        let mut parts = Parts::new(10, Ranges::default(), 10);
        let mut all = parts.claim().unwrap();
        parts.take_all(&mut all);
        assert!(parts.counts(&all) && parts.claim().is_none());
        parts.leave(&all);
        parts.clear(10);
        assert!(parts.claim().is_some());
        assert!(Parts::new(0, Ranges::default(), 1).claim().is_none());
    }
}
