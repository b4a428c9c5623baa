//! How blocks are drawn: by plain loops, or by the vectors of an instruction set.

use crate::double::Double;
use crate::philox::{words, Blocks, KeySchedule, WORDS};
use crate::single::Single;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::vectors::{self, Vectors};

/// How blocks are drawn; every way gives the same bits.
pub trait Draws {
    /// The words of as many blocks, block after block.
    ///
    /// # Safety
    /// The processor must have the instruction set.
    unsafe fn words(keys: &KeySchedule, blocks: &Blocks, out: &mut [u32; WORDS]);

    /// The numbers of as many blocks, block after block.
    ///
    /// # Safety
    /// The processor must have the instruction set.
    unsafe fn draw(single: &Single, keys: &KeySchedule, blocks: &Blocks, out: &mut [f32; WORDS]);

    /// Probabilities in (0, 1) into their numbers; as many as a multiple of 64.
    ///
    /// # Safety
    /// The processor must have the instruction set.
    unsafe fn map(double: &Double, numbers: &mut [f64]);
}

/// By loops that the compiler turns into whatever instructions it may use.
pub struct Plain;

impl Draws for Plain {
    #[inline(always)]
    unsafe fn words(keys: &KeySchedule, blocks: &Blocks, out: &mut [u32; WORDS]) {
        words(keys, blocks, out);
    }

    #[inline(always)]
    unsafe fn draw(single: &Single, keys: &KeySchedule, blocks: &Blocks, out: &mut [f32; WORDS]) {
        single.draw(keys, blocks, out);
    }

    #[inline(never)]
    unsafe fn map(double: &Double, numbers: &mut [f64]) {
        double.map_all(numbers);
    }
}

/// By vectors of an instruction set.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub struct By<V>(std::marker::PhantomData<V>);

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl<V: Vectors> Draws for By<V> {
    #[inline(always)]
    unsafe fn words(keys: &KeySchedule, blocks: &Blocks, out: &mut [u32; WORDS]) {
        vectors::words::<V>(keys, blocks, out);
    }

    #[inline(always)]
    unsafe fn draw(single: &Single, keys: &KeySchedule, blocks: &Blocks, out: &mut [f32; WORDS]) {
        vectors::draw::<V>(single, keys, blocks, out);
    }

    #[inline(always)]
    unsafe fn map(double: &Double, numbers: &mut [f64]) {
        V::map(double, numbers);
    }
}
