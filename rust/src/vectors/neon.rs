//! NEON: four blocks a vector.

use std::arch::aarch64::*;

use super::Vectors;
use crate::double::Double;
use crate::philox::Blocks;

pub struct Neon;

impl Vectors for Neon {
    const LANES: usize = 4;
    type Mixed = uint32x4_t;
    /// Of the first two blocks, and of the last two.
    type Products = (uint32x4_t, uint32x4_t);
    type Words = uint32x4_t;
    type Numbers = float32x4_t;

    #[inline(always)]
    unsafe fn counters(blocks: &Blocks, first: usize) -> [uint32x4_t; 2] {
        let mut numbers = [0u64; 4];
        for (lane, number) in numbers.iter_mut().enumerate() {
            *number = match blocks {
                Blocks::From(number) => number.wrapping_add((first + lane) as u64),
                Blocks::Each(numbers) => numbers[first + lane],
            };
        }
        let words = vld2q_u32(numbers.as_ptr() as *const u32);
        [words.0, words.1]
    }

    #[inline(always)]
    unsafe fn mixed(word: u32) -> uint32x4_t {
        vdupq_n_u32(word)
    }

    #[inline(always)]
    unsafe fn products(words: uint32x4_t, by: uint32x4_t) -> (uint32x4_t, uint32x4_t) {
        (
            vreinterpretq_u32_u64(vmull_u32(vget_low_u32(words), vget_low_u32(by))),
            vreinterpretq_u32_u64(vmull_high_u32(words, by)),
        )
    }

    #[inline(always)]
    unsafe fn low(products: (uint32x4_t, uint32x4_t)) -> uint32x4_t {
        vuzp1q_u32(products.0, products.1)
    }

    #[inline(always)]
    unsafe fn high(
        products: (uint32x4_t, uint32x4_t),
        word: uint32x4_t,
        key: uint32x4_t,
    ) -> uint32x4_t {
        let high = vuzp2q_u32(products.0, products.1);
        veorq_u32(high, veorq_u32(word, key))
    }

    #[inline(always)]
    unsafe fn finished(words: uint32x4_t) -> uint32x4_t {
        words
    }

    #[inline(always)]
    unsafe fn finished_share(words: uint32x4_t, of: uint32x4_t) -> uint32x4_t {
        let products = Self::products(words, of);
        vuzp2q_u32(products.0, products.1)
    }

    #[inline(always)]
    unsafe fn word(word: u32) -> uint32x4_t {
        vdupq_n_u32(word)
    }

    #[inline(always)]
    unsafe fn and(left: uint32x4_t, right: uint32x4_t) -> uint32x4_t {
        vandq_u32(left, right)
    }

    #[inline(always)]
    unsafe fn or(left: uint32x4_t, right: uint32x4_t) -> uint32x4_t {
        vorrq_u32(left, right)
    }

    #[inline(always)]
    unsafe fn xor(left: uint32x4_t, right: uint32x4_t) -> uint32x4_t {
        veorq_u32(left, right)
    }

    #[inline(always)]
    unsafe fn plus_word(left: uint32x4_t, right: uint32x4_t) -> uint32x4_t {
        vaddq_u32(left, right)
    }

    #[inline(always)]
    unsafe fn without(left: uint32x4_t, right: uint32x4_t) -> uint32x4_t {
        vbicq_u32(right, left)
    }

    #[inline(always)]
    unsafe fn shifted_signed<const BITS: i32>(words: uint32x4_t) -> uint32x4_t {
        vreinterpretq_u32_s32(vshrq_n_s32::<BITS>(vreinterpretq_s32_u32(words)))
    }

    #[inline(always)]
    unsafe fn shifted<const BITS: i32>(words: uint32x4_t) -> uint32x4_t {
        vshrq_n_u32::<BITS>(words)
    }

    #[inline(always)]
    unsafe fn number(number: f32) -> float32x4_t {
        vdupq_n_f32(number)
    }

    #[inline(always)]
    unsafe fn converted(words: uint32x4_t) -> float32x4_t {
        vcvtq_f32_s32(vreinterpretq_s32_u32(words))
    }

    #[inline(always)]
    unsafe fn bits(numbers: float32x4_t) -> uint32x4_t {
        vreinterpretq_u32_f32(numbers)
    }

    #[inline(always)]
    unsafe fn from_bits(words: uint32x4_t) -> float32x4_t {
        vreinterpretq_f32_u32(words)
    }

    #[inline(always)]
    unsafe fn plus(left: float32x4_t, right: float32x4_t) -> float32x4_t {
        vaddq_f32(left, right)
    }

    #[inline(always)]
    unsafe fn minus(left: float32x4_t, right: float32x4_t) -> float32x4_t {
        vsubq_f32(left, right)
    }

    #[inline(always)]
    unsafe fn times(left: float32x4_t, right: float32x4_t) -> float32x4_t {
        vmulq_f32(left, right)
    }

    #[inline(always)]
    unsafe fn over(left: float32x4_t, right: float32x4_t) -> float32x4_t {
        vdivq_f32(left, right)
    }

    #[inline(always)]
    unsafe fn root(numbers: float32x4_t) -> float32x4_t {
        vsqrtq_f32(numbers)
    }

    #[inline(always)]
    unsafe fn at_least(numbers: float32x4_t, low: float32x4_t) -> float32x4_t {
        // A choice, since the processor's own maximum tells zeros of two signs apart.
        vbslq_f32(vcgtq_f32(numbers, low), numbers, low)
    }

    #[inline(always)]
    unsafe fn at_most(numbers: float32x4_t, high: float32x4_t) -> float32x4_t {
        vbslq_f32(vcltq_f32(numbers, high), numbers, high)
    }

    #[inline(always)]
    unsafe fn store(words: [uint32x4_t; 4], out: *mut u32) {
        vst4q_u32(out, uint32x4x4_t(words[0], words[1], words[2], words[3]));
    }

    #[inline(always)]
    unsafe fn map(double: &Double, numbers: &mut [f64]) {
        map(double, numbers);
    }
}

// A function of its own: it is long, and would be in each that draws.
#[inline(never)]
fn map(double: &Double, numbers: &mut [f64]) {
    double.map_all(numbers);
}
