//! One block of a product: some output features for all rows of the input.

use std::cell::RefCell;

use super::codes::Codes;
use super::floats::{Floats, Kind};
use super::level::{Level, fma, multiversion};
use super::pool;
use super::product::{Matrix, Part, Values, in_bf16};

/// Up to this many rows of input are computed as dot products, each exactly as it would be alone: sequences that are
/// decoded together get what they get on their own.
pub(super) const FEW: usize = 16;

/// Rows of input that are multiplied at a time when they are few.
pub(super) const PIECE: usize = 4;

/// Bytes of weights that stay in the first-level cache while all rows of input meet them.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const NEAR: usize = 16384;

/// Calls `f(j, rows, i, m)` with `rows` rows of weights from `j` on, and `m` of the `inputs` rows of input from `i` on, until
/// all of `n` have met all of them. `most` says how many rows of weights registers allow beside `m` rows of input: 1, 2 or 4.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) fn pieces(
    n: usize,
    row_bytes: usize,
    inputs: usize,
    most: impl Fn(usize) -> usize,
    mut f: impl FnMut(usize, usize, usize, usize),
) {
    let near = if inputs <= PIECE { n } else { (NEAR / row_bytes.max(1)).next_multiple_of(4) };
    for start in (0..n).step_by(near.max(1)) {
        let end = (start + near).min(n);
        for i in (0..inputs).step_by(PIECE) {
            let m = PIECE.min(inputs - i);
            let mut j = start;
            while j < end {
                let rows = [4, 2, 1].into_iter().find(|&r| r <= most(m).min(end - j)).expect("at least one");
                f(j, rows, i, m);
                j += rows;
            }
        }
    }
}

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with memory of this thread that is used again; its contents are arbitrary numbers.
pub(super) fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = FREE.with(|free| free.borrow_mut().pop()).unwrap_or_default();
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    let result = f(&mut buffer[..len]);
    // What a long prompt needed once is not kept for ever.
    if buffer.len() <= 1 << 22 {
        FREE.with(|free| free.borrow_mut().push(buffer));
    }
    result
}

/// How many output features a task computes.
pub(super) fn block_rows(m: usize, rows: usize, threads: usize) -> usize {
    if threads == 1 && m <= FEW {
        return rows.max(1);
    }
    // Several blocks a thread, so that one that is held up does not hold up all; each a multiple of the panel's width.
    let even = rows.div_ceil(threads * if m <= FEW { 8 } else { 4 });
    let (least, most) = if m <= FEW { (16, 512) } else { (64, 128) };
    even.next_multiple_of(least).clamp(least, most)
}

/// The input in the forms that kernels read it in.
pub(super) struct Prepared<'a> {
    pub m: usize,
    pub k: usize,
    /// As it came.
    pub x: Floats<'a>,
    /// In f32, `m x k`; empty where the bf16 kernels take `x` as it is.
    pub natural: Vec<f32>,
    /// In the order in which the 2- and the 4-bit kernels for few rows meet the codes, `m x lane_stride`.
    pub lanes: [Vec<f32>; 2],
    /// As integers of 16 bits, for codes that are 2, 4 and 8 bits apart when they are met.
    pub bytes: [Option<Bytes>; 3],
    /// Sums over groups, `m x k / group`, for groups of 32, 64 and 128.
    pub sums: [Vec<f32>; 3],
}

/// Whether the kernels for few rows multiply such codes with `x` as 16-bit integers, which lose nothing that bf16
/// has.
pub(super) fn in_bytes(codes: Codes, x: Kind) -> bool {
    let integers = match codes {
        Codes::Integer(2 | 4 | 8) => true,
        // NEON makes bytes of them as easily.
        Codes::Integer(_) | Codes::E2m1 => cfg!(target_arch = "aarch64"),
        Codes::E4m3 => false,
    };
    integers && x == Kind::Bf16
}

/// Which of [`Prepared::bytes`] is for such codes: widths that do not divide a byte are met one a byte.
pub(super) fn packing(codes: Codes) -> usize {
    match codes.bits() {
        2 => 0,
        4 => 1,
        _ => 2,
    }
}

/// Whether the kernels for few rows read such codes by table, in lanes.
pub(super) fn by_table(codes: Codes) -> bool {
    matches!(codes.bits(), 2 | 4)
}

