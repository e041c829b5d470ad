//! Floating-point numbers of the types that models use.

use super::level::multiversion;

macro_rules! half {
    ($(#[$doc:meta])* $name:ident, $half:ident, $to:expr, $from:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[repr(transparent)]
        pub struct $name([u8; 2]);

        impl $name {
            /// 0
            pub const ZERO: $name = $name([0; 2]);

            /// The number with these bits.
            #[inline(always)]
            pub fn from_bits(bits: u16) -> $name {
                $name(bits.to_ne_bytes())
            }

            /// Its bits.
            #[inline(always)]
            pub fn to_bits(self) -> u16 {
                u16::from_ne_bytes(self.0)
            }

            /// Rounds to the nearest, ties to even.
            #[inline(always)]
            pub fn from_f32(v: f32) -> $name {
                $from(v)
            }

            /// The same number.
            #[inline(always)]
            pub fn to_f32(self) -> f32 {
                $to(self.to_bits())
            }

            /// The same numbers.
            pub fn slice(of: &[half::$half]) -> &[$name] {
                // SAFETY: the same bytes, with fewer demands on alignment.
                unsafe { std::slice::from_raw_parts(of.as_ptr().cast(), of.len()) }
            }

            /// The same numbers.
            pub fn slice_mut(of: &mut [half::$half]) -> &mut [$name] {
                // SAFETY: as above.
                unsafe { std::slice::from_raw_parts_mut(of.as_mut_ptr().cast(), of.len()) }
            }
        }
    };
}
half! {
    /// IEEE half precision, at any address: tensors in weight files lie where the header ends.
    F16, f16, half_to_f32, |v| F16::from_bits(half::f16::from_f32(v).to_bits())
}
half! {
    /// The upper half of an f32, at any address.
    Bf16, bf16, |bits| f32::from_bits(u32::from(bits) << 16), to_bf16
}

/// The type of floating-point numbers in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 32 bits.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of 32 bits.
    Bf16,
}

impl Kind {
    /// Bytes of a number.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn size(self) -> usize {
        match self {
            Kind::F32 => 4,
            Kind::F16 | Kind::Bf16 => 2,
        }
    }
}

/// Numbers to read.
#[derive(Clone, Copy, Debug)]
pub enum Floats<'a> {
    /// 32 bits.
    F32(&'a [f32]),
    /// IEEE half precision.
    F16(&'a [F16]),
    /// The upper half of 32 bits.
    Bf16(&'a [Bf16]),
}

/// Numbers to write.
#[derive(Debug)]
pub enum FloatsMut<'a> {
    /// 32 bits.
    F32(&'a mut [f32]),
    /// IEEE half precision.
    F16(&'a mut [F16]),
    /// The upper half of 32 bits.
    Bf16(&'a mut [Bf16]),
}

impl<'a> Floats<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Floats::F32(s) => s.len(),
            Floats::F16(s) => s.len(),
            Floats::Bf16(s) => s.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their type.
    pub fn kind(&self) -> Kind {
        match self {
            Floats::F32(_) => Kind::F32,
            Floats::F16(_) => Kind::F16,
            Floats::Bf16(_) => Kind::Bf16,
        }
    }

    /// A part of them.
    pub fn slice(&self, from: usize, len: usize) -> Floats<'a> {
        match self {
            Floats::F32(s) => Floats::F32(&s[from..from + len]),
            Floats::F16(s) => Floats::F16(&s[from..from + len]),
            Floats::Bf16(s) => Floats::Bf16(&s[from..from + len]),
        }
    }

    /// One of them.
    #[inline(always)]
    pub fn at(&self, i: usize) -> f32 {
        match self {
            Floats::F32(s) => s[i],
            Floats::F16(s) => s[i].to_f32(),
            Floats::Bf16(s) => s[i].to_f32(),
        }
    }

    /// Converts all of them.
    pub fn read(&self, level: super::Level, out: &mut [f32]) {
        read(level, *self, out);
    }
}

multiversion! {
    fn read<const FMA: bool>(from: Floats<'_>, out: &mut [f32]) {
        match from {
            Floats::F32(s) => out.copy_from_slice(s),
            Floats::F16(s) => {
                let mut done = 0;
                #[cfg(target_arch = "x86_64")]
                if FMA {
                    use std::arch::x86_64::*;
                    done = s.len() / 8 * 8;
                    for i in (0..done).step_by(8) {
                        // SAFETY: FMA implies F16C; eight halves are read and eight floats written within the slices.
                        unsafe {
                            let half = _mm_loadu_si128(s.as_ptr().add(i).cast());
                            _mm256_storeu_ps(out[i..i + 8].as_mut_ptr(), _mm256_cvtph_ps(half));
                        }
                    }
                }
                #[cfg(target_arch = "aarch64")]
                while done + 4 <= s.len() {
                    use std::arch::aarch64::*;
                    // SAFETY: NEON; four halves are read and four floats written within the slices.
                    unsafe {
                        let half = vreinterpret_f16_u16(vld1_u16(s.as_ptr().add(done).cast()));
                        vst1q_f32(out[done..done + 4].as_mut_ptr(), vcvt_f32_f16(half));
                    }
                    done += 4;
                }
                for (o, v) in out[done..].iter_mut().zip(&s[done..]) {
                    *o = half_to_f32(v.to_bits());
                }
            }
            Floats::Bf16(s) => {
                for (o, v) in out.iter_mut().zip(s) {
                    *o = f32::from_bits(u32::from(v.to_bits()) << 16);
                }
            }
        }
    }
}

/// Without tables or branches that would keep a loop from being vectorised.
#[inline(always)]
pub(super) fn half_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let rest = u32::from(bits & 0x7fff) << 13;
    // Moves the exponent to f32's bias; subnormals and infinities need the multiplication and the mask.
    let scaled = f32::from_bits(rest) * f32::from_bits(0x7780_0000);
    let infinite = if bits & 0x7c00 == 0x7c00 { 0x7f80_0000 } else { 0 };
    f32::from_bits(scaled.to_bits() | sign | infinite)
}

/// Rounds to the nearest bf16, ties to even.
#[inline(always)]
fn to_bf16(v: f32) -> Bf16 {
    let bits = v.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1))) >> 16;
    // A NaN must not be rounded into an infinity.
    let nan = (bits >> 16) | 0x40;
    Bf16::from_bits(if v.is_nan() { nan } else { rounded } as u16)
}

