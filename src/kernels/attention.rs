//! Attention over cached keys and values, with what comes before it: normalisation and rotation of heads, and writing
//! the new keys and values into the cache.

use super::floats::{Bf16, F16, Floats, FloatsMut, Target};
use super::level::{Level, fma, multiversion};
#[cfg(target_arch = "aarch64")]
use super::neon as by_hand;
use super::norm::NormParams;
use super::pool;
use super::product::{Matrix, exp, tanh};
use super::rope::{Before, Rotation};
use super::tile::{matmul, with_scratch};
#[cfg(target_arch = "x86_64")]
use super::x86 as by_hand;

/// Positions up to which each is computed as if it were alone.
const FEW: usize = 16;

/// Queries of a task, and keys of a block, when many queries are computed.
const QUERIES: usize = 64;
const BLOCK: usize = 256;

/// Attention of some new positions.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// Sequences.
    pub batch: usize,
    /// New positions of each.
    pub length: usize,
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Features of a head of queries and keys.
    pub key_dim: usize,
    /// Features of a head of values.
    pub value_dim: usize,
    /// Factor on the scores.
    pub scale: f32,
    /// Scores become `tanh(scores / cap) * cap`.
    pub softcap: Option<f32>,
    /// Normalisation of each query head.
    pub norm: Option<NormParams<'a>>,
    /// Rotation of queries; the first one is at `offset`.
    pub rotation: Option<&'a Rotation>,
    /// The position of the first query.
    pub offset: usize,
    /// Which keys a query sees.
    pub visible: Visible<'a>,
}

/// Which keys a query sees.
#[derive(Clone, Copy, Debug)]
pub enum Visible<'a> {
    /// All.
    All,
    /// Those at or before it, the last query seeing the last key; with a window only so many of the latest.
    Causal(Option<usize>),
    /// Those where this is true, `[length, keys]`.
    Mask(&'a [bool]),
}

/// Keys or values of all positions.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'a> {
    /// Numbers; distances of sequences, heads and positions.
    Plain(Floats<'a>, [usize; 3]),
    /// One quantized row a head and position, in the order `[batch, kv heads, capacity]`, and the capacity.
    Quantized(Matrix<'a>, usize),
}

impl<'a> Keys<'a> {
    /// Positions `from..from + n` of one head as f32.
    fn read(
        &self,
        level: Level,
        a: &Attention<'_>,
        b: usize,
        head: usize,
        from: usize,
        n: usize,
        dim: usize,
        out: &mut [f32],
    ) {
        for (i, row) in out.chunks_exact_mut(dim).take(n).enumerate() {
            match self {
                Keys::Plain(values, [sb, sh, sp]) => {
                    values.slice(b * sb + head * sh + (from + i) * sp, dim).read(level, row);
                }
                Keys::Quantized(matrix, capacity) => {
                    matrix.row(level, (b * a.kv_heads + head) * capacity + from + i, row);
                }
            }
        }
    }
}

/// New keys or values, `[batch, length, kv heads * dim]`, and where they go.
#[derive(Debug)]
pub struct Append<'a> {
    /// The new rows.
    pub new: Floats<'a>,
    /// Normalisation of each head.
    pub norm: Option<NormParams<'a>>,
    /// Rotation of each head.
    pub rotation: Option<&'a Rotation>,
    /// The position of the first one, for rotation.
    pub offset: usize,
    /// The cache, `[batch, kv heads, capacity, dim]`.
    pub cache: FloatsMut<'a>,
    /// Its positions.
    pub capacity: usize,
    /// Where in the cache the first new one goes.
    pub at: usize,
}

