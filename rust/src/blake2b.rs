//! BLAKE2b (RFC 7693) of short messages without a key, of which only the first word is wanted.

/// Bytes that are worked in at a time.
const BLOCK: usize = 128;
const ROUNDS: usize = 12;
const BEGINNING: [u64; 8] = [
    0x6a09e667f3bcc908,
    0xbb67ae8584caa73b,
    0x3c6ef372fe94f82b,
    0xa54ff53a5f1d36f1,
    0x510e527fade682d1,
    0x9b05688c2b3e6c1f,
    0x1f83d9abfb41bd6b,
    0x5be0cd19137e2179,
];
/// Of a digest of 64 bytes, no key, and no tree.
const PARAMETERS: u64 = 0x0101_0040;
/// Which word of the message comes where; from round 10 on, again from the first.
const ORDER: [[usize; 16]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
];
/// The columns of the state, then its diagonals.
const MIXED: [[usize; 4]; 8] = [
    [0, 4, 8, 12],
    [1, 5, 9, 13],
    [2, 6, 10, 14],
    [3, 7, 11, 15],
    [0, 5, 10, 15],
    [1, 6, 11, 12],
    [2, 7, 8, 13],
    [3, 4, 9, 14],
];

/// The first eight bytes of the digest of what the parts are one behind the other, as a number.
pub fn first_word(parts: &[&[u8]]) -> u64 {
    let mut state = BEGINNING;
    state[0] ^= PARAMETERS;
    let (mut block, mut filled, mut length) = ([0u8; BLOCK], 0, 0u128);
    for mut rest in parts.iter().copied() {
        while !rest.is_empty() {
            // Whether a block is the last shows when there is more.
            if filled == BLOCK {
                work_in(&mut state, &block, length, false);
                filled = 0;
            }
            let taken = rest.len().min(BLOCK - filled);
            block[filled..filled + taken].copy_from_slice(&rest[..taken]);
            filled += taken;
            length += taken as u128;
            rest = &rest[taken..];
        }
    }
    block[filled..].fill(0);
    work_in(&mut state, &block, length, true);
    state[0]
}

/// Work a block into the state; `length` is that of the message up to the block's end.
fn work_in(state: &mut [u64; 8], block: &[u8; BLOCK], length: u128, last: bool) {
    let mut message = [0u64; 16];
    for (word, bytes) in message.iter_mut().zip(block.chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().unwrap());
    }
    let mut work = [0u64; 16];
    work[..8].copy_from_slice(state);
    work[8..].copy_from_slice(&BEGINNING);
    work[12] ^= length as u64;
    work[13] ^= (length >> 64) as u64;
    if last {
        work[14] = !work[14];
    }
    for round in 0..ROUNDS {
        let order = &ORDER[round % ORDER.len()];
        for (number, places) in MIXED.iter().enumerate() {
            let words = [message[order[2 * number]], message[order[2 * number + 1]]];
            mix(&mut work, places, words);
        }
    }
    for (number, word) in state.iter_mut().enumerate() {
        *word ^= work[number] ^ work[number + 8];
    }
}

#[inline(always)]
fn mix(work: &mut [u64; 16], &[a, b, c, d]: &[usize; 4], words: [u64; 2]) {
    for (word, (by, then)) in words.into_iter().zip([(32, 24), (16, 63)]) {
        work[a] = work[a].wrapping_add(work[b]).wrapping_add(word);
        work[d] = (work[d] ^ work[a]).rotate_right(by);
        work[c] = work[c].wrapping_add(work[d]);
        work[b] = (work[b] ^ work[c]).rotate_right(then);
    }
}

#[cfg(test)]
mod tests {
    use super::first_word;

    /// The known answer of RFC 7693, Appendix A.
    #[test]
    fn of_abc() {
        assert_eq!(first_word(&[b"a", b"", b"bc"]).to_be(), 0xba80a53f981c4d0d);
    }
}
