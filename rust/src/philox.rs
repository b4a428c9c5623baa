//! The bits: Philox4x32-10 (Salmon, Moraes, Dror and Shaw, 2011), many blocks at a time.

#[cfg(target_endian = "big")]
compile_error!(
    "the kernel is for little-endian machines; without it, the fallback gives the same numbers"
);

/// Blocks that are made together.
pub const LANES: usize = 32;
/// Blocks that take each round together.
const ABREAST: usize = 16;
/// Words in that many blocks.
pub const WORDS: usize = 4 * LANES;

/// Numbers that begin where a vector does: one that straddles two lines of the cache costs twice.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Aligned<T>(pub T);

pub const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// The half of a lane that counts.
const LOW: u64 = 0xFFFF_FFFF;

/// The two halves of a key in each round.
pub type KeySchedule = [[u32; 2]; 10];

/// How a key goes from round to round.
pub fn schedule(key: u64) -> KeySchedule {
    let mut keys = [[key as u32, (key >> 32) as u32]; 10];
    for round in 1..10 {
        for half in 0..2 {
            keys[round][half] = keys[round - 1][half].wrapping_add(KEY_STEPS[half]);
        }
    }
    keys
}

/// The numbers of the blocks that are made together.
pub enum Blocks<'a> {
    /// This one and those after it.
    From(u64),
    Each(&'a [u64; LANES]),
}

impl Blocks<'_> {
    #[inline(always)]
    fn numbers(&self) -> [u64; LANES] {
        match self {
            Blocks::From(first) => {
                let mut numbers = [0u64; LANES];
                for (lane, number) in numbers.iter_mut().enumerate() {
                    *number = first.wrapping_add(lane as u64);
                }
                numbers
            }
            Blocks::Each(numbers) => **numbers,
        }
    }
}

/// The words of as many blocks, block after block.
///
/// Each lane is 64 bits wide and its low half counts, which is how vector units multiply 32-bit numbers.
#[inline(always)]
pub fn words(keys: &KeySchedule, blocks: &Blocks, out: &mut [u32; WORDS]) {
    for (numbers, out) in blocks
        .numbers()
        .chunks_exact(ABREAST)
        .zip(out.chunks_exact_mut(4 * ABREAST))
    {
        let mut word0 = [0u64; ABREAST];
        let mut word1 = [0u64; ABREAST];
        let mut word2 = [0u64; ABREAST];
        let mut word3 = [0u64; ABREAST];
        for lane in 0..ABREAST {
            word0[lane] = numbers[lane];
            word1[lane] = numbers[lane] >> 32;
        }
        let [mut key0, mut key1] = keys[0];
        for _ in 0..10 {
            let (wide0, wide1) = (u64::from(key0), u64::from(key1));
            for lane in 0..ABREAST {
                // A product of two 32-bit words fits 64 bits: its high half mixes, its low half moves on.
                let product0 = (word0[lane] & LOW) * MULTIPLIERS[0];
                let product1 = (word2[lane] & LOW) * MULTIPLIERS[1];
                word0[lane] = (product1 >> 32) ^ word1[lane] ^ wide0;
                word2[lane] = (product0 >> 32) ^ word3[lane] ^ wide1;
                word1[lane] = product1;
                word3[lane] = product0;
            }
            key0 = key0.wrapping_add(KEY_STEPS[0]);
            key1 = key1.wrapping_add(KEY_STEPS[1]);
        }
        let mut pairs = Aligned([0u64; 2 * ABREAST]);
        for lane in 0..ABREAST {
            pairs.0[2 * lane] = (word0[lane] & LOW) | (word1[lane] << 32);
            pairs.0[2 * lane + 1] = (word2[lane] & LOW) | (word3[lane] << 32);
        }
        // SAFETY: as many bytes of memory; on a little-endian machine in the same order.
        let words =
            unsafe { std::mem::transmute::<[u64; 2 * ABREAST], [u32; 4 * ABREAST]>(pairs.0) };
        out.copy_from_slice(&words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_block(key: u64, number: u64) -> [u32; 4] {
        let mut out = [0u32; WORDS];
        words(&schedule(key), &Blocks::From(number), &mut out);
        [out[0], out[1], out[2], out[3]]
    }

    #[test]
    fn random123_known_answer() {
        assert_eq!(
            first_block(0, 0),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
    }
}
