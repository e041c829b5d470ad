//! Which instructions the kernels use.

use once_cell::sync::Lazy;

/// An instruction set, or portable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What the compiler makes for the target's baseline (on Arm that includes NEON).
    Portable,
    /// NEON, where that is all: any 64-bit Arm.
    Neon,
    /// The same with dot products of bytes (FEAT_DotProd): Apple M1, Graviton 2 and later.
    NeonDot,
    /// The same with bf16 matrix products (FEAT_BF16): Apple M2, Graviton 3 and later.
    NeonBf16,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX-512 F, BW, DQ, VL, VBMI and VNNI: Ice Lake, Zen 4 and later.
    Avx512,
    /// The same with BF16 dot products: Sapphire Rapids, Zen 4 and later.
    Avx512Bf16,
}

impl Level {
    const ALL: [(Level, &str); 7] = [
        (Level::Portable, "portable"),
        (Level::Neon, "neon"),
        (Level::NeonDot, "neondot"),
        (Level::NeonBf16, "neonbf16"),
        (Level::Avx2, "avx2"),
        (Level::Avx512, "avx512"),
        (Level::Avx512Bf16, "avx512bf16"),
    ];

    /// The best that this processor has; `MLXE_CPU_KERNELS` (portable; avx2, avx512, avx512bf16; neon, neondot, neonbf16)
    /// lowers it.
    pub fn get() -> Level {
        static CHOSEN: Lazy<Level> = Lazy::new(|| {
            let best = *Level::available().last().expect("portable is always there");
            let Some(name) = mlx_engine_base::env::MLXE_CPU_KERNELS.text() else { return best };
            match Level::ALL.iter().find(|(_, n)| *n == name) {
                Some((level, _)) if level.is_available() => *level,
                Some(_) => {
                    log::warn!("MLXE_CPU_KERNELS={name}: this processor cannot do that; using {}", best.name());
                    best
                }
                None => {
                    log::warn!("MLXE_CPU_KERNELS={name}: unknown; using {}", best.name());
                    best
                }
            }
        });
        *CHOSEN
    }

    /// All that this processor has, the best last.
    pub fn available() -> Vec<Level> {
        Level::ALL.iter().map(|(level, _)| *level).filter(|level| level.is_available()).collect()
    }

    /// The name that `MLXE_CPU_KERNELS` takes.
    pub fn name(self) -> &'static str {
        Level::ALL.iter().find(|(level, _)| *level == self).map_or("?", |(_, name)| name)
    }

    #[cfg(target_arch = "x86_64")]
    fn is_available(self) -> bool {
        use std::arch::is_x86_feature_detected as has;
        match self {
            Level::Portable => true,
            Level::Avx2 => has!("avx2") && has!("fma") && has!("f16c"),
            Level::Avx512 => {
                Level::Avx2.is_available()
                    && has!("avx512f")
                    && has!("avx512bw")
                    && has!("avx512dq")
                    && has!("avx512vl")
                    && has!("avx512vbmi")
                    && has!("avx512vnni")
            }
            Level::Avx512Bf16 => Level::Avx512.is_available() && has!("avx512bf16"),
            Level::Neon | Level::NeonDot | Level::NeonBf16 => false,
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn is_available(self) -> bool {
        use std::arch::is_aarch64_feature_detected as has;
        match self {
            Level::Portable | Level::Neon => true,
            Level::NeonDot => has!("dotprod"),
            Level::NeonBf16 => Level::NeonDot.is_available() && has!("bf16"),
            Level::Avx2 | Level::Avx512 | Level::Avx512Bf16 => false,
        }
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn is_available(self) -> bool {
        self == Level::Portable
    }
}

/// Defines a function that is compiled for the baseline, for AVX2 and for AVX-512, and picks by [`Level`], which becomes
/// its first parameter.
///
/// The body must be inlinable code that the compiler can vectorise. In it `FMA` says whether fused multiply-add (and on
/// x86 F16C) is there; [`fma`] uses it.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<const FMA: bool>($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(level: $crate::Level, $($arg: $type),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn body<const FMA: bool>($($arg: $type),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $type),*) $(-> $ret)? { body::<true>($($arg),*) }
                #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $type),*) $(-> $ret)? { body::<true>($($arg),*) }
                match level {
                    // SAFETY: a level is only chosen where the processor has it.
                    $crate::Level::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::Level::Avx512 | $crate::Level::Avx512Bf16 => {
                        // SAFETY: as above.
                        return unsafe { avx512($($arg),*) };
                    }
                    _ => {}
                }
            }
            let _ = level;
            body::<{ cfg!(target_arch = "aarch64") }>($($arg),*)
        }
    };
}
pub(super) use multiversion;

/// `a * b + c`, fused where `FMA` says that it is one instruction; elsewhere fusing would be a library call.
#[inline(always)]
pub(super) fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a run is there to test certain kernels, they must not be left out in silence.
    #[test]
    fn required_kernels_are_available() {
        let best = Level::available().last().expect("portable is always there").name();
        let required = std::env::var("MLXE_REQUIRE_KERNELS");
        assert_eq!(best, required.as_deref().unwrap_or(best));
    }
}
