//! SHA-256 (FIPS 180-4) of many pieces: four at a time, by the processor's instructions for it.
//!
//! Each of these waits for the one before, so one piece alone leaves most of the processor idle.

use std::arch::x86_64::*;

/// Bytes that are worked in at a time.
pub const BLOCK: usize = 64;
/// Bytes of a digest.
pub const DIGEST: usize = 32;

/// A word for each round.
#[repr(align(16))]
struct Words([u32; 64]);

static ROUNDS: Words = Words([
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
]);
const BEGINNING: [u32; 8] = [
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
];

/// Whether this processor has the instructions.
pub fn available() -> bool {
    is_x86_feature_detected!("sha")
        && is_x86_feature_detected!("ssse3")
        && is_x86_feature_detected!("sse4.1")
}

/// The digests of `count` pieces of `length` bytes, one behind the other; `length` is whole blocks.
///
/// # Safety
/// The instructions must be [`available`], and the memory valid.
pub unsafe fn digests(data: *const u8, length: usize, count: usize, digests: *mut u8) {
    let mut piece = 0;
    while piece < count {
        let (from, to) = (data.add(piece * length), digests.add(piece * DIGEST));
        piece += match count - piece {
            1 => abreast::<1>(from, length, to),
            2 | 3 => abreast::<2>(from, length, to),
            _ => abreast::<4>(from, length, to),
        };
    }
}

/// The states of some pieces, in the order of the instructions: words a, b, e, f, and c, d, g, h.
#[derive(Clone, Copy)]
struct States<const L: usize> {
    abef: [__m128i; L],
    cdgh: [__m128i; L],
}

#[target_feature(enable = "sha,ssse3,sse4.1")]
unsafe fn abreast<const L: usize>(data: *const u8, length: usize, digests: *mut u8) -> usize {
    let [a, b, c, d, e, f, g, h] = BEGINNING.map(|word| word as i32);
    let mut states = States {
        abef: [_mm_set_epi32(a, b, e, f); L],
        cdgh: [_mm_set_epi32(c, d, g, h); L],
    };
    for place in (0..length).step_by(BLOCK) {
        let mut blocks = [data; L];
        for (number, block) in blocks.iter_mut().enumerate() {
            *block = data.add(number * length + place);
        }
        work_in(&mut states, blocks);
    }
    // A bit, zeros, and the length in bits.
    let mut last = [0u8; BLOCK];
    last[0] = 0x80;
    last[BLOCK - 8..].copy_from_slice(&(8 * length as u64).to_be_bytes());
    work_in(&mut states, [last.as_ptr(); L]);
    for number in 0..L {
        let (abef, cdgh) = (states.abef[number], states.cdgh[number]);
        let abcd = _mm_unpackhi_epi64(cdgh, abef);
        let efgh = _mm_unpacklo_epi64(cdgh, abef);
        for (half, words) in [abcd, efgh].into_iter().enumerate() {
            let bytes = _mm_shuffle_epi8(words, _mm_set_epi64x(REVERSED[0], REVERSED[1]));
            let to = digests.add(number * DIGEST + half * 16);
            _mm_storeu_si128(to.cast(), bytes);
        }
    }
    L
}

/// All sixteen bytes the other way round.
const REVERSED: [i64; 2] = [0x0001020304050607, 0x08090a0b0c0d0e0f];
/// Each word's four bytes the other way round.
const SWAPPED: [i64; 2] = [0x0c0d0e0f08090a0b, 0x0405060700010203];

/// Work a block of each piece into its state.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
unsafe fn work_in<const L: usize>(states: &mut States<L>, blocks: [*const u8; L]) {
    let swapped = _mm_set_epi64x(SWAPPED[0], SWAPPED[1]);
    let before = *states;
    let mut words = [[_mm_setzero_si128(); 4]; L];
    for (of_piece, block) in words.iter_mut().zip(blocks) {
        for (number, four) in of_piece.iter_mut().enumerate() {
            *four = _mm_shuffle_epi8(
                _mm_loadu_si128(block.cast::<__m128i>().add(number)),
                swapped,
            );
        }
    }
    let mut now = before;
    // Written out, so that the words stay in registers.
    four_rounds::<L, 0>(&mut now, &mut words);
    four_rounds::<L, 1>(&mut now, &mut words);
    four_rounds::<L, 2>(&mut now, &mut words);
    four_rounds::<L, 3>(&mut now, &mut words);
    four_rounds::<L, 4>(&mut now, &mut words);
    four_rounds::<L, 5>(&mut now, &mut words);
    four_rounds::<L, 6>(&mut now, &mut words);
    four_rounds::<L, 7>(&mut now, &mut words);
    four_rounds::<L, 8>(&mut now, &mut words);
    four_rounds::<L, 9>(&mut now, &mut words);
    four_rounds::<L, 10>(&mut now, &mut words);
    four_rounds::<L, 11>(&mut now, &mut words);
    four_rounds::<L, 12>(&mut now, &mut words);
    four_rounds::<L, 13>(&mut now, &mut words);
    four_rounds::<L, 14>(&mut now, &mut words);
    four_rounds::<L, 15>(&mut now, &mut words);
    for number in 0..L {
        states.abef[number] = _mm_add_epi32(now.abef[number], before.abef[number]);
        states.cdgh[number] = _mm_add_epi32(now.cdgh[number], before.cdgh[number]);
    }
}

/// The rounds `4 R` to `4 R + 3`; then the words of those that come four times as many later.
#[inline]
#[target_feature(enable = "sha,ssse3,sse4.1")]
unsafe fn four_rounds<const L: usize, const R: usize>(
    now: &mut States<L>,
    words: &mut [[__m128i; 4]; L],
) {
    let constants = _mm_load_si128(ROUNDS.0.as_ptr().cast::<__m128i>().add(R));
    for number in 0..L {
        let each = &mut words[number];
        let sum = _mm_add_epi32(each[R % 4], constants);
        let (abef, cdgh) = (now.abef[number], now.cdgh[number]);
        let two = _mm_sha256rnds2_epu32(cdgh, abef, sum);
        now.cdgh[number] = two;
        now.abef[number] = _mm_sha256rnds2_epu32(abef, two, _mm_shuffle_epi32(sum, 0x0e));
        if R < 12 {
            let (one, two, three) = (each[(R + 1) % 4], each[(R + 2) % 4], each[(R + 3) % 4]);
            let first = _mm_sha256msg1_epu32(each[R % 4], one);
            let second = _mm_add_epi32(first, _mm_alignr_epi8(three, two, 4));
            each[R % 4] = _mm_sha256msg2_epu32(second, three);
        }
    }
}