impl Append<'_> {
    /// Writes them.
    ///
    /// # Panics
    /// If sizes do not fit each other.
    pub fn write(self, level: Level, batch: usize, length: usize, kv_heads: usize, dim: usize) {
        assert_eq!(self.new.len(), batch * length * kv_heads * dim, "new keys or values");
        assert!(
            self.cache.len() == batch * kv_heads * self.capacity * dim && self.at + length <= self.capacity,
            "cache"
        );
        let cache = Target::new(self.cache);
        let angles = self.rotation.map(|r| r.angles(self.offset, length));
        let before = Before { norm: self.norm.as_ref(), angles: angles.as_ref() };
        let (new, capacity, at) = (self.new, self.capacity, self.at);
        let task = |row: usize| {
            let (b, i) = (row / length, row % length);
            with_scratch(dim, |scratch| {
                for h in 0..kv_heads {
                    before.head(level, new.slice((row * kv_heads + h) * dim, dim), i, scratch);
                    let to = ((b * kv_heads + h) * capacity + at + i) * dim;
                    // SAFETY: every head of every position has its own place.
                    unsafe { cache.part(to, dim) }.write(level, scratch);
                }
            });
        };
        let rows = batch * length;
        if rows < 16 { (0..rows).for_each(task) } else { pool::run(rows, &task) }
    }
}

/// Attention and what it is over.
#[derive(Clone, Copy, Debug)]
pub struct Over<'a> {
    /// How.
    pub attention: Attention<'a>,
    /// Queries; distances of sequences, positions and heads.
    pub queries: (Floats<'a>, [usize; 3]),
    /// Keys.
    pub keys: Keys<'a>,
    /// Values.
    pub values: Keys<'a>,
    /// How many there are.
    pub count: usize,
}

/// `softmax(q k^T) v`; the result is `[batch, length, heads * value_dim]`.
///
/// # Panics
/// If sizes do not fit each other.
pub fn attend(level: Level, over: &Over<'_>, out: FloatsMut<'_>) {
    attend_all(level, std::slice::from_ref(over), out);
}

