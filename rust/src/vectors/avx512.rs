//! AVX-512: sixteen blocks a vector.

use std::arch::x86_64::*;

use super::Vectors;
use crate::double::Double;
use crate::philox::Blocks;

pub struct Avx512;

/// The odd 32-bit lanes.
const ODD: u16 = 0b1010_1010_1010_1010;

/// One word of sixteen blocks in 64-bit lanes, of which the low halves count: those of even and of odd lanes.
#[derive(Clone, Copy)]
pub struct Halves(__m512i, __m512i);

impl Vectors for Avx512 {
    const LANES: usize = 16;
    type Mixed = Halves;
    type Products = Halves;
    type Words = __m512i;
    type Numbers = __m512;

    #[inline(always)]
    unsafe fn counters(blocks: &Blocks, first: usize) -> [Halves; 2] {
        // In this order of blocks, `store` needs no step across the halves of a vector.
        let numbers = match blocks {
            Blocks::From(number) => {
                let number = _mm512_set1_epi64(number.wrapping_add(first as u64) as i64);
                Halves(
                    _mm512_add_epi64(number, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11)),
                    _mm512_add_epi64(number, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15)),
                )
            }
            Blocks::Each(numbers) => {
                let at = |block: usize| numbers[first + block] as i64;
                Halves(
                    _mm512_setr_epi64(at(0), at(8), at(1), at(9), at(2), at(10), at(3), at(11)),
                    _mm512_setr_epi64(at(4), at(12), at(5), at(13), at(6), at(14), at(7), at(15)),
                )
            }
        };
        let high = Halves(
            _mm512_srli_epi64::<32>(numbers.0),
            _mm512_srli_epi64::<32>(numbers.1),
        );
        [numbers, high]
    }

    #[inline(always)]
    unsafe fn mixed(word: u32) -> Halves {
        let words = _mm512_set1_epi32(word as i32);
        Halves(words, words)
    }

    #[inline(always)]
    unsafe fn products(words: Halves, by: Halves) -> Halves {
        Halves(
            _mm512_mul_epu32(words.0, by.0),
            _mm512_mul_epu32(words.1, by.1),
        )
    }

    #[inline(always)]
    unsafe fn low(products: Halves) -> Halves {
        products
    }

    #[inline(always)]
    unsafe fn high(products: Halves, word: Halves, key: Halves) -> Halves {
        Halves(
            _mm512_ternarylogic_epi64::<0x96>(_mm512_srli_epi64::<32>(products.0), word.0, key.0),
            _mm512_ternarylogic_epi64::<0x96>(_mm512_srli_epi64::<32>(products.1), word.1, key.1),
        )
    }

    #[inline(always)]
    unsafe fn finished(words: Halves) -> __m512i {
        _mm512_mask_blend_epi32(ODD, words.0, _mm512_slli_epi64::<32>(words.1))
    }

    #[inline(always)]
    unsafe fn finished_share(words: Halves, of: Halves) -> __m512i {
        let shares = Self::products(words, of);
        _mm512_mask_blend_epi32(ODD, _mm512_srli_epi64::<32>(shares.0), shares.1)
    }

    #[inline(always)]
    unsafe fn word(word: u32) -> __m512i {
        _mm512_set1_epi32(word as i32)
    }

    #[inline(always)]
    unsafe fn plus_word(left: __m512i, right: __m512i) -> __m512i {
        _mm512_add_epi32(left, right)
    }

    #[inline(always)]
    unsafe fn and(left: __m512i, right: __m512i) -> __m512i {
        _mm512_and_si512(left, right)
    }

    #[inline(always)]
    unsafe fn or(left: __m512i, right: __m512i) -> __m512i {
        _mm512_or_si512(left, right)
    }

    #[inline(always)]
    unsafe fn xor(left: __m512i, right: __m512i) -> __m512i {
        _mm512_xor_si512(left, right)
    }

    #[inline(always)]
    unsafe fn without(left: __m512i, right: __m512i) -> __m512i {
        _mm512_andnot_si512(left, right)
    }

    #[inline(always)]
    unsafe fn shifted_signed<const BITS: i32>(words: __m512i) -> __m512i {
        _mm512_srav_epi32(words, _mm512_set1_epi32(BITS))
    }

    #[inline(always)]
    unsafe fn shifted<const BITS: i32>(words: __m512i) -> __m512i {
        _mm512_srlv_epi32(words, _mm512_set1_epi32(BITS))
    }

    #[inline(always)]
    unsafe fn number(number: f32) -> __m512 {
        _mm512_set1_ps(number)
    }

    #[inline(always)]
    unsafe fn converted(words: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(words)
    }

    #[inline(always)]
    unsafe fn bits(numbers: __m512) -> __m512i {
        _mm512_castps_si512(numbers)
    }

    #[inline(always)]
    unsafe fn from_bits(words: __m512i) -> __m512 {
        _mm512_castsi512_ps(words)
    }

    #[inline(always)]
    unsafe fn plus(left: __m512, right: __m512) -> __m512 {
        _mm512_add_ps(left, right)
    }

    #[inline(always)]
    unsafe fn minus(left: __m512, right: __m512) -> __m512 {
        _mm512_sub_ps(left, right)
    }

    #[inline(always)]
    unsafe fn times(left: __m512, right: __m512) -> __m512 {
        _mm512_mul_ps(left, right)
    }

    #[inline(always)]
    unsafe fn over(left: __m512, right: __m512) -> __m512 {
        _mm512_div_ps(left, right)
    }

    #[inline(always)]
    unsafe fn root(numbers: __m512) -> __m512 {
        _mm512_sqrt_ps(numbers)
    }

    #[inline(always)]
    unsafe fn at_least(numbers: __m512, low: __m512) -> __m512 {
        _mm512_max_ps(numbers, low)
    }

    #[inline(always)]
    unsafe fn at_most(numbers: __m512, high: __m512) -> __m512 {
        _mm512_min_ps(numbers, high)
    }

    #[inline(always)]
    unsafe fn store(words: [__m512i; 4], out: *mut u32) {
        let [word0, word1, word2, word3] = words;
        let first_low = _mm512_unpacklo_epi32(word0, word1);
        let first_high = _mm512_unpackhi_epi32(word0, word1);
        let last_low = _mm512_unpacklo_epi32(word2, word3);
        let last_high = _mm512_unpackhi_epi32(word2, word3);
        let out = out as *mut __m512i;
        _mm512_storeu_si512(out, _mm512_unpacklo_epi64(first_low, last_low));
        _mm512_storeu_si512(out.add(1), _mm512_unpackhi_epi64(first_low, last_low));
        _mm512_storeu_si512(out.add(2), _mm512_unpacklo_epi64(first_high, last_high));
        _mm512_storeu_si512(out.add(3), _mm512_unpackhi_epi64(first_high, last_high));
    }

    #[inline(always)]
    unsafe fn map(double: &Double, numbers: &mut [f64]) {
        map(double, numbers);
    }
}

// A function of its own: it is long, and would be in each that draws.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn map(double: &Double, numbers: &mut [f64]) {
    double.map_all(numbers);
}
