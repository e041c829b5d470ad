//! Caches of every kind against caches that have never seen what these have forgotten.

use std::ops::Range;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::array::fused::{self, At, Attention, Offset, Rotation, Scores, Turns, Values};
use crate::array::{Device, Dtype, concatenate, eval, random, set_device, zeros};

const HEADS: i32 = 4;
const KV_HEADS: i32 = 2;
const DIM: i32 = 32;
const MOST: i32 = 900;

/// Queries, keys and values of all positions of some texts, and what attends over them.
struct World {
    op: Attention,
    /// Values are the first features of keys.
    latent: Attention,
    texts: Vec<[Array; 3]>,
}

impl World {
    fn new() -> World {
        set_device(Device::Cpu).unwrap();
        let mut op = Attention::plain(HEADS, KV_HEADS, DIM, Scores::scaled(0.2));
        let plain = Attention::plain(HEADS, KV_HEADS, DIM, Scores::scaled(0.2));
        let latent = Attention { value_dim: DIM / 2, values: Values::OfKeys, ..plain };
        op.rotation = Some(Rotation::new(DIM, false, Turns::Powers { base: 10_000.0, scale: 1.0 }));
        let numbers = |heads: i32, seed: u64| {
            random::normal(&[1, MOST, heads * DIM], 1.0, Dtype::F32, &random::key(seed).unwrap()).unwrap()
        };
        let text = |i: u64| [numbers(HEADS, 3 * i), numbers(KV_HEADS, 3 * i + 1), numbers(KV_HEADS, 3 * i + 2)];
        let texts: Vec<_> = (0..4).map(text).collect();
        eval(texts.iter().flatten()).unwrap();
        World { op, latent, texts }
    }

    /// The next `n` positions of the sequences, each of its own text; what attention gives for them.
    fn feed(&self, cache: &mut Cache, texts: &[usize], n: i32) -> Array {
        let positions = cache.positions().to_vec();
        let parts = [0, 1, 2].map(|i| {
            let row = |(text, p): (&usize, &i32)| self.texts[*text][i].slice_axis(1, *p, p + n).unwrap();
            concatenate(&texts.iter().zip(&positions).map(row).collect::<Vec<_>>(), 0).unwrap()
        });
        let [q, k, mut v] = parts;
        let latent = matches!(cache.specs[0], StateSpec::Full { value_dim: 0, .. });
        if latent {
            v = zeros(&[q.dim(0), n, 0], Dtype::F32).unwrap();
        }
        let op = if latent { &self.latent } else { &self.op };
        let mask = cache.slot(0).mask(n, &Visible::Causal).unwrap();
        let offset = Offset::new(positions).unwrap();
        let at = At { offset: &offset, held: None, mask: &mask };
        let out = cache.slot(0).attend(op, [&q, &k, &v], &at).unwrap();
        cache.advance(n);
        out.eval().unwrap();
        cache.settle().unwrap();
        out
    }

    /// The same in chunks of these sizes, of one sequence.
    fn feed_all(&self, cache: &mut Cache, text: usize, chunks: &[i32]) -> Vec<Array> {
        chunks.iter().map(|n| self.feed(cache, &[text], *n)).collect()
    }
}

/// The results of both are the same, but for the order of sums.
fn same(got: &Array, want: &Array, what: &str) {
    assert_eq!(got.shape(), want.shape(), "{what}");
    let [got, want] = [got, want].map(|a| a.contiguous().unwrap().to_vec::<f32>().unwrap());
    for (got, want) in got.iter().zip(&want) {
        assert!((got - want).abs() < 1e-5, "{what}: {got}, not {want}");
    }
}

/// Chunks that come to `length`, many of one position.
fn chunks(rng: &mut StdRng, length: i32) -> Vec<i32> {
    let mut chunks = Vec::new();
    let mut left = length;
    let step = if rng.random_range(0..3) == 0 { 1 } else { 60 };
    while left > 0 {
        let n = if rng.random_range(0..2) == 0 { 1 } else { rng.random_range(1..=step) };
        chunks.push(n.min(left));
        left -= n.min(left);
    }
    chunks
}