/// [`attend`] for several, whose results follow one another. Each gets what it would get alone.
///
/// # Panics
/// As above.
pub fn attend_all(level: Level, all: &[Over<'_>], out: FloatsMut<'_>) {
    let target = Target::new(out);
    let angles: Vec<_> =
        all.iter().map(|o| o.attention.rotation.map(|r| r.angles(o.attention.offset, o.attention.length))).collect();
    let (mut contexts, mut at, mut tasks, mut work) = (Vec::with_capacity(all.len()), 0, 0, 0);
    for (o, angles) in all.iter().zip(&angles) {
        let (a, count) = (&o.attention, o.count);
        assert!(a.kv_heads > 0 && a.heads.is_multiple_of(a.kv_heads) && count >= 1, "heads");
        if let Visible::Mask(mask) = a.visible {
            assert_eq!(mask.len(), a.length * count, "mask");
        }
        if let Visible::Causal(_) = a.visible {
            assert!(count >= a.length, "causal attention over fewer keys than queries");
        }
        let before = Before { norm: a.norm.as_ref(), angles: angles.as_ref() };
        let (queries, keys, values) = (o.queries, o.keys, o.values);
        contexts.push((tasks, Context { level, a, queries, keys, values, count, before, target: &target, at }));
        at += a.batch * a.length * a.heads * a.value_dim;
        tasks += a.batch * a.kv_heads * chunks(a);
        work += a.batch * a.heads * a.length * count * (a.key_dim + a.value_dim);
    }
    assert_eq!(target.len(), at, "result");
    let task = |index: usize| {
        let (first, context) = &contexts[contexts.partition_point(|(first, _)| *first <= index) - 1];
        let (a, index) = (context.a, index - first);
        let chunks = chunks(a);
        let (unit, chunk) = (index / chunks, index % chunks);
        let (b, head) = (unit / a.kv_heads, unit % a.kv_heads);
        if a.length <= FEW { context.one(b, head, chunk) } else { context.many(b, head, chunk * QUERIES) }
    };
    if work < 1 << 16 { (0..tasks).for_each(task) } else { pool::run(tasks, &task) }
}

/// Into how many tasks the positions of one head are divided.
fn chunks(a: &Attention<'_>) -> usize {
    if a.length <= FEW { a.length } else { a.length.div_ceil(QUERIES) }
}

struct Context<'a> {
    level: Level,
    a: &'a Attention<'a>,
    queries: (Floats<'a>, [usize; 3]),
    keys: Keys<'a>,
    values: Keys<'a>,
    count: usize,
    before: Before<'a>,
    target: &'a Target,
    /// Where the result begins.
    at: usize,
}

impl Context<'_> {
    /// The scaled query heads that share a key head, for `n` positions: `[position][head of the group][key_dim]`.
    fn read_queries(&self, b: usize, kv_head: usize, from: usize, n: usize, out: &mut [f32]) {
        let a = self.a;
        let group = a.heads / a.kv_heads;
        for (r, head) in out.chunks_exact_mut(a.key_dim).take(n * group).enumerate() {
            let (i, h) = (from + r / group, kv_head * group + r % group);
            let (queries, [sb, sl, sh]) = self.queries;
            self.before.head(self.level, queries.slice(b * sb + i * sl + h * sh, a.key_dim), i, head);
            for v in head {
                *v *= a.scale;
            }
        }
    }

    fn write(&self, b: usize, kv_head: usize, from: usize, rows: &[f32]) {
        let a = self.a;
        let group = a.heads / a.kv_heads;
        for (r, row) in rows.chunks_exact(a.value_dim).enumerate() {
            let (i, h) = (from + r / group, kv_head * group + r % group);
            let at = self.at + ((b * a.length + i) * a.heads + h) * a.value_dim;
            // SAFETY: every head of every position has its own place.
            unsafe { self.target.part(at, a.value_dim) }.write(self.level, row);
        }
    }

    /// The keys that query `i` may see, as a range; a mask may hide more.
    fn range(&self, i: usize) -> (usize, usize) {
        match self.a.visible {
            Visible::Causal(window) => {
                let end = self.count - self.a.length + i + 1;
                (window.map_or(0, |w| end.saturating_sub(w)), end)
            }
            _ => (0, self.count),
        }
    }

    /// One query position: all scores, then the weighted sum.
    fn one(&self, b: usize, kv_head: usize, query: usize) {
        let (a, level) = (self.a, self.level);
        let group = a.heads / a.kv_heads;
        let (from, end) = self.range(query);
        let n = end - from;
        with_scratch(group * (a.key_dim + n + a.value_dim), |scratch| {
            let (queries, rest) = scratch.split_at_mut(group * a.key_dim);
            let (scores, result) = rest.split_at_mut(group * n);
            self.read_queries(b, kv_head, query, 1, queries);
            match self.keys {
                Keys::Plain(k, [sb, sh, sp]) => {
                    let at = b * sb + kv_head * sh + from * sp;
                    dots(level, queries, k.slice(at, (n - 1) * sp + a.key_dim), sp, a.key_dim, scores);
                }
                Keys::Quantized(..) => with_scratch(BLOCK * a.key_dim, |block| {
                    for s in (0..n).step_by(BLOCK) {
                        let here = BLOCK.min(n - s);
                        self.keys.read(level, a, b, kv_head, from + s, here, a.key_dim, block);
                        with_scratch(group * here, |part| {
                            let block = Floats::F32(&block[..here * a.key_dim]);
                            dots(level, queries, block, a.key_dim, a.key_dim, part);
                            for (all, part) in scores.chunks_exact_mut(n).zip(part.chunks_exact(here)) {
                                all[s..s + here].copy_from_slice(part);
                            }
                        });
                    }
                }),
            }
            for row in scores.chunks_exact_mut(n) {
                self.cap_and_mask(row, query, from);
                softmax(level, row);
            }
            result.fill(0.0);
            match self.values {
                Keys::Plain(v, [sb, sh, sp]) => {
                    let at = b * sb + kv_head * sh + from * sp;
                    weigh(level, scores, v.slice(at, (n - 1) * sp + a.value_dim), sp, a.value_dim, result);
                }
                Keys::Quantized(..) => with_scratch(BLOCK * a.value_dim, |block| {
                    for s in (0..n).step_by(BLOCK) {
                        let here = BLOCK.min(n - s);
                        self.values.read(level, a, b, kv_head, from + s, here, a.value_dim, block);
                        let block = Floats::F32(&block[..here * a.value_dim]);
                        for (row, result) in scores.chunks_exact(n).zip(result.chunks_exact_mut(a.value_dim)) {
                            weigh(level, &row[s..s + here], block, a.value_dim, a.value_dim, result);
                        }
                    }
                }),
            }
            self.write(b, kv_head, query, result);
        });
    }

    fn cap_and_mask(&self, scores: &mut [f32], query: usize, from: usize) {
        if let Some(cap) = self.a.softcap {
            soft_cap(self.level, scores, cap);
        }
        if let Visible::Mask(mask) = self.a.visible {
            let mask = &mask[query * self.count + from..][..scores.len()];
            for (s, visible) in scores.iter_mut().zip(mask) {
                if !visible {
                    *s = f32::MIN;
                }
            }
        }
    }

    /// Many query positions: block by block of keys, with a running maximum and sum (Milakov and Gimelshein 2018,
    /// arXiv:1805.02867).
    fn many(&self, b: usize, kv_head: usize, from: usize) {
        let (a, level) = (self.a, self.level);
        let n = QUERIES.min(a.length - from);
        let group = a.heads / a.kv_heads;
        let rows = n * group;
        let (dk, dv) = (a.key_dim, a.value_dim);
        // Where queries, keys and values are in bf16 anyway, so are products.
        let halves = self.halves(b, kv_head);
        let mut half = vec![Bf16::ZERO; if halves.is_some() { rows * dk.max(BLOCK) } else { 0 }];
        with_scratch(rows * (dk + dv + BLOCK + 2) + BLOCK * dk.max(dv), |scratch| {
            let (queries, rest) = scratch.split_at_mut(rows * dk);
            let (result, rest) = rest.split_at_mut(rows * dv);
            let (scores, rest) = rest.split_at_mut(rows * BLOCK);
            let (state, block) = rest.split_at_mut(rows * 2);
            self.read_queries(b, kv_head, from, n, queries);
            result.fill(0.0);
            for s in state.chunks_exact_mut(2) {
                (s[0], s[1]) = (f32::MIN, 0.0);
            }
            let (first, last) = (self.range(from).0, self.range(from + n - 1).1);
            for s in (first..last).step_by(BLOCK) {
                let here = BLOCK.min(last - s);
                match &halves {
                    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
                    Some((keys, _, _)) => {
                        FloatsMut::Bf16(&mut half[..rows * dk]).write(level, queries);
                        by_hand::scores(&half[..rows * dk], dk, &keys[s * dk..(s + here) * dk], scores);
                    }
                    _ => {
                        self.keys.read(level, a, b, kv_head, s, here, dk, block);
                        matmul((rows, dk, here), queries, (dk, 1), block, (1, dk), scores, here, false);
                    }
                }
                for (r, (row, state)) in
                    scores.chunks_exact_mut(here).zip(state.chunks_exact_mut(2)).take(rows).enumerate()
                {
                    let query = from + r / group;
                    self.cap_and_mask(row, query, s);
                    let (low, high) = self.range(query);
                    let low = low.saturating_sub(s).min(here);
                    let high = high.saturating_sub(s).min(here);
                    row[..low].fill(f32::MIN);
                    row[high.max(low)..].fill(f32::MIN);
                    let factor = running_softmax(level, row, state);
                    if factor != 1.0 {
                        for v in &mut result[r * dv..(r + 1) * dv] {
                            *v *= factor;
                        }
                    }
                }
                match &halves {
                    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
                    Some((_, values, stride)) => {
                        FloatsMut::Bf16(&mut half[..rows * here]).write(level, &scores[..rows * here]);
                        by_hand::weigh_many(&half[..rows * here], here, &values[s * stride..], *stride, dv, result);
                    }
                    _ => {
                        self.values.read(level, a, b, kv_head, s, here, dv, block);
                        matmul((rows, here, dv), scores, (here, 1), block, (dv, 1), result, dv, true);
                    }
                }
            }
            for (row, state) in result.chunks_exact_mut(dv).zip(state.chunks_exact(2)) {
                for v in row {
                    *v /= state[1];
                }
            }
            self.write(b, kv_head, from, result);
        });
    }

    /// Keys of one head side by side, values and their distance, if products in bf16 are wanted and possible.
    fn halves(&self, b: usize, head: usize) -> Option<(&[Bf16], &[Bf16], usize)> {
        let (Keys::Plain(Floats::Bf16(k), [kb, kh, kp]), Keys::Plain(Floats::Bf16(v), [vb, vh, vp])) =
            (self.keys, self.values)
        else {
            return None;
        };
        let wanted =
            matches!(self.level, Level::Avx512Bf16 | Level::NeonBf16) && self.queries.0.kind() == super::Kind::Bf16;
        (wanted && kp == self.a.key_dim).then(|| {
            let keys = &k[b * kb + head * kh..][..self.count * kp];
            let values = &v[b * vb + head * vh..][..(self.count - 1) * vp + self.a.value_dim];
            (keys, values, vp)
        })
    }
}

