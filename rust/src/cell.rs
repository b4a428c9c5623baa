//! The element types, and how blocks of words become elements of each.

use crate::double::Double;
use crate::draws::Draws;
use crate::philox::{Aligned, Blocks, KeySchedule, WORDS};
use crate::single::Single;

/// A distribution, ready to be drawn.
#[derive(Clone, Copy)]
pub enum Map {
    Bits,
    Single(Single),
    /// By float64, then clamped in the tensor's own type.
    Double(Double, f64, f64),
}

impl Map {
    /// Whether every element is the same, so that no word is needed.
    pub fn constant(&self) -> bool {
        matches!(
            self,
            Map::Single(Single::Constant(_)) | Map::Double(Double::Constant(_), _, _)
        )
    }
}

/// An element of a tensor.
pub trait Cell: Copy + Default {
    /// Elements that a block of four words makes.
    const PER_BLOCK: usize;

    /// The elements of as many blocks.
    ///
    /// # Safety
    /// The processor must have the instruction set of `D`.
    unsafe fn chunk<D: Draws>(
        map: &Map,
        keys: &KeySchedule,
        blocks: &Blocks,
        out: &mut [Self; WORDS],
    );
}

#[inline(always)]
unsafe fn singles<D: Draws>(
    map: &Map,
    keys: &KeySchedule,
    blocks: &Blocks,
    out: &mut [f32; WORDS],
) {
    match map {
        Map::Single(single) => D::draw(single, keys, blocks, out),
        Map::Double(double, low, high) => {
            let (low, high) = (*low as f32, *high as f32);
            let mut words = Aligned([0u32; WORDS]);
            D::words(keys, blocks, &mut words.0);
            let mut wide = Aligned([0f64; WORDS]);
            for (number, &word) in wide.0.iter_mut().zip(&words.0) {
                *number = (f64::from(word) + 0.5) * (1.0 / 4_294_967_296.0);
            }
            D::map(double, &mut wide.0);
            for (number, &drawn) in out.iter_mut().zip(&wide.0) {
                let drawn = drawn as f32;
                let drawn = if drawn > low { drawn } else { low };
                *number = if drawn < high { drawn } else { high };
            }
        }
        Map::Bits => {}
    }
}

impl Cell for f32 {
    const PER_BLOCK: usize = 4;

    #[inline(always)]
    unsafe fn chunk<D: Draws>(
        map: &Map,
        keys: &KeySchedule,
        blocks: &Blocks,
        out: &mut [f32; WORDS],
    ) {
        singles::<D>(map, keys, blocks, out);
    }
}

impl Cell for u32 {
    const PER_BLOCK: usize = 4;

    #[inline(always)]
    unsafe fn chunk<D: Draws>(
        _: &Map,
        keys: &KeySchedule,
        blocks: &Blocks,
        out: &mut [u32; WORDS],
    ) {
        D::words(keys, blocks, out);
    }
}

impl Cell for f64 {
    const PER_BLOCK: usize = 2;

    #[inline(always)]
    unsafe fn chunk<D: Draws>(
        map: &Map,
        keys: &KeySchedule,
        blocks: &Blocks,
        out: &mut [f64; WORDS],
    ) {
        let Map::Double(double, low, high) = map else {
            return;
        };
        if let Double::Constant(value) = double {
            return out.fill(*value);
        }
        let mut words = Aligned([0u32; WORDS]);
        D::words(keys, blocks, &mut words.0);
        let out = &mut out[..WORDS / 2];
        for (index, number) in out.iter_mut().enumerate() {
            let pair = u64::from(words.0[2 * index]) | u64::from(words.0[2 * index + 1]) << 32;
            // (upper 52 bits + ½)·2⁻⁵²; as digits of a number from 1 to 2 they need no conversion.
            let unit = f64::from_bits((pair >> 12) | 0x3FF0_0000_0000_0000) - 1.0;
            *number = unit + 1.0 / 9_007_199_254_740_992.0;
        }
        D::map(double, out);
        for number in out.iter_mut() {
            let drawn = if *number > *low { *number } else { *low };
            *number = if drawn < *high { drawn } else { *high };
        }
    }
}

/// bfloat16, by its bits.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub struct BFloat16(u16);

impl Cell for BFloat16 {
    const PER_BLOCK: usize = 4;

    #[inline(always)]
    unsafe fn chunk<D: Draws>(
        map: &Map,
        keys: &KeySchedule,
        blocks: &Blocks,
        out: &mut [BFloat16; WORDS],
    ) {
        let mut wide = Aligned([0f32; WORDS]);
        singles::<D>(map, keys, blocks, &mut wide.0);
        for (cell, number) in out.iter_mut().zip(&wide.0) {
            // To nearest, ties to even.
            let pattern = number.to_bits();
            *cell = BFloat16((pattern.wrapping_add(0x7FFF + ((pattern >> 16) & 1)) >> 16) as u16);
        }
    }
}

/// float16, by its bits.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub struct Float16(u16);

impl Cell for Float16 {
    const PER_BLOCK: usize = 4;

    #[inline(always)]
    unsafe fn chunk<D: Draws>(
        map: &Map,
        keys: &KeySchedule,
        blocks: &Blocks,
        out: &mut [Float16; WORDS],
    ) {
        let mut wide = Aligned([0f32; WORDS]);
        singles::<D>(map, keys, blocks, &mut wide.0);
        for (cell, number) in out.iter_mut().zip(&wide.0) {
            *cell = Float16(half(*number));
        }
    }
}

/// A float32 as the bits of the nearest float16, ties to even; beyond its range, infinity.
#[inline(always)]
fn half(number: f32) -> u16 {
    let pattern = number.to_bits();
    let sign = ((pattern >> 16) & 0x8000) as u16;
    let size = pattern & 0x7FFF_FFFF;
    // Below 2^-14 the spacing is 2^-24: adding ½ moves the wanted bits to the end, rounded.
    let small = (f32::from_bits(size) + 0.5)
        .to_bits()
        .wrapping_sub(0x3F00_0000) as u16;
    let shifted = size.wrapping_sub(0x3800_0000);
    let normal = (shifted.wrapping_add(0x0FFF + ((shifted >> 13) & 1)) >> 13) as u16;
    let rounded = if size < 0x3880_0000 {
        small
    } else if size >= 0x477F_F000 {
        // Infinity, or no number.
        if size > 0x7F80_0000 {
            0x7E00
        } else {
            0x7C00
        }
    } else {
        normal
    };
    sign | rounded
}