const FULL: StateSpec = StateSpec::Full { key_dim: DIM, value_dim: DIM };

const LATENT: StateSpec = StateSpec::Full { key_dim: DIM, value_dim: 0 };

fn quantized(start: i32) -> CacheOptions {
    CacheOptions { quantization: Some(KvQuantization { bits: 8, group_size: 32, start }), ..Default::default() }
}

/// Every kind of state that attends.
fn kinds() -> Vec<(&'static str, StateSpec, CacheOptions)> {
    let plain = CacheOptions::default();
    let bounded = CacheOptions { max_kv_size: Some(24), ..plain };
    vec![
        ("kv", FULL, plain),
        ("quantized", FULL, quantized(0)),
        ("quantized later", FULL, quantized(40)),
        ("window", StateSpec::Window(16), plain),
        ("window of one", StateSpec::Window(1), plain),
        ("large window", StateSpec::Window(300), plain),
        ("bounded", FULL, bounded),
        ("latent", LATENT, plain),
        ("latent, though quantized", LATENT, quantized(40)),
        ("bounded latent", LATENT, bounded),
        ("chunked", StateSpec::Chunk(20), plain),
    ]
}

#[test]
fn what_is_trimmed_was_never_there() {
    let world = World::new();
    for (what, spec, options) in kinds() {
        let mut rng = StdRng::seed_from_u64(1);
        let (mut trimmed, mut refused) = (0, 0);
        for _ in 0..40 {
            let new = || Cache::new([spec.clone()], &options).unwrap();
            let (mut cache, mut want) = (new(), new());
            let before_length = rng.random_range(0..100);
            let before = chunks(&mut rng, before_length);
            world.feed_all(&mut cache, 0, &before);
            world.feed_all(&mut want, 0, &before);
            let count = rng.random_range(1..30);
            // Sometimes at once, as when several tokens are verified.
            let seen = if rng.random_range(0..2) == 0 { vec![count] } else { chunks(&mut rng, count) };
            world.feed_all(&mut cache, 1, &seen);
            if !cache.trim(&[count]).unwrap() {
                refused += 1;
                assert_eq!(cache.position(), before_length + count);
                continue;
            }
            trimmed += 1;
            assert_eq!(cache.positions(), want.positions());
            let after = chunks(&mut rng, 50);
            let (got, want) = (world.feed_all(&mut cache, 2, &after), world.feed_all(&mut want, 2, &after));
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                same(got, want, &format!("{what}, after {before:?} and {seen:?}, chunk {i} of {after:?}"));
            }
        }
        assert!(trimmed > 8, "{what}: {trimmed}");
        assert_eq!(
            refused > 0,
            !matches!(what, "kv" | "quantized" | "large window" | "latent" | "latent, though quantized"),
            "{what}: {refused}"
        );
    }
}

