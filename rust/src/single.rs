//! The maps from one word to a float32 number: operations of IEEE 754 alone, in the stated order.
//! Nothing here is contracted: Rust never fuses a multiplication and an addition by itself.

use crate::bits::single;
use crate::philox::{words, Aligned, Blocks, KeySchedule, WORDS};

/// How a word becomes a float32 number; every number in it is rounded already.
#[derive(Clone, Copy)]
pub enum Single {
    Constant(f32),
    Uniform {
        middle: f32,
        half: f32,
        low: f32,
        high: f32,
    },
    Normal {
        center: f32,
        spread: f32,
    },
    Cut {
        center: f32,
        spread: f32,
        low: f32,
        high: f32,
        first: u32,
        width: u32,
    },
}

// The coefficients of docs/stream.md, as bit patterns.
pub const LOG2: [f32; 8] = [
    single(0x3F15_C01F),
    single(0x3F76_3839),
    single(0xBEA4_29EC),
    single(0x3E11_F767),
    single(0xBD90_9149),
    single(0x3D18_D3BB),
    single(0xBCCD_CF87),
    single(0x3C77_D048),
];
pub const ABOVE: [f32; 5] = [
    single(0xC07D_3AC8),
    single(0xC134_6C4F),
    single(0x40B8_0681),
    single(0x4104_DE2B),
    single(0x3F96_CCAC),
];
pub const BELOW: [f32; 3] = [
    single(0x3F9E_32B2),
    single(0x40FB_5544),
    single(0x40E2_E45E),
];
pub const TO_UNIT: f32 = 1.0 / 8_388_608.0;

impl Single {
    /// The numbers of as many blocks.
    #[inline(always)]
    pub fn draw(&self, keys: &KeySchedule, blocks: &Blocks, out: &mut [f32; WORDS]) {
        let mut drawn = Aligned([0u32; WORDS]);
        match *self {
            Single::Constant(value) => out.fill(value),
            Single::Uniform {
                middle,
                half,
                low,
                high,
            } => {
                words(keys, blocks, &mut drawn.0);
                for (number, &word) in out.iter_mut().zip(&drawn.0) {
                    let unit = ((word as i32 >> 8) as f32 + 0.5) * TO_UNIT;
                    *number = clamped(middle + half * unit, low, high);
                }
            }
            Single::Normal { center, spread } => {
                words(keys, blocks, &mut drawn.0);
                standard_normals(&drawn.0, out);
                for number in out.iter_mut() {
                    *number = center + spread * *number;
                }
            }
            Single::Cut {
                center,
                spread,
                low,
                high,
                first,
                width,
            } => {
                words(keys, blocks, &mut drawn.0);
                for word in drawn.0.iter_mut() {
                    let share = (u64::from(*word) * u64::from(width)) >> 32;
                    *word = first.wrapping_add(share as u32);
                }
                standard_normals(&drawn.0, out);
                for number in out.iter_mut() {
                    *number = clamped(center + spread * *number, low, high);
                }
            }
        }
    }
}

/// Numbers that take each step together, so that a processor finds work while roots and quotients are due.
const ABREAST: usize = 64;

/// The inverse of the normal distribution function at (word + ½)·2⁻³².
#[inline(always)]
fn standard_normals(words: &[u32; WORDS], out: &mut [f32; WORDS]) {
    for (words, out) in words
        .chunks_exact(ABREAST)
        .zip(out.chunks_exact_mut(ABREAST))
    {
        let mut exponent = Aligned([0f32; ABREAST]);
        let mut y = Aligned([0f32; ABREAST]);
        for lane in 0..ABREAST {
            let signed = words[lane] as i32;
            let folded = (signed ^ (signed >> 31)) as f32 + 0.5;
            let pattern = folded.to_bits();
            exponent.0[lane] = 159.0 - (pattern >> 23) as i32 as f32;
            y.0[lane] = f32::from_bits((pattern & 0x007F_FFFF) | 0x3F80_0000) - 1.5;
        }
        let mut t = Aligned([0f32; ABREAST]);
        for lane in 0..ABREAST {
            let (y, y2) = (y.0[lane], y.0[lane] * y.0[lane]);
            let mantissa = ((LOG2[0] + y * LOG2[1]) + y2 * (LOG2[2] + y * LOG2[3]))
                + (y2 * y2) * ((LOG2[4] + y * LOG2[5]) + y2 * (LOG2[6] + y * LOG2[7]));
            t.0[lane] = exponent.0[lane] - mantissa;
        }
        for lane in 0..ABREAST {
            t.0[lane] = t.0[lane].sqrt();
        }
        for lane in 0..ABREAST {
            let (t, t2) = (t.0[lane], t.0[lane] * t.0[lane]);
            let above = (ABOVE[0] + t * ABOVE[1]) + t2 * (ABOVE[2] + t * (ABOVE[3] + t * ABOVE[4]));
            let z = above / ((BELOW[0] + t * BELOW[1]) + t2 * (t + BELOW[2]));
            // A word below 2^31 is the lower half: its z changes sign.
            out[lane] = f32::from_bits(z.to_bits() ^ (!words[lane] & 0x8000_0000));
        }
    }
}

#[inline(always)]
fn clamped(number: f32, low: f32, high: f32) -> f32 {
    let number = if number > low { number } else { low };
    if number < high {
        number
    } else {
        high
    }
}