/// What a cached number is as f32, in code that vectorises.
trait Number: Copy {
    fn wide(self) -> f32;
}

impl Number for f32 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }
}

impl Number for Bf16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self.to_f32()
    }
}

impl Number for F16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self.to_f32()
    }
}

/// `scores[g][s] = queries[g] . keys[s]`, keys `stride` apart.
fn dots(level: Level, queries: &[f32], keys: Floats<'_>, stride: usize, dim: usize, scores: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if level >= Level::Avx512 {
        return super::x86::dots(queries, keys, stride, dim, scores);
    }
    plain_dots(level, queries, keys, stride, dim, scores);
}

multiversion! {
    fn plain_dots<const FMA: bool>(queries: &[f32], keys: Floats<'_>, stride: usize, dim: usize, scores: &mut [f32]) {
        match keys {
            Floats::F32(k) => dots_of::<FMA, _>(queries, k, stride, dim, scores),
            Floats::F16(k) => dots_of::<FMA, _>(queries, k, stride, dim, scores),
            Floats::Bf16(k) => dots_of::<FMA, _>(queries, k, stride, dim, scores),
        }
    }
}

#[inline(always)]
fn dots_of<const FMA: bool, T: Number>(queries: &[f32], keys: &[T], stride: usize, dim: usize, scores: &mut [f32]) {
    let group = queries.len() / dim;
    let n = scores.len() / group;
    for s in 0..n {
        let key = &keys[s * stride..][..dim];
        for (g, query) in queries.chunks_exact(dim).enumerate() {
            let mut sums = [0.0f32; 32];
            let (qs, q_rest) = query.as_chunks::<32>();
            let (ks, k_rest) = key.as_chunks::<32>();
            for (q, k) in qs.iter().zip(ks) {
                for i in 0..32 {
                    sums[i] = fma::<FMA>(q[i], k[i].wide(), sums[i]);
                }
            }
            let mut half = [0.0f32; 16];
            for i in 0..16 {
                half[i] = sums[i] + sums[i + 16];
            }
            let mut quarter = [0.0f32; 8];
            for i in 0..8 {
                quarter[i] = half[i] + half[i + 8];
            }
            let total = quarter.iter().sum::<f32>();
            scores[g * n + s] = q_rest.iter().zip(k_rest).fold(total, |t, (q, k)| fma::<FMA>(*q, k.wide(), t));
        }
    }
}