#[test]
fn what_can_be_trimmed_is_known_exactly() {
    let world = World::new();
    let cache = |spec: StateSpec, options: CacheOptions, chunks: &[i32]| {
        let mut cache = Cache::new([spec], &options).unwrap();
        world.feed_all(&mut cache, 0, chunks);
        cache
    };
    let ones = |n: usize| vec![1; n];
    for (spec, options, chunks, most) in [
        (FULL, CacheOptions::default(), vec![30], 30),
        // All are there until the window wraps.
        (StateSpec::Window(16), CacheOptions::default(), ones(16), 16),
        // The oldest one is overwritten, but the position before the newest would not have seen it.
        (StateSpec::Window(16), CacheOptions::default(), ones(17), 1),
        (StateSpec::Window(16), CacheOptions::default(), ones(100), 1),
        // Several at once leave all that was there before them.
        (StateSpec::Window(16), CacheOptions::default(), [ones(50), vec![9]].concat(), 9),
        (StateSpec::Window(16), CacheOptions::default(), vec![50], 50),
        (FULL, CacheOptions { max_kv_size: Some(10), ..Default::default() }, [ones(50), vec![5]].concat(), 5),
        // What was quantized stays so.
        (FULL, quantized(20), vec![30], 10),
        (FULL, quantized(20), vec![19], 19),
        // The chunk of the position before: 40 to 59, of which 45 and later came at once.
        (StateSpec::Chunk(20), CacheOptions::default(), vec![45, 30], 35),
        (StateSpec::Chunk(20), CacheOptions::default(), ones(45), 5),
    ] {
        let length: i32 = chunks.iter().sum();
        for n in 1..=length {
            let mut cache = cache(spec.clone(), options, &chunks);
            let possible = cache.trim(&[n]).unwrap();
            assert_eq!(possible, n <= most || n == length, "{n} of {spec:?} with {options:?} after {chunks:?}");
        }
    }
    for nothing in [StateSpec::Window(0), StateSpec::Chunk(-1)] {
        assert!(Cache::new([nothing], &CacheOptions::default()).is_err());
    }
    // More than there is, and for another number of sequences.
    let mut cache = cache(FULL, CacheOptions::default(), &[5]);
    assert!(!cache.trim(&[6]).unwrap() && !cache.trim(&[-1]).unwrap() && !cache.trim(&[1, 1]).unwrap());
    assert!(cache.trim_to(2).unwrap() && cache.position() == 2);
    assert!(!cache.trim_to(3).unwrap() && cache.trim_to(2).unwrap());
}

#[test]
fn a_checkpoint_is_a_way_back() {
    let world = World::new();
    for (what, spec, options) in kinds() {
        let mut rng = StdRng::seed_from_u64(2);
        for _ in 0..6 {
            let new = || Cache::new([spec.clone()], &options).unwrap();
            let (mut cache, mut want) = (new(), new());
            let length = rng.random_range(0..60);
            let before = chunks(&mut rng, length);
            world.feed_all(&mut cache, 0, &before);
            world.feed_all(&mut want, 0, &before);
            let mut there = cache.checkpoint().unwrap();
            let mut later = None;
            // As often as wanted.
            for _ in 0..2 {
                let seen = chunks(&mut rng, 70);
                world.feed_all(&mut cache, 1, &seen);
                later.get_or_insert(cache.checkpoint().unwrap());
                assert!(cache.restore(&mut there).unwrap());
                assert_eq!(cache.positions(), there.positions());
            }
            assert!(!cache.restore(later.as_mut().unwrap()).unwrap(), "what came later is gone");
            let after = chunks(&mut rng, 40);
            let (got, want) = (world.feed_all(&mut cache, 2, &after), world.feed_all(&mut want, 2, &after));
            got.iter().zip(&want).for_each(|(got, want)| same(got, want, what));
            assert!(!new().restore(&mut there).unwrap(), "another cache's");
        }
    }
}

#[test]
fn forks_go_on_for_themselves() {
    let world = World::new();
    for (what, spec, options) in kinds() {
        let new = || Cache::new([spec.clone()], &options).unwrap();
        let mut first = new();
        world.feed_all(&mut first, 0, &[35, 1, 1]);
        let mut second = first.fork().unwrap();
        let mut third = second.fork().unwrap();
        // In turns, and in the end what was never touched.
        let mut got = [Vec::new(), Vec::new()];
        for n in [1, 1, 7, 1] {
            got[0].push(world.feed(&mut first, &[1], n));
            got[1].push(world.feed(&mut second, &[2], n));
        }
        for (text, got) in [(1, &got[0]), (2, &got[1])] {
            let mut alone = new();
            world.feed_all(&mut alone, 0, &[35, 1, 1]);
            let want = world.feed_all(&mut alone, text, &[1, 1, 7, 1]);
            got.iter().zip(&want).for_each(|(got, want)| same(got, want, what));
        }
        let mut alone = new();
        world.feed_all(&mut alone, 0, &[35, 1, 1]);
        same(&world.feed(&mut third, &[3], 3), &world.feed(&mut alone, &[3], 3), what);
    }
}

