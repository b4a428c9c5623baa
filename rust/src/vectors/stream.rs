//! The stream by vectors: words of Philox4x32-10, and their maps to float32 numbers.

use super::Vectors;
use crate::philox::{Blocks, KeySchedule, LANES, MULTIPLIERS, WORDS};
use crate::single::{Single, ABOVE, BELOW, LOG2, TO_UNIT};

/// Vectors of blocks that are mixed one after the other before any is mapped: the rounds of the second fill the
/// time in which roots and quotients of the first are due.
const TOGETHER: usize = 2;

/// The words of as many blocks, block after block.
///
/// # Safety
/// The processor must have the instruction set.
#[inline(always)]
pub unsafe fn words<V: Vectors>(keys: &KeySchedule, blocks: &Blocks, out: &mut [u32; WORDS]) {
    let out = out.as_mut_ptr();
    for first in (0..LANES).step_by(V::LANES) {
        let mixed = mixed::<V>(keys, blocks, first);
        let mut words = [V::word(0); 4];
        for lane in 0..4 {
            words[lane] = V::finished(mixed[lane]);
        }
        V::store(words, out.add(4 * first));
    }
}

/// The numbers of as many blocks, block after block.
///
/// # Safety
/// The processor must have the instruction set.
#[inline(always)]
pub unsafe fn draw<V: Vectors>(
    single: &Single,
    keys: &KeySchedule,
    blocks: &Blocks,
    out: &mut [f32; WORDS],
) {
    let numbers = out.as_mut_ptr() as *mut u32;
    match *single {
        Single::Constant(value) => out.fill(value),
        Single::Uniform {
            middle,
            half,
            low,
            high,
        } => {
            let (middle, half) = (V::number(middle), V::number(half));
            let (low, high) = (V::number(low), V::number(high));
            for first in (0..LANES).step_by(V::LANES) {
                let mixed = mixed::<V>(keys, blocks, first);
                let mut words = [V::word(0); 4];
                for lane in 0..4 {
                    let unit = unit::<V>(V::finished(mixed[lane]));
                    let number = V::plus(middle, V::times(half, unit));
                    words[lane] = V::bits(clamped::<V>(number, low, high));
                }
                V::store(words, numbers.add(4 * first));
            }
        }
        Single::Normal { center, spread } => {
            let (center, spread) = (V::number(center), V::number(spread));
            for first in (0..LANES).step_by(TOGETHER * V::LANES) {
                let mut words = [[V::word(0); 4]; TOGETHER];
                for group in 0..TOGETHER {
                    let mixed = mixed::<V>(keys, blocks, first + group * V::LANES);
                    for lane in 0..4 {
                        words[group][lane] = V::finished(mixed[lane]);
                    }
                }
                for group in 0..TOGETHER {
                    let drawn = standard_normals::<V>(words[group]);
                    let mut bits = [V::word(0); 4];
                    for lane in 0..4 {
                        bits[lane] = V::bits(V::plus(center, V::times(spread, drawn[lane])));
                    }
                    V::store(bits, numbers.add(4 * (first + group * V::LANES)));
                }
            }
        }
        Single::Cut {
            center,
            spread,
            low,
            high,
            first: start,
            width,
        } => {
            let (center, spread) = (V::number(center), V::number(spread));
            let (low, high) = (V::number(low), V::number(high));
            let (start, width) = (V::word(start), V::mixed(width));
            for first in (0..LANES).step_by(TOGETHER * V::LANES) {
                let mut words = [[V::word(0); 4]; TOGETHER];
                for group in 0..TOGETHER {
                    let mixed = mixed::<V>(keys, blocks, first + group * V::LANES);
                    for lane in 0..4 {
                        let share = V::finished_share(mixed[lane], width);
                        words[group][lane] = V::plus_word(share, start);
                    }
                }
                for group in 0..TOGETHER {
                    let drawn = standard_normals::<V>(words[group]);
                    let mut bits = [V::word(0); 4];
                    for lane in 0..4 {
                        let number = V::plus(center, V::times(spread, drawn[lane]));
                        bits[lane] = V::bits(clamped::<V>(number, low, high));
                    }
                    V::store(bits, numbers.add(4 * (first + group * V::LANES)));
                }
            }
        }
    }
}