/// `out[g] += sum over s of weights[g][s] * values[s]`, values `stride` apart.
fn weigh(level: Level, weights: &[f32], values: Floats<'_>, stride: usize, dim: usize, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if level >= Level::Avx512 {
        return super::x86::weigh(weights, values, stride, dim, out);
    }
    plain_weigh(level, weights, values, stride, dim, out);
}

multiversion! {
    fn plain_weigh<const FMA: bool>(weights: &[f32], values: Floats<'_>, stride: usize, dim: usize, out: &mut [f32]) {
        match values {
            Floats::F32(v) => weigh_of::<FMA, _>(weights, v, stride, dim, out),
            Floats::F16(v) => weigh_of::<FMA, _>(weights, v, stride, dim, out),
            Floats::Bf16(v) => weigh_of::<FMA, _>(weights, v, stride, dim, out),
        }
    }
}

#[inline(always)]
fn weigh_of<const FMA: bool, T: Number>(weights: &[f32], values: &[T], stride: usize, dim: usize, out: &mut [f32]) {
    const WIDTH: usize = 64;
    let group = out.len() / dim;
    let n = weights.len() / group;
    for (weights, out) in weights.chunks_exact(n).zip(out.chunks_exact_mut(dim)) {
        let (whole, rest) = out.as_chunks_mut::<WIDTH>();
        for (c, out) in whole.iter_mut().enumerate() {
            let mut sums = *out;
            for (s, w) in weights.iter().enumerate() {
                let value: &[T; WIDTH] = values[s * stride + c * WIDTH..][..WIDTH].try_into().expect("64 of them");
                for i in 0..WIDTH {
                    sums[i] = fma::<FMA>(*w, value[i].wide(), sums[i]);
                }
            }
            *out = sums;
        }
        let from = whole.len() * WIDTH;
        for (s, w) in weights.iter().enumerate() {
            for (o, v) in rest.iter_mut().zip(&values[s * stride + from..]) {
                *o = fma::<FMA>(*w, v.wide(), *o);
            }
        }
    }
}