/// Several positions a sequence, of which each keeps as many as it likes: how guesses are verified.
#[test]
fn sequences_of_a_batch_are_trimmed_each_for_itself() {
    let world = World::new();
    let plain = CacheOptions::default();
    for (what, spec, options) in [
        ("kv", FULL, plain),
        ("window", StateSpec::Window(16), plain),
        ("large window", StateSpec::Window(400), plain),
        ("quantized", FULL, quantized(0)),
        ("chunked", StateSpec::Chunk(20), plain),
    ] {
        for layout in [Layout::Rows, Layout::Aligned] {
            let mut rng = StdRng::seed_from_u64(3);
            let mut alone: Vec<(Cache, usize)> = Vec::new();
            let mut all: Option<Cache> = None;
            for round in 0..40 {
                if alone.len() < 2 || alone.len() < 4 && rng.random_range(0..6) == 0 {
                    let text = (0..4).find(|t| alone.iter().all(|(_, taken)| taken != t)).unwrap();
                    let length = rng.random_range(1..50);
                    let new = || {
                        let mut cache = Cache::new([spec.clone()], &options).unwrap();
                        world.feed_all(&mut cache, text, &[length]);
                        cache
                    };
                    alone.push((new(), text));
                    match &mut all {
                        None => all = Some(new()),
                        Some(all) => all.push(new(), layout).unwrap(),
                    }
                }
                let all = all.as_mut().unwrap();
                let n = [1, 1, 4, 9][rng.random_range(0..4)];
                let texts: Vec<usize> = alone.iter().map(|(_, text)| *text).collect();
                let got = world.feed(all, &texts, n);
                for (i, (cache, text)) in alone.iter_mut().enumerate() {
                    let want = world.feed(cache, &[*text], n);
                    let got = got.slice_axis(0, i as i32, i as i32 + 1).unwrap();
                    same(&got, &want, &format!("{what}, {layout:?}, round {round}"));
                }
                let counts: Vec<i32> = alone.iter().map(|_| rng.random_range(0..n)).collect();
                assert!(all.trim(&counts).unwrap(), "{what}, {layout:?}: {counts:?} of {n}");
                for ((cache, _), count) in alone.iter_mut().zip(&counts) {
                    assert!(cache.trim(&[*count]).unwrap());
                }
                if alone.len() > 2 && rng.random_range(0..6) == 0 {
                    let row = rng.random_range(0..alone.len());
                    let (mut want, text) = alone.remove(row);
                    let mut left = all.remove(row).unwrap();
                    assert_eq!(left.positions(), want.positions());
                    same(&world.feed(&mut left, &[text], 2), &world.feed(&mut want, &[text], 2), what);
                }
            }
        }
    }
}

fn recurrent() -> StateSpec {
    let spec = |name, shape: &[i32], dtype| RecurrentSpec { name, shape: shape.to_vec(), dtype };
    StateSpec::Recurrent(vec![spec("conv", &[3, 4], Dtype::F32), spec("ssm", &[2, 2, 2], Dtype::F32)])
}

/// A step of a recurrence: what is there, halved, plus what is new.
fn step(cache: &mut Cache, rows: &[f32]) {
    let state = Recurrent::of(cache.slot(0)).unwrap();
    let arrays = state.get(rows.len() as i32).unwrap();
    let next = arrays.iter().map(|a| {
        let mut shape = vec![1; a.ndim()];
        shape[0] = rows.len() as i32;
        ((a * 0.5).unwrap() + Array::from_slice(rows, &shape).unwrap()).unwrap()
    });
    let next = next.collect();
    state.set(next).unwrap();
    cache.advance(1);
}

fn values(cache: &mut Cache, rows: i32) -> Vec<f32> {
    let arrays = Recurrent::of(cache.slot(0)).unwrap().get(rows).unwrap();
    let first = |a: &Array| a.reshape(&[rows, -1]).unwrap().slice_axis(1, 0, 1).unwrap().contiguous().unwrap();
    let both: Vec<Vec<f32>> = arrays.iter().map(|a| first(a).to_vec().unwrap()).collect();
    assert_eq!(both[0], both[1]);
    both[0].clone()
}

