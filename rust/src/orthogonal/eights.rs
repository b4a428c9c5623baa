//! Eight float64 numbers abreast: what the orthogonal matrices ask of a processor.
//!
//! Each operation rounds as IEEE 754 says and none is fused, so all sets give the same bits.

// Of AVX-512, which compilers before 1.89 leave out.
#![allow(clippy::incompatible_msrv)]

/// The operations of an instruction set on eight numbers.
///
/// # Safety
/// Every function may be called only where the processor has the instruction set.
pub trait Eights {
    type Eight: Copy;
    /// Sums that fit into the registers.
    const ABREAST: usize;

    unsafe fn load(from: *const f64) -> Self::Eight;
    unsafe fn store(eight: Self::Eight, to: *mut f64);
    /// The same number eight times.
    unsafe fn all(number: f64) -> Self::Eight;
    unsafe fn plus(left: Self::Eight, right: Self::Eight) -> Self::Eight;
    unsafe fn minus(left: Self::Eight, right: Self::Eight) -> Self::Eight;
    unsafe fn times(left: Self::Eight, right: Self::Eight) -> Self::Eight;
}

macro_rules! eights {
    ($name:ident, $vector:ty, $count:literal, $abreast:literal, $load:ident, $store:ident, $all:ident,
     $plus:ident, $minus:ident, $times:ident) => {
        pub struct $name;

        impl Eights for $name {
            type Eight = [$vector; $count];
            const ABREAST: usize = $abreast;

            #[inline(always)]
            unsafe fn load(from: *const f64) -> Self::Eight {
                let mut eight = [$all(0.0); $count];
                for (at, each) in eight.iter_mut().enumerate() {
                    *each = $load(from.add(at * (8 / $count)));
                }
                eight
            }

            #[inline(always)]
            unsafe fn store(eight: Self::Eight, to: *mut f64) {
                for (at, each) in eight.iter().enumerate() {
                    $store(to.add(at * (8 / $count)), *each);
                }
            }

            #[inline(always)]
            unsafe fn all(number: f64) -> Self::Eight {
                [$all(number); $count]
            }

            #[inline(always)]
            unsafe fn plus(mut left: Self::Eight, right: Self::Eight) -> Self::Eight {
                for (each, other) in left.iter_mut().zip(right) {
                    *each = $plus(*each, other);
                }
                left
            }

            #[inline(always)]
            unsafe fn minus(mut left: Self::Eight, right: Self::Eight) -> Self::Eight {
                for (each, other) in left.iter_mut().zip(right) {
                    *each = $minus(*each, other);
                }
                left
            }

            #[inline(always)]
            unsafe fn times(mut left: Self::Eight, right: Self::Eight) -> Self::Eight {
                for (each, other) in left.iter_mut().zip(right) {
                    *each = $times(*each, other);
                }
                left
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Eights;
    use std::arch::x86_64::*;

    eights!(
        Avx2Eights,
        __m256d,
        2,
        6,
        _mm256_loadu_pd,
        _mm256_storeu_pd,
        _mm256_set1_pd,
        _mm256_add_pd,
        _mm256_sub_pd,
        _mm256_mul_pd
    );
    #[cfg(initcfg_avx512)]
    eights!(
        Avx512Eights,
        __m512d,
        1,
        12,
        _mm512_loadu_pd,
        _mm512_storeu_pd,
        _mm512_set1_pd,
        _mm512_add_pd,
        _mm512_sub_pd,
        _mm512_mul_pd
    );
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::Eights;
    use std::arch::aarch64::*;

    eights!(
        NeonEights,
        float64x2_t,
        4,
        4,
        vld1q_f64,
        vst1q_f64,
        vdupq_n_f64,
        vaddq_f64,
        vsubq_f64,
        vmulq_f64
    );
}

#[cfg(target_arch = "aarch64")]
pub use arm::NeonEights;
#[cfg(target_arch = "x86_64")]
pub use x86::Avx2Eights;
#[cfg(all(target_arch = "x86_64", initcfg_avx512))]
pub use x86::Avx512Eights;

mod plain {
    use super::Eights;

    unsafe fn load(from: *const f64) -> f64 {
        *from
    }
    unsafe fn store(to: *mut f64, number: f64) {
        *to = number;
    }
    fn all(number: f64) -> f64 {
        number
    }
    fn plus(left: f64, right: f64) -> f64 {
        left + right
    }
    fn minus(left: f64, right: f64) -> f64 {
        left - right
    }
    fn times(left: f64, right: f64) -> f64 {
        left * right
    }

    eights!(PlainEights, f64, 8, 2, load, store, all, plus, minus, times);
}

pub use plain::PlainEights;
