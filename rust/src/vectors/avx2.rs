//! AVX2: eight blocks a vector.

use std::arch::x86_64::*;

use super::Vectors;
use crate::double::Double;
use crate::philox::Blocks;

pub struct Avx2;

/// One word of eight blocks in 64-bit lanes, of which the low halves count: those of even and of odd lanes.
#[derive(Clone, Copy)]
pub struct Halves(__m256i, __m256i);

impl Vectors for Avx2 {
    const LANES: usize = 8;
    type Mixed = Halves;
    type Products = Halves;
    type Words = __m256i;
    type Numbers = __m256;

    #[inline(always)]
    unsafe fn counters(blocks: &Blocks, first: usize) -> [Halves; 2] {
        // In this order of blocks, `store` needs no step across the halves of a vector.
        let numbers = match blocks {
            Blocks::From(number) => {
                let number = _mm256_set1_epi64x(number.wrapping_add(first as u64) as i64);
                Halves(
                    _mm256_add_epi64(number, _mm256_setr_epi64x(0, 4, 1, 5)),
                    _mm256_add_epi64(number, _mm256_setr_epi64x(2, 6, 3, 7)),
                )
            }
            Blocks::Each(numbers) => {
                let at = |block: usize| numbers[first + block] as i64;
                Halves(
                    _mm256_setr_epi64x(at(0), at(4), at(1), at(5)),
                    _mm256_setr_epi64x(at(2), at(6), at(3), at(7)),
                )
            }
        };
        let high = Halves(
            _mm256_srli_epi64::<32>(numbers.0),
            _mm256_srli_epi64::<32>(numbers.1),
        );
        [numbers, high]
    }

    #[inline(always)]
    unsafe fn mixed(word: u32) -> Halves {
        let words = _mm256_set1_epi32(word as i32);
        Halves(words, words)
    }

    #[inline(always)]
    unsafe fn products(words: Halves, by: Halves) -> Halves {
        Halves(
            _mm256_mul_epu32(words.0, by.0),
            _mm256_mul_epu32(words.1, by.1),
        )
    }

    #[inline(always)]
    unsafe fn low(products: Halves) -> Halves {
        products
    }

    #[inline(always)]
    unsafe fn high(products: Halves, word: Halves, key: Halves) -> Halves {
        Halves(
            _mm256_xor_si256(
                _mm256_srli_epi64::<32>(products.0),
                _mm256_xor_si256(word.0, key.0),
            ),
            _mm256_xor_si256(
                _mm256_srli_epi64::<32>(products.1),
                _mm256_xor_si256(word.1, key.1),
            ),
        )
    }

    #[inline(always)]
    unsafe fn finished(words: Halves) -> __m256i {
        _mm256_blend_epi32::<0b1010_1010>(words.0, _mm256_slli_epi64::<32>(words.1))
    }

    #[inline(always)]
    unsafe fn finished_share(words: Halves, of: Halves) -> __m256i {
        let shares = Self::products(words, of);
        _mm256_blend_epi32::<0b1010_1010>(_mm256_srli_epi64::<32>(shares.0), shares.1)
    }

    #[inline(always)]
    unsafe fn word(word: u32) -> __m256i {
        _mm256_set1_epi32(word as i32)
    }

    #[inline(always)]
    unsafe fn plus_word(left: __m256i, right: __m256i) -> __m256i {
        _mm256_add_epi32(left, right)
    }

    #[inline(always)]
    unsafe fn and(left: __m256i, right: __m256i) -> __m256i {
        _mm256_and_si256(left, right)
    }

    #[inline(always)]
    unsafe fn or(left: __m256i, right: __m256i) -> __m256i {
        _mm256_or_si256(left, right)
    }

    #[inline(always)]
    unsafe fn xor(left: __m256i, right: __m256i) -> __m256i {
        _mm256_xor_si256(left, right)
    }

    #[inline(always)]
    unsafe fn without(left: __m256i, right: __m256i) -> __m256i {
        _mm256_andnot_si256(left, right)
    }

    #[inline(always)]
    unsafe fn shifted_signed<const BITS: i32>(words: __m256i) -> __m256i {
        _mm256_srai_epi32::<BITS>(words)
    }

    #[inline(always)]
    unsafe fn shifted<const BITS: i32>(words: __m256i) -> __m256i {
        _mm256_srli_epi32::<BITS>(words)
    }

    #[inline(always)]
    unsafe fn number(number: f32) -> __m256 {
        _mm256_set1_ps(number)
    }

    #[inline(always)]
    unsafe fn converted(words: __m256i) -> __m256 {
        _mm256_cvtepi32_ps(words)
    }

    #[inline(always)]
    unsafe fn bits(numbers: __m256) -> __m256i {
        _mm256_castps_si256(numbers)
    }

    #[inline(always)]
    unsafe fn from_bits(words: __m256i) -> __m256 {
        _mm256_castsi256_ps(words)
    }

    #[inline(always)]
    unsafe fn plus(left: __m256, right: __m256) -> __m256 {
        _mm256_add_ps(left, right)
    }

    #[inline(always)]
    unsafe fn minus(left: __m256, right: __m256) -> __m256 {
        _mm256_sub_ps(left, right)
    }

    #[inline(always)]
    unsafe fn times(left: __m256, right: __m256) -> __m256 {
        _mm256_mul_ps(left, right)
    }

    #[inline(always)]
    unsafe fn over(left: __m256, right: __m256) -> __m256 {
        _mm256_div_ps(left, right)
    }

    #[inline(always)]
    unsafe fn root(numbers: __m256) -> __m256 {
        _mm256_sqrt_ps(numbers)
    }

    #[inline(always)]
    unsafe fn at_least(numbers: __m256, low: __m256) -> __m256 {
        _mm256_max_ps(numbers, low)
    }

    #[inline(always)]
    unsafe fn at_most(numbers: __m256, high: __m256) -> __m256 {
        _mm256_min_ps(numbers, high)
    }

    #[inline(always)]
    unsafe fn store(words: [__m256i; 4], out: *mut u32) {
        let [word0, word1, word2, word3] = words;
        let first_low = _mm256_unpacklo_epi32(word0, word1);
        let first_high = _mm256_unpackhi_epi32(word0, word1);
        let last_low = _mm256_unpacklo_epi32(word2, word3);
        let last_high = _mm256_unpackhi_epi32(word2, word3);
        let out = out as *mut __m256i;
        _mm256_storeu_si256(out, _mm256_unpacklo_epi64(first_low, last_low));
        _mm256_storeu_si256(out.add(1), _mm256_unpackhi_epi64(first_low, last_low));
        _mm256_storeu_si256(out.add(2), _mm256_unpacklo_epi64(first_high, last_high));
        _mm256_storeu_si256(out.add(3), _mm256_unpackhi_epi64(first_high, last_high));
    }

    #[inline(always)]
    unsafe fn map(double: &Double, numbers: &mut [f64]) {
        map(double, numbers);
    }
}

// A function of its own: it is long, and would be in each that draws.
#[target_feature(enable = "avx2")]
unsafe fn map(double: &Double, numbers: &mut [f64]) {
    double.map_all(numbers);
}
