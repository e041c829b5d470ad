//! The store, with states that are what they are the state of.

use std::rc::Rc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::store::{Found, Kept, Kind, Mark, State, Store, Symbol};
use crate::cache::CacheOptions;
use crate::error::Result;
use crate::generate::ReuseEnd;

#[derive(Clone, Debug)]
struct Fake {
    symbols: Vec<Symbol>,
    /// Beyond so many positions none can be taken back.
    window: Option<usize>,
}

impl State for Fake {
    type Mark = Vec<Symbol>;

    fn position(&self) -> usize {
        self.symbols.len()
    }

    fn bytes(&self) -> usize {
        self.symbols.len()
    }

    fn fork(&mut self) -> Result<Fake> {
        Ok(self.clone())
    }

    fn needs_marks(&mut self) -> Result<bool> {
        Ok(self.window.is_some())
    }

    fn can_cut(&self, position: usize) -> bool {
        let all = self.window.is_none_or(|w| self.position() < w);
        position == self.position() || (all && position < self.position())
    }

    fn cut(&mut self, position: usize) -> Result<()> {
        assert!(self.can_cut(position));
        self.symbols.truncate(position);
        Ok(())
    }

    fn mark(&mut self) -> Result<Vec<Symbol>> {
        Ok(self.symbols.clone())
    }

    fn restore(&mut self, mark: &Vec<Symbol>) -> Result<()> {
        // Marks are of a state that this one continues.
        assert!(self.symbols.starts_with(mark));
        self.symbols.clone_from(mark);
        Ok(())
    }

    fn mark_bytes(mark: &Vec<Symbol>) -> usize {
        mark.len() / 4
    }
}

fn kind(block: Option<usize>) -> Kind {
    Kind { model: 1, cache: CacheOptions::default(), block }
}

fn key(text: &str) -> Vec<Symbol> {
    text.bytes().map(Symbol::from).collect()
}

fn state(key: &[Symbol], window: Option<usize>) -> Kept<Fake> {
    Kept { state: Fake { symbols: key.to_vec(), window }, marks: Default::default() }
}

/// What is found for a prompt is its state.
fn find(store: &mut Store<Fake>, kind: &Kind, prompt: &[Symbol]) -> (usize, usize, ReuseEnd, Option<Kept<Fake>>) {
    let Found { kept, reused, matched, end } = store.find(kind, prompt).unwrap();
    assert!(reused <= matched && matched < prompt.len());
    assert_eq!(kept.as_ref().map_or(&[][..], |k| &k.state.symbols), &prompt[..reused]);
    (reused, matched, end, kept)
}

fn said(store: &mut Store<Fake>, block: Option<usize>, prompt: &str) -> (usize, usize, ReuseEnd) {
    let (reused, matched, end, _) = find(store, &kind(block), &key(prompt));
    (reused, matched, end)
}

#[test]
fn it_says_why_no_more_was_reused() {
    let mut off = Store::new(0);
    off.keep(&kind(None), &key("a system prompt"), state(&key("a system prompt"), None)).unwrap();
    assert_eq!(said(&mut off, None, "a system prompt"), (0, 0, ReuseEnd::Disabled));

    let mut store = Store::new(1000);
    let keep = |store: &mut Store<Fake>, block, text: &str, window| {
        store.keep(&kind(block), &key(text), state(&key(text), window)).unwrap();
    };
    assert_eq!(said(&mut store, None, "anything"), (0, 0, ReuseEnd::NothingStored));
    keep(&mut store, None, "system: be brief. user: hi. answer: hello", None);
    assert_eq!(said(&mut store, None, "system: be brief. user: who?"), (24, 24, ReuseEnd::Differs));
    assert_eq!(said(&mut store, None, "system: be brief"), (15, 15, ReuseEnd::WholePrompt));
    let longer = "system: be brief. user: hi. answer: hello. user: and?";
    assert_eq!(said(&mut store, None, longer), (41, 41, ReuseEnd::Differs));
    // Other options, another store.
    assert_eq!(said(&mut store, Some(8), longer), (0, 0, ReuseEnd::NothingStored));

    keep(&mut store, Some(8), "0123456701234567", None);
    assert_eq!(said(&mut store, Some(8), "012345670123 and so on"), (8, 12, ReuseEnd::Block));
    assert_eq!(said(&mut store, Some(8), "0123456701234567"), (8, 15, ReuseEnd::WholePrompt));
    assert_eq!(said(&mut store, Some(8), "01234567012345678"), (16, 16, ReuseEnd::WholePrompt));

    keep(&mut store, None, "a window that was passed", Some(10));
    assert_eq!(said(&mut store, None, "a window that is passed"), (0, 14, ReuseEnd::NotTrimmable));
    assert_eq!(said(&mut store, None, "a window that was passed, long ago"), (24, 24, ReuseEnd::Differs));

    store.shrink(0);
    assert_eq!(store.bytes(), 0);
    assert_eq!(said(&mut store, None, longer), (0, 41, ReuseEnd::Evicted));
    store.clear(Some(2));
    assert_eq!(said(&mut store, None, longer).2, ReuseEnd::Evicted);
    store.clear(Some(1));
    assert_eq!(said(&mut store, None, longer).2, ReuseEnd::NothingStored);
}