#[test]
fn recurrent_states_go_back_by_checkpoints() {
    set_device(Device::Cpu).unwrap();
    let mut cache = Cache::new([recurrent()], &CacheOptions::default()).unwrap();
    assert_eq!(values(&mut cache, 1), [0.0]);
    step(&mut cache, &[2.0]);
    step(&mut cache, &[4.0]);
    assert_eq!(values(&mut cache, 1), [5.0]);
    let mut there = cache.checkpoint().unwrap();
    let mut fork = cache.fork().unwrap();
    step(&mut cache, &[6.0]);
    assert!(!cache.trim(&[1]).unwrap(), "nothing knows what it was");
    assert!(cache.restore(&mut there).unwrap());
    assert_eq!((values(&mut cache, 1), cache.position()), (vec![5.0], 2));
    step(&mut fork, &[1.0]);
    assert_eq!((values(&mut fork, 1), values(&mut cache, 1)), (vec![3.5], vec![5.0]));
    assert!(cache.bytes() == (12 + 8) * 4 && there.bytes() > 0);
    // To the beginning there is always a way.
    assert!(fork.trim_to(0).unwrap());
    assert_eq!(values(&mut fork, 1), [0.0]);

    // Rows are rows of the same arrays, whatever the layout.
    for layout in [Layout::Rows, Layout::Aligned] {
        let mut all = cache.fork().unwrap();
        all.push(Cache::new([recurrent()], &CacheOptions::default()).unwrap(), layout).unwrap();
        all.push(cache.fork().unwrap(), layout).unwrap();
        step(&mut all, &[1.0, 2.0, 3.0]);
        assert_eq!(values(&mut all, 3), [3.5, 2.0, 5.5]);
        assert_eq!(all.positions(), [3, 1, 3]);
        let mut left = all.remove(1).unwrap();
        assert_eq!((values(&mut left, 1), left.position()), (vec![2.0], 1));
        assert_eq!(values(&mut all, 2), [3.5, 5.5]);
        let mut left = all.remove(0).unwrap();
        assert_eq!((values(&mut left, 1), values(&mut all, 1)), (vec![3.5], vec![5.5]));
        assert!(all.remove(0).is_err());
    }

    let state = Recurrent::of(cache.slot(0)).unwrap();
    let wrong = zeros(&[1, 3, 5], Dtype::F32).unwrap();
    assert!(state.set(vec![wrong.clone(), wrong]).is_err());
}

/// Slots of different kinds go back together.
#[test]
fn hybrid_caches_trim_all_or_nothing() {
    let world = World::new();
    let mut cache = Cache::new([FULL, recurrent()], &CacheOptions::default()).unwrap();
    world.feed(&mut cache, &[0], 5);
    let mut there = cache.checkpoint().unwrap();
    world.feed(&mut cache, &[0], 3);
    let state = Recurrent::of(cache.slot(1)).unwrap();
    let next = state.get(1).unwrap();
    state.set(next).unwrap();
    assert!(!cache.trim(&[2]).unwrap());
    assert_eq!(cache.position(), 8);
    assert!(cache.restore(&mut there).unwrap() && cache.position() == 5);
    let mut want = Cache::new([FULL], &CacheOptions::default()).unwrap();
    world.feed(&mut want, &[0], 5);
    same(&world.feed(&mut cache, &[1], 4), &world.feed(&mut want, &[1], 4), "after the checkpoint");
}