/// Rows of `x` as 16-bit integers with a scale for each block, the upper and the lower byte apart, in the order in which
/// the kernel for few rows meets the codes: byte `b` of 64 in step `j` of a block is for code `b * 8 / bits + j`.
pub(super) struct Bytes {
    rows: usize,
    /// `[rows][blocks][upper, lower][steps][64]`
    pub parts: Vec<i8>,
    /// `[rows][blocks]`
    pub scales: Vec<f32>,
    /// As in [`Prepared`], of the rounded numbers: their errors then weigh as much as the weights, not as the codes.
    pub sums: [Vec<f32>; 3],
}

impl Bytes {
    /// `groups` says for which sizes of groups (32, 64, 128) sums are wanted.
    fn new(level: Level, x: &[f32], k: usize, bits: usize, groups: [bool; 3], parallel: bool) -> Bytes {
        let (block, steps) = (lane_block(bits), 8 / bits);
        let blocks = k.div_ceil(block);
        let m = x.len() / k;
        let mut sums: [Vec<f32>; 3] = Default::default();
        for (i, sums) in sums.iter_mut().enumerate().filter(|(i, _)| groups[*i]) {
            *sums = vec![0.0; m * (k / (32 << i))];
        }
        let mut this = Bytes { rows: m, parts: vec![0; m * blocks * 2 * block], scales: vec![0.0; m * blocks], sums };
        let (parts, scales) = (Rows::of(&mut this.parts, m), Rows::of(&mut this.scales, m));
        let sums = this.sums.each_mut().map(|sums| Rows::of(sums, m));
        let body = |r: usize| {
            // SAFETY: each call has its own row.
            let (parts, scales) = unsafe { (parts.get(r), scales.get(r)) };
            with_scratch(k, |rounded| {
                let input = x[r * k..(r + 1) * k].chunks(block).zip(rounded.chunks_mut(block));
                for (((values, rounded), parts), scale) in input.zip(parts.chunks_exact_mut(2 * block)).zip(scales) {
                    // The lower byte is rounded to -128..=127, so the upper one may be one more than a half.
                    *scale = largest(level, values) / 32_000.0;
                    let (upper, lower) = parts.split_at_mut(block);
                    match steps {
                        1 => to_bytes_1(level, values, *scale, rounded, upper, lower),
                        2 => to_bytes_2(level, values, *scale, rounded, upper, lower),
                        _ => to_bytes_4(level, values, *scale, rounded, upper, lower),
                    }
                }
                for (i, sums) in sums.iter().enumerate().filter(|(_, s)| s.stride > 0) {
                    // SAFETY: as above.
                    group_sums(level, rounded, 32 << i, unsafe { sums.get(r) });
                }
            });
        };
        if parallel {
            pool::run(m, &body)
        } else {
            (0..m).for_each(body)
        }
        this
    }

    /// Parts and scales of the rows from this one on.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub fn from(&self, row: usize) -> (*const i8, *const f32) {
        let blocks = self.scales.len() / self.rows;
        (self.parts[row * (self.parts.len() / self.rows)..].as_ptr(), self.scales[row * blocks..].as_ptr())
    }
}

macro_rules! to_bytes {
    ($name:ident, $steps:literal) => {
        multiversion! {
            /// One block of at most `64 * $steps` numbers.
            fn $name<const FMA: bool>(values: &[f32], scale: f32, rounded: &mut [f32], upper: &mut [i8], lower: &mut [i8]) {
                let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
                let mut integers = [0i16; 64 * $steps];
                for ((n, v), rounded) in integers.iter_mut().zip(values).zip(rounded) {
                    let whole = (v * inverse).round_ties_even();
                    *rounded = whole * scale;
                    *n = whole as i32 as i16;
                }
                for j in 0..$steps {
                    for b in 0..64 {
                        let n = integers[b * $steps + j];
                        lower[j * 64 + b] = n as i8;
                        // What is left when the signed lower byte is taken away.
                        upper[j * 64 + b] = (n.wrapping_add(128) >> 8) as i8;
                    }
                }
            }
        }
    };
}
to_bytes!(to_bytes_1, 1);
to_bytes!(to_bytes_2, 2);
to_bytes!(to_bytes_4, 4);

pub(super) fn group_index(group: usize) -> usize {
    group.trailing_zeros() as usize - 5
}

/// Codes that one step of the kernels for few rows covers.
pub(super) fn lane_block(bits: usize) -> usize {
    512 / bits
}