/// Ten rounds over the blocks that begin at `first` of these.
#[inline(always)]
unsafe fn mixed<V: Vectors>(keys: &KeySchedule, blocks: &Blocks, first: usize) -> [V::Mixed; 4] {
    let [low, high] = V::counters(blocks, first);
    let words = [low, high, V::mixed(0), V::mixed(0)];
    // Written out, since a loop would stay one, and multiply the zeros too.
    let words = round::<V>(words, keys[0]);
    let words = round::<V>(words, keys[1]);
    let words = round::<V>(words, keys[2]);
    let words = round::<V>(words, keys[3]);
    let words = round::<V>(words, keys[4]);
    let words = round::<V>(words, keys[5]);
    let words = round::<V>(words, keys[6]);
    let words = round::<V>(words, keys[7]);
    let words = round::<V>(words, keys[8]);
    round::<V>(words, keys[9])
}

#[inline(always)]
unsafe fn round<V: Vectors>(words: [V::Mixed; 4], key: [u32; 2]) -> [V::Mixed; 4] {
    let product0 = V::products(words[0], V::mixed(MULTIPLIERS[0] as u32));
    let product1 = V::products(words[2], V::mixed(MULTIPLIERS[1] as u32));
    [
        V::high(product1, words[1], V::mixed(key[0])),
        V::low(product1),
        V::high(product0, words[3], V::mixed(key[1])),
        V::low(product0),
    ]
}

/// Words as numbers between -1 and 1.
#[inline(always)]
unsafe fn unit<V: Vectors>(words: V::Words) -> V::Numbers {
    let signed = V::converted(V::shifted_signed::<8>(words));
    V::times(V::plus(signed, V::number(0.5)), V::number(TO_UNIT))
}

#[inline(always)]
unsafe fn clamped<V: Vectors>(
    numbers: V::Numbers,
    low: V::Numbers,
    high: V::Numbers,
) -> V::Numbers {
    V::at_most(V::at_least(numbers, low), high)
}

/// `first + times * by`.
#[inline(always)]
unsafe fn line<V: Vectors>(first: f32, times: V::Numbers, by: f32) -> V::Numbers {
    V::plus(V::number(first), V::times(times, V::number(by)))
}

/// The inverse of the normal distribution function at (word + ½)·2⁻³².
///
/// Four vectors take each step together, so that a processor finds work while roots and quotients are due.
#[inline(always)]
unsafe fn standard_normals<V: Vectors>(words: [V::Words; 4]) -> [V::Numbers; 4] {
    let mut roots = [V::number(0.0); 4];
    for lane in 0..4 {
        roots[lane] = V::root(tail_of::<V>(words[lane]));
    }
    for lane in 0..4 {
        let t = roots[lane];
        let t2 = V::times(t, t);
        let above = V::plus(
            line::<V>(ABOVE[0], t, ABOVE[1]),
            V::times(
                t2,
                V::plus(
                    V::number(ABOVE[2]),
                    V::times(t, line::<V>(ABOVE[3], t, ABOVE[4])),
                ),
            ),
        );
        let below = V::plus(
            line::<V>(BELOW[0], t, BELOW[1]),
            V::times(t2, V::plus(t, V::number(BELOW[2]))),
        );
        let z = V::bits(V::over(above, below));
        // A word below 2^31 is the lower half: its z changes sign.
        let sign = V::without(words[lane], V::word(0x8000_0000));
        roots[lane] = V::from_bits(V::xor(z, sign));
    }
    roots
}

/// Minus the binary logarithm of the probability of what lies beyond, on the nearer side.
#[inline(always)]
unsafe fn tail_of<V: Vectors>(words: V::Words) -> V::Numbers {
    let folded = V::xor(words, V::shifted_signed::<31>(words));
    let pattern = V::bits(V::plus(V::converted(folded), V::number(0.5)));
    let exponent = V::minus(V::number(159.0), V::converted(V::shifted::<23>(pattern)));
    let fraction = V::or(V::and(pattern, V::word(0x007F_FFFF)), V::word(0x3F80_0000));
    let y = V::minus(V::from_bits(fraction), V::number(1.5));
    let y2 = V::times(y, y);
    let left = V::plus(
        line::<V>(LOG2[0], y, LOG2[1]),
        V::times(y2, line::<V>(LOG2[2], y, LOG2[3])),
    );
    let right = V::plus(
        line::<V>(LOG2[4], y, LOG2[5]),
        V::times(y2, line::<V>(LOG2[6], y, LOG2[7])),
    );
    let mantissa = V::plus(left, V::times(V::times(y2, y2), right));
    V::minus(exponent, mantissa)
}