#[test]
fn the_least_recently_used_go_first() {
    let mut store = Store::new(30);
    let texts = ["aaaaaaaaaa", "bbbbbbbbbb", "cccccccccc"];
    for text in texts {
        store.keep(&kind(None), &key(text), state(&key(text), None)).unwrap();
    }
    assert_eq!(said(&mut store, None, "aaaaa!").0, 5);
    store.keep(&kind(None), &key("dddddddddd"), state(&key("dddddddddd"), None)).unwrap();
    let left = ["aaaaa!", "bbbbb!", "ccccc!", "ddddd!"].map(|text| said(&mut store, None, text).0);
    assert_eq!((left, store.bytes()), ([5, 0, 5, 5], 30));
    // What is larger than everything is not kept, and nothing goes for it.
    let large = key(&"e".repeat(31));
    store.keep(&kind(None), &large, state(&large, None)).unwrap();
    assert_eq!((said(&mut store, None, "eeee").0, store.bytes()), (0, 30));
}

/// One that is continued as a whole moves where there is no room for two.
#[test]
fn a_conversation_that_goes_on_is_moved() {
    for (budget, stays) in [(30, 0), (60, 20)] {
        let mut store = Store::new(budget);
        store.keep(&kind(None), &key(&"a".repeat(20)), state(&key(&"a".repeat(20)), None)).unwrap();
        assert_eq!(said(&mut store, None, &"a".repeat(25)).0, 20);
        assert_eq!(store.bytes(), stays);
    }
}

#[test]
fn longer_states_take_the_place_of_shorter_ones() {
    let mut store = Store::new(1000);
    for n in [5, 9, 3, 9, 12] {
        let text = &"abcdefghijklmnop"[..n];
        store.keep(&kind(None), &key(text), state(&key(text), None)).unwrap();
    }
    assert_eq!(store.bytes(), 12);
    // Where they cannot go back, marks stay.
    let mut store = Store::new(1000);
    for n in [5, 9, 3, 12] {
        let text = &"abcdefghijklmnop"[..n];
        store.keep(&kind(None), &key(text), state(&key(text), Some(1))).unwrap();
    }
    for (prompt, reused) in [("abcx", 3), ("abcdefx", 5), ("abcdefghijk", 9), ("abcdefghijklmn", 12)] {
        assert_eq!(said(&mut store, None, prompt).0, reused, "{prompt}");
    }
}

/// Conversations at random: what is found is right, is the longest there is, and stays within bounds.
#[test]
fn many_conversations() {
    for (seed, (window, block)) in (0u64..).zip([(None, None), (None, Some(4)), (Some(6), None), (Some(6), Some(4))]) {
        let mut rng = StdRng::seed_from_u64(seed);
        for budget in [usize::MAX, 150] {
            let kind = kind(block);
            let (mut store, mut all) = (Store::new(budget), Vec::<Vec<Symbol>>::new());
            let mut reused_in_all = 0;
            for _ in 0..400 {
                // A prompt that begins like an earlier one, or like none.
                let mut prompt = match all.get(rng.random_range(0..all.len().max(1))) {
                    Some(earlier) => earlier[..rng.random_range(0..=earlier.len())].to_vec(),
                    None => Vec::new(),
                };
                prompt.truncate(40);
                prompt.extend((0..rng.random_range(1..9)).map(|_| rng.random_range(0..3u64)));
                let (reused, _, _, kept) = find(&mut store, &kind, &prompt);
                if budget == usize::MAX && window.is_none() {
                    let shared = |k: &Vec<Symbol>| k.iter().zip(&prompt).take_while(|(a, b)| a == b).count();
                    let longest = all.iter().map(shared).max().unwrap_or(0).min(prompt.len() - 1);
                    assert_eq!(reused, kind.floor(longest));
                }
                reused_in_all += reused;
                // The rest is computed, with marks here and there, and then an answer.
                let mut kept = kept.unwrap_or_else(|| state(&[], window));
                for &symbol in &prompt[reused..] {
                    kept.state.symbols.push(symbol);
                    let position = kept.state.position();
                    if window.is_some() && kind.floor(position) == position && rng.random_range(0..3) == 0 {
                        let what = Rc::new(kept.state.mark().unwrap());
                        kept.marks.add(Mark { position, what });
                    }
                }
                kept.state.symbols.extend((0..rng.random_range(0..5)).map(|_| rng.random_range(0..3u64)));
                let whole = kept.state.symbols.clone();
                let n = kept.settle(&kind, whole.len()).unwrap();
                let marks = kept.marks.positions();
                assert!(n <= whole.len() && marks.iter().all(|m| *m <= n) && marks.len() <= 8);
                if n > 0 {
                    all.push(whole[..n].to_vec());
                    store.keep(&kind, &whole[..n], kept).unwrap();
                }
                assert!(store.bytes() <= budget);
            }
            assert!(reused_in_all > 400, "{window:?}, {block:?}: {reused_in_all}");
            store.clear(None);
            assert_eq!(store.bytes(), 0);
        }
    }
}