impl<'a> Prepared<'a> {
    pub fn new(level: Level, x: Floats<'a>, m: usize, parts: &[Part<'_>], parallel: bool) -> Prepared<'a> {
        let k = parts[0].weight.columns;
        let mut this = Prepared {
            m,
            k,
            x,
            natural: vec![0.0; m * k],
            lanes: Default::default(),
            bytes: Default::default(),
            sums: Default::default(),
        };
        let mut lanes = [false; 2];
        // By width: whether, and with sums over groups of which sizes.
        let mut bytes = [None; 3];
        for part in parts {
            let Some(q) = part.weight.grouped() else { continue };
            if q.biases.is_some() {
                this.sums[group_index(q.group)] = vec![0.0; m * (k / q.group)];
            }
            if m <= FEW && level != Level::Portable {
                if in_bytes(q.codes, x.kind()) {
                    let groups: &mut [bool; 3] = bytes[packing(q.codes)].get_or_insert([false; 3]);
                    if q.biases.is_some() {
                        groups[group_index(q.group)] = true;
                    }
                } else if level >= Level::Avx512 && by_table(q.codes) {
                    lanes[q.codes.bits() / 4] = true;
                }
            }
        }
        for (i, wanted) in lanes.into_iter().enumerate() {
            if wanted {
                this.lanes[i] = vec![0.0; m * k.next_multiple_of(lane_block(2 << i))];
            }
        }
        let parallel = parallel && m > PIECE;
        this.fill(level, parallel);
        for (i, wanted) in bytes.into_iter().enumerate() {
            if let Some(groups) = wanted {
                this.bytes[i] = Some(Bytes::new(level, &this.natural, k, 2 << i, groups, parallel));
            }
        }
        if m > FEW && parts.iter().all(|p| in_bf16(level, x.kind(), &p.weight)) {
            this.natural = Vec::new();
        }
        this
    }

    fn fill(&mut self, level: Level, parallel: bool) {
        let (k, x) = (self.k, self.x);
        let m = self.m;
        let rows = |all: &mut Vec<f32>| Rows::of(all, m);
        let natural = rows(&mut self.natural);
        let lanes = [rows(&mut self.lanes[0]), rows(&mut self.lanes[1])];
        let sums = [rows(&mut self.sums[0]), rows(&mut self.sums[1]), rows(&mut self.sums[2])];
        let body = |i: usize| {
            // SAFETY: each call has its own row.
            unsafe {
                let row = natural.get(i);
                x.slice(i * k, k).read(level, row);
                for (j, lane) in lanes.iter().enumerate().filter(|(_, l)| l.stride > 0) {
                    to_lanes(row, 2 << j, lane.get(i));
                }
                for (j, sum) in sums.iter().enumerate().filter(|(_, s)| s.stride > 0) {
                    group_sums(level, row, 32 << j, sum.get(i));
                }
            }
        };
        if parallel { pool::run(self.m, &body) } else { (0..self.m).for_each(body) }
    }
}

/// Rows that different threads fill.
struct Rows<T> {
    data: *mut T,
    stride: usize,
}

// SAFETY: each thread takes its own rows.
unsafe impl<T: Send> Sync for Rows<T> {}

impl<T> Rows<T> {
    /// All of `rows` rows.
    fn of(all: &mut [T], rows: usize) -> Rows<T> {
        Rows { data: all.as_mut_ptr(), stride: all.len() / rows }
    }

    /// # Safety
    /// Nobody else uses the row, and it is within the buffer.
    #[allow(clippy::mut_from_ref)]
    unsafe fn get(&self, row: usize) -> &mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(row * self.stride), self.stride) }
    }
}

/// Codes come as words of 32 bits in 16 lanes: in step `j` lane `l` shows code `l * 32 / bits + j` of its block.
fn to_lanes(row: &[f32], bits: usize, out: &mut [f32]) {
    let (block, steps) = (lane_block(bits), 32 / bits);
    let whole = row.len() / block;
    for (from, to) in row.chunks_exact(block).zip(out.chunks_exact_mut(block)) {
        for (l, codes) in from.chunks_exact(steps).enumerate() {
            for (j, v) in codes.iter().enumerate() {
                to[j * 16 + l] = *v;
            }
        }
    }
    let rest = &row[whole * block..];
    if !rest.is_empty() {
        let to = &mut out[whole * block..];
        to.fill(0.0);
        for (i, v) in rest.iter().enumerate() {
            to[i % steps * 16 + i / steps] = *v;
        }
    }
}

multiversion! {
    fn largest<const FMA: bool>(values: &[f32]) -> f32 {
        let mut most = [0.0f32; 16];
        let (whole, rest) = values.as_chunks::<16>();
        for chunk in whole {
            for i in 0..16 {
                let v = chunk[i].abs();
                most[i] = if v > most[i] { v } else { most[i] };
            }
        }
        most.iter().chain(rest).fold(0.0, |a, b| a.max(b.abs()))
    }
}