#[test]
fn what_is_saved_goes_on() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.safetensors");
    for (what, spec, options) in kinds() {
        for fed in [vec![], vec![1], vec![13], vec![45, 1, 1], vec![1; 45]] {
            let new = || Cache::new([spec.clone()], &options).unwrap();
            let mut cache = new();
            world.feed_all(&mut cache, 0, &fed);
            let notes = BTreeMap::from([("model".to_owned(), "of the tests".to_owned())]);
            cache.save(&path, notes.clone()).unwrap();
            let mut loaded = new();
            assert_eq!(loaded.load(&path).unwrap(), notes);
            assert_eq!(loaded.positions(), cache.positions());
            for n in [1, 6, 1] {
                let (got, want) = (world.feed(&mut loaded, &[1], n), world.feed(&mut cache, &[1], n));
                same(&got, &want, &format!("{what} after {fed:?}"));
            }
        }
    }
    let mut cache = Cache::new([recurrent(), FULL], &CacheOptions::default()).unwrap();
    step(&mut cache, &[2.0]);
    // As if the other slot had seen as much.
    cache.slots[1] = empty(&recurrent(), &CacheOptions::default());
    let mut other = Cache::new([recurrent(), recurrent()], &CacheOptions::default()).unwrap();
    Recurrent::of(cache.slot(1)).unwrap().set(Recurrent::of(other.slot(1)).unwrap().get(1).unwrap()).unwrap();
    cache.save(&path, BTreeMap::new()).unwrap();
    other.load(&path).unwrap();
    assert_eq!((values(&mut other, 1), other.position()), (vec![2.0], 1));
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.safetensors");
    let new = |spec: StateSpec, options: CacheOptions| Cache::new([spec], &options).unwrap();
    let plain = CacheOptions::default();
    let saved = |spec: StateSpec, options: CacheOptions| {
        let mut cache = new(spec, options);
        world.feed_all(&mut cache, 0, &[30, 1]);
        cache.save(&path, BTreeMap::new()).unwrap();
    };
    let refused = |spec: StateSpec, options: CacheOptions, word: &str| {
        let mut cache = new(spec, options);
        let error = cache.load(&path).unwrap_err();
        assert!(error.to_string().contains(word) && error.to_string().contains("cache.safetensors"), "{error}");
        assert_eq!(cache.position(), 0);
    };
    saved(FULL, plain);
    refused(StateSpec::Window(16), plain, "rotating is needed");
    refused(recurrent(), plain, "recurrent is needed");
    refused(StateSpec::Full { key_dim: 64, value_dim: 32 }, plain, "keys");
    assert!(Cache::new([FULL, FULL], &plain).unwrap().load(&path).unwrap_err().to_string().contains("1 states"));
    saved(FULL, quantized(0));
    refused(FULL, plain, "kv is needed");
    let finer = KvQuantization { bits: 4, group_size: 32, start: 0 };
    refused(FULL, CacheOptions { quantization: Some(finer), ..plain }, "bits is 8");
    saved(StateSpec::Window(16), plain);
    refused(StateSpec::Window(17), plain, "size is 16");
    refused(FULL, CacheOptions { max_kv_size: Some(16), ..plain }, "keep is 0");
    saved(StateSpec::Chunk(20), plain);
    refused(StateSpec::Chunk(30), plain, "size is 20");

    saved(FULL, plain);
    let bytes = std::fs::read(&path).unwrap();
    for (length, word) in [(0, "sound"), (7, "sound"), (100, "sound"), (bytes.len() - 1, "sound")] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        refused(FULL, plain, word);
    }
    let text = String::from_utf8_lossy(&bytes[8..300]).into_owned();
    assert!(text.contains("\\\"position\\\":31"), "{text}");
    let changed = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        let mut bytes = bytes.clone();
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        std::fs::write(&path, bytes).unwrap();
    };
    for (from, to, word) in [
        ("\\\"position\\\":31", "\\\"position\\\":32", "position 32"),
        ("\\\"version\\\":1", "\\\"version\\\":9", "version 9"),
        ("\\\"position\\\"", "\\\"positron\\\"", "broken description"),
        ("\"0.keys\"", "\"7.keys\"", "no slot"),
        ("\"0.keys\"", "\"0.kyes\"", "keys is missing"),
        ("\"cache\"", "\"cashe\"", "not a saved cache"),
    ] {
        changed(from, to);
        refused(FULL, plain, word);
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(new(FULL, plain).load(&path).unwrap_err().kind(), crate::ErrorKind::NotFound);
}

