//! Quantization codes: MLX packs them as one little-endian stream of bits a row, the first code in the lowest bits.

use super::level::{Level, multiversion};

/// The kind of codes in a quantized matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codes {
    /// Unsigned integers of 2, 3, 4, 5, 6 or 8 bits.
    Integer(u32),
    /// 4 bits: a sign, two bits of exponent, one of mantissa (OCP microscaling formats 1.0, E2M1).
    E2m1,
    /// 8 bits: a sign, four bits of exponent, three of mantissa (the same, E4M3), without infinities.
    E4m3,
}

/// The values of E2M1.
pub(super) const E2M1_VALUES: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

impl Codes {
    /// Bits of one code.
    pub fn bits(self) -> usize {
        match self {
            Codes::Integer(bits) => bits as usize,
            Codes::E2m1 => 4,
            Codes::E4m3 => 8,
        }
    }

    /// What the 16 values of the lower four bits stand for, upper bits being of the next code. Of codes of at most four
    /// bits.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn table(self) -> [f32; 16] {
        match self {
            Codes::Integer(bits) => std::array::from_fn(|i| (i & ((1 << bits.min(4)) - 1)) as f32),
            Codes::E2m1 => E2M1_VALUES,
            Codes::E4m3 => unreachable!("codes of eight bits"),
        }
    }

    /// Reads `out.len()` codes, a multiple of 8, from the start of `bytes`.
    pub(super) fn unpack(self, level: Level, bytes: &[u8], out: &mut [f32]) {
        match self {
            Codes::Integer(2) => two(level, bytes, out),
            Codes::Integer(3) => three(level, bytes, out),
            Codes::Integer(4) => four(level, bytes, out),
            Codes::Integer(5) => five(level, bytes, out),
            Codes::Integer(6) => six(level, bytes, out),
            Codes::Integer(_) => eight(level, bytes, out),
            Codes::E2m1 => e2m1(level, bytes, out),
            Codes::E4m3 => e4m3(level, bytes, out),
        }
    }
}

macro_rules! width {
    ($name:ident, $bits:literal) => {
        multiversion! {
            fn $name<const FMA: bool>(bytes: &[u8], out: &mut [f32]) {
                for (eight, out) in bytes.chunks_exact($bits).zip(out.chunks_exact_mut(8)) {
                    let mut word = [0; 8];
                    word[..$bits].copy_from_slice(eight);
                    let word = u64::from_le_bytes(word);
                    for (i, o) in out.iter_mut().enumerate() {
                        *o = (((word >> ($bits * i)) as u32) & ((1 << $bits) - 1)) as f32;
                    }
                }
            }
        }
    };
}
width!(two, 2);
width!(three, 3);
width!(four, 4);
width!(five, 5);
width!(six, 6);
width!(eight, 8);

multiversion! {
    fn e2m1<const FMA: bool>(bytes: &[u8], out: &mut [f32]) {
        for (byte, out) in bytes.iter().zip(out.chunks_exact_mut(2)) {
            out[0] = E2M1_VALUES[usize::from(byte & 15)];
            out[1] = E2M1_VALUES[usize::from(byte >> 4)];
        }
    }
}

/// The factor that makes up for the difference of the exponents' biases in E4M3 and f32.
pub(super) const E4M3_SCALE: f32 = f32::from_bits((127 + 120) << 23);

multiversion! {
    /// Exponent and mantissa move to their place in an f32, subnormals included. The code that is NaN becomes 480, as in
    /// MLX.
    pub(super) fn e4m3<const FMA: bool>(bytes: &[u8], out: &mut [f32]) {
        for (byte, out) in bytes.iter().zip(out) {
            let magnitude = f32::from_bits(u32::from(byte & 0x7f) << 20) * E4M3_SCALE;
            *out = f32::from_bits(magnitude.to_bits() | u32::from(byte & 0x80) << 24);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Packs codes as MLX does.
    pub fn pack(bits: usize, codes: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0u8; codes.len() * bits / 8];
        for (i, code) in codes.iter().enumerate() {
            for b in 0..bits {
                let at = i * bits + b;
                bytes[at / 8] |= ((code >> b & 1) as u8) << (at % 8);
            }
        }
        bytes
    }

    #[test]
    fn unpacks_what_was_packed() {
        for bits in [2, 3, 4, 5, 6, 8] {
            let codes: Vec<u32> = (0..160u32).map(|i| i.wrapping_mul(2654435761) >> (32 - bits)).collect();
            let bytes = pack(bits, &codes);
            for level in Level::available() {
                let mut out = vec![0.0; codes.len()];
                Codes::Integer(bits as u32).unpack(level, &bytes, &mut out);
                assert!(out.iter().zip(&codes).all(|(o, c)| *o == *c as f32), "{bits} bits, {level:?}");
            }
        }
    }
}