multiversion! {
    fn group_sums<const FMA: bool>(row: &[f32], group: usize, out: &mut [f32]) {
        for (values, o) in row.chunks_exact(group).zip(out) {
            let mut sums = [0.0f32; 16];
            for v in values.chunks_exact(16) {
                for i in 0..16 {
                    sums[i] += v[i];
                }
            }
            *o = sums.iter().sum();
        }
    }
}

multiversion! {
    fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
        let mut sums = [0.0f32; 32];
        let (wa, ra) = a.as_chunks::<32>();
        let (wb, rb) = b.as_chunks::<32>();
        for (a, b) in wa.iter().zip(wb) {
            for i in 0..32 {
                sums[i] = fma::<FMA>(a[i], b[i], sums[i]);
            }
        }
        let mut total = 0.0;
        for i in 0..16 {
            total += sums[i] + sums[i + 16];
        }
        ra.iter().zip(rb).fold(total, |t, (a, b)| fma::<FMA>(*a, *b, t))
    }
}

/// `tile[i * n + j] = x[i] . W[from + j]`
pub(super) fn compute(level: Level, w: &Matrix<'_>, from: usize, n: usize, p: &Prepared<'_>, tile: &mut [f32]) {
    if p.m <= FEW {
        return few(level, w, from, n, p, tile);
    }
    #[cfg(target_arch = "x86_64")]
    if in_bf16(level, p.x.kind(), w) {
        return super::x86::many_bf16(w, from, n, p, tile);
    }
    #[cfg(target_arch = "aarch64")]
    if in_bf16(level, p.x.kind(), w) {
        return super::neon::many_bf16(w, from, n, p, tile);
    }
    many(level, w, from, n, p, tile);
}

/// Few rows: dot products with the rows of the weights, `PIECE` rows of input at a time.
fn few(level: Level, w: &Matrix<'_>, from: usize, n: usize, p: &Prepared<'_>, tile: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if level >= Level::Avx512 {
        return super::x86::few(w, from, n, p, tile);
    }
    #[cfg(target_arch = "x86_64")]
    if level == Level::Avx2 {
        return super::avx2::few(w, from, n, p, tile);
    }
    #[cfg(target_arch = "aarch64")]
    if level >= Level::Neon {
        return super::neon::few(level, w, from, n, p, tile);
    }
    let (m, k) = (p.m, p.k);
    with_scratch(k, |row| {
        for j in 0..n {
            w.row(level, from + j, row);
            for i in 0..m {
                tile[i * n + j] = dot(level, row, &p.natural[i * k..(i + 1) * k]);
            }
        }
    });
}

/// Many rows in f32.
fn many(level: Level, w: &Matrix<'_>, from: usize, n: usize, p: &Prepared<'_>, tile: &mut [f32]) {
    let (m, k) = (p.m, p.k);
    // `panel` is n x k: the product with its transpose.
    let multiply =
        |panel: &[f32], tile: &mut [f32]| matmul((m, k, n), &p.natural, (k, 1), panel, (1, k), tile, n, false);
    if let Values::Dense(Floats::F32(values)) = w.values {
        return multiply(&values[from * k..(from + n) * k], tile);
    }
    with_scratch(n * k, |panel| {
        for (j, row) in panel.chunks_exact_mut(k).enumerate() {
            w.row(level, from + j, row);
        }
        multiply(panel, tile);
    });
}

/// `out = a b`, or `out += a b`, for `(m, k, n)`; inputs come with their distances of rows and of columns, `out` has rows
/// `ld` apart. On the calling thread alone.
pub(super) fn matmul(
    (m, k, n): (usize, usize, usize),
    a: &[f32],
    sa: (usize, usize),
    b: &[f32],
    sb: (usize, usize),
    out: &mut [f32],
    ld: usize,
    add: bool,
) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    assert!(a.len() > (m - 1) * sa.0 + (k - 1) * sa.1, "first matrix");
    assert!(b.len() > (k - 1) * sb.0 + (n - 1) * sb.1, "second matrix");
    assert!(out.len() >= (m - 1) * ld + n, "product");
    let i = |n: usize| n as isize;
    let beta = if add { 1.0 } else { 0.0 };
    // SAFETY: the last element of each matrix is within its slice, and `out` is not one of the inputs.
    unsafe {
        let (a, b, out) = (a.as_ptr(), b.as_ptr(), out.as_mut_ptr());
        matrixmultiply::sgemm(m, k, n, 1.0, a, i(sa.0), i(sa.1), b, i(sb.0), i(sb.1), beta, out, i(ld), 1);
    }
}