/// Softmax attention in f64, one query head for each of two key heads; query `i` is at `before + i`.
fn by_hand(q: &Array, k: &Array, v: &Array, sees: impl Fn(usize, usize, usize) -> bool) -> Vec<f64> {
    let &[rows, heads, n, dim] = q.shape() else { panic!("{q:?}") };
    let keys = k.dim(2) as usize;
    let before = keys - n as usize;
    let [q, k, v] = [q, k, v].map(|a| a.to_vec::<f32>().unwrap());
    let dim = dim as usize;
    let mut out = Vec::new();
    for head in 0..(rows * heads) as usize {
        for i in 0..n as usize {
            let at =
                |all: &[f32], length: usize, place: usize, f: usize| f64::from(all[(head * length + place) * dim + f]);
            let score = |j: usize| (0..dim).map(|f| at(&q, n as usize, i, f) * at(&k, keys, j, f)).sum::<f64>();
            let seen: Vec<usize> = (0..keys).filter(|j| sees(head / heads as usize, before + i, *j)).collect();
            let weights: Vec<f64> = seen.iter().map(|j| (score(*j) * 0.5).exp()).collect();
            let total: f64 = weights.iter().sum();
            for f in 0..dim {
                out.push(seen.iter().zip(&weights).map(|(j, w)| w / total * at(&v, keys, *j, f)).sum());
            }
        }
    }
    out
}

/// Six positions causally, then five as `visible` says, in every kind of cache.
#[test]
fn attention_sees_what_it_says() {
    set_device(Device::Cpu).unwrap();
    let one = |spans: &[Range<i32>]| Visible::Spans(vec![spans.to_vec()]);
    let (middle, two) = (Range { start: 1, end: 4 }, [0..2, 3..5]);
    let several = Visible::Spans(vec![vec![0..3], vec![2..5]]);
    for window in [None, Some(4)] {
        for (rows, visible) in [
            (1, Visible::Full),
            (1, one(std::slice::from_ref(&middle))),
            (1, one(&two)),
            (2, several.clone()),
            (2, Visible::Causal),
        ] {
            let of = |seed: u64, n: i32| {
                random::normal(&[rows, 2, n, 8], 1.0, Dtype::F32, &random::key(seed).unwrap()).unwrap()
            };
            let (q, k, v) = (of(1, 11), of(2, 11), of(3, 11));
            let part = |a: &Array, from: i32, to: i32| a.slice_axis(2, from, to).unwrap().contiguous().unwrap();
            let want = by_hand(&part(&q, 6, 11), &k, &v, |row, i, j| {
                let near = |a: usize, b: usize| window.is_none_or(|w| a < b + w as usize);
                let spans = match &visible {
                    Visible::Causal => return j <= i && near(i, j),
                    Visible::Full => return near(i, j) && near(j, i),
                    Visible::Spans(rows) => &rows[row.min(rows.len() - 1)],
                };
                let both = |s: &Range<i32>| [i, j].iter().all(|p| *p >= 6 && s.contains(&(*p as i32 - 6)));
                (j <= i && near(i, j)) || spans.iter().any(both)
            });
            let mut state: Box<dyn State> = match window {
                Some(size) => Box::new(Rotating::new(size, 0)),
                None => Box::new(Kv::new([8, 8], None)),
            };
            let op = Attention::plain(2, 2, 8, Scores::scaled(0.5));
            let mut out = None;
            for (from, to, visible) in [(0, 6, &Visible::Causal), (6, 11, &visible)] {
                let flat = |a: &Array| fused::merged(&part(a, from, to)).unwrap();
                let mask = state.mask(to - from, visible).unwrap();
                let offset = Offset::Same(from);
                let at = At { offset: &offset, held: None, mask: &mask };
                out = Some(state.attend(&op, [&flat(&q), &flat(&k), &flat(&v)], &at).unwrap());
            }
            let heads = out.unwrap().reshape(&[rows, 5, 2, 8]).unwrap().swap_axes(1, 2);
            let got = heads.unwrap().contiguous().unwrap().to_vec::<f32>().unwrap();
            for (got, want) in got.iter().zip(&want) {
                assert!((f64::from(*got) - want).abs() < 1e-5, "{visible:?}, {window:?}: {got}, not {want}");
            }
        }
    }
}