/// Where several threads write, each its own part.
#[derive(Clone, Copy)]
pub(super) struct Target {
    data: *mut u8,
    len: usize,
    kind: Kind,
}

// SAFETY: whoever writes promises that parts do not overlap.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    pub fn new(out: FloatsMut<'_>) -> Target {
        match out {
            FloatsMut::F32(s) => Target { data: s.as_mut_ptr().cast(), len: s.len(), kind: Kind::F32 },
            FloatsMut::F16(s) => Target { data: s.as_mut_ptr().cast(), len: s.len(), kind: Kind::F16 },
            FloatsMut::Bf16(s) => Target { data: s.as_mut_ptr().cast(), len: s.len(), kind: Kind::Bf16 },
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// # Safety
    /// Nobody else uses this part at the same time, and the numbers live as long as `'a`.
    pub unsafe fn part<'a>(&self, from: usize, len: usize) -> FloatsMut<'a> {
        assert!(from + len <= self.len);
        // SAFETY: within bounds, checked above; exclusive by the caller's promise.
        unsafe {
            match self.kind {
                Kind::F32 => FloatsMut::F32(std::slice::from_raw_parts_mut(self.data.cast::<f32>().add(from), len)),
                Kind::F16 => FloatsMut::F16(std::slice::from_raw_parts_mut(self.data.cast::<F16>().add(from), len)),
                Kind::Bf16 => FloatsMut::Bf16(std::slice::from_raw_parts_mut(self.data.cast::<Bf16>().add(from), len)),
            }
        }
    }
}

impl FloatsMut<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            FloatsMut::F32(s) => s.len(),
            FloatsMut::F16(s) => s.len(),
            FloatsMut::Bf16(s) => s.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rounds `values` into them.
    pub fn write(&mut self, level: super::Level, values: &[f32]) {
        match self {
            FloatsMut::F32(s) => s.copy_from_slice(values),
            FloatsMut::F16(s) => write_f16(level, values, s),
            FloatsMut::Bf16(s) => write_bf16(level, values, s),
        }
    }
}

multiversion! {
    fn write_f16<const FMA: bool>(values: &[f32], out: &mut [F16]) {
        for (o, v) in out.iter_mut().zip(values) {
            *o = F16::from_f32(*v);
        }
    }
}

multiversion! {
    fn write_bf16<const FMA: bool>(values: &[f32], out: &mut [Bf16]) {
        for (o, v) in out.iter_mut().zip(values) {
            *o = to_bf16(*v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn conversions_agree_with_half() {
        let values: Vec<f32> = (0..4099).map(|i| (i as f32 - 2000.0) * 1.000_123e-3 * (1 << (i % 13)) as f32).collect();
        let mut special = vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-40, 3.4e38, 65504.0, 65520.0];
        special.extend(&values);
        for level in Level::available() {
            let mut out = vec![bf16::ZERO; special.len()];
            FloatsMut::Bf16(Bf16::slice_mut(&mut out)).write(level, &special);
            for (o, v) in out.iter().zip(&special) {
                let want = bf16::from_f32(*v);
                assert!(o.to_bits() == want.to_bits() || (o.is_nan() && want.is_nan()), "{v}");
            }
            let halves: Vec<f16> = special.iter().map(|v| f16::from_f32(*v)).collect();
            let mut back = vec![0.0; halves.len()];
            Floats::F16(F16::slice(&halves)).read(level, &mut back);
            assert!(back.iter().zip(&halves).all(|(b, h)| *b == h.to_f32() || b.is_nan() && h.is_nan()));
        }
    }
}