multiversion! {
    fn soft_cap<const FMA: bool>(scores: &mut [f32], cap: f32) {
        for s in scores {
            *s = tanh::<FMA>(*s / cap) * cap;
        }
    }
}

#[inline(always)]
fn max(row: &[f32]) -> f32 {
    let mut most = [f32::MIN; 16];
    let (whole, rest) = row.as_chunks::<16>();
    for chunk in whole {
        for i in 0..16 {
            most[i] = if chunk[i] > most[i] { chunk[i] } else { most[i] };
        }
    }
    most.iter().chain(rest).fold(f32::MIN, |a, b| a.max(*b))
}

/// Replaces scores by `e^(score - max)` and returns their sum.
#[inline(always)]
fn exp_sum<const FMA: bool>(row: &mut [f32], max: f32) -> f32 {
    let mut sums = [0.0f32; 16];
    let (whole, rest) = row.as_chunks_mut::<16>();
    for chunk in whole {
        for i in 0..16 {
            let d = chunk[i] - max;
            // Below this the sum of a row would not notice; hidden keys must weigh exactly nothing.
            let e = if d < -80.0 { 0.0 } else { exp::<FMA>(d) };
            chunk[i] = e;
            sums[i] += e;
        }
    }
    let mut total = sums.iter().sum::<f32>();
    for v in rest {
        let d = *v - max;
        *v = if d < -80.0 { 0.0 } else { exp::<FMA>(d) };
        total += *v;
    }
    total
}

multiversion! {
    fn softmax<const FMA: bool>(row: &mut [f32]) {
        let max = max(row);
        let factor = 1.0 / exp_sum::<FMA>(row, max);
        for v in row {
            *v *= factor;
        }
    }
}

multiversion! {
    /// Replaces a block of scores by weights relative to the running maximum; `state` is that maximum and the sum. Returns
    /// the factor by which what was summed before shrinks.
    fn running_softmax<const FMA: bool>(row: &mut [f32], state: &mut [f32]) -> f32 {
        let most = max(row).max(state[0]);
        if most == f32::MIN {
            // Nothing visible yet.
            row.fill(0.0);
            return 1.0;
        }
        let factor = if state[0] == f32::MIN { 1.0 } else { exp::<FMA>(state[0] - most) };
        let sum = exp_sum::<FMA>(row, most);
        state[1] = fma::<FMA>(state[1], factor, sum);
        state[0] = most;
        factor
    }
}
