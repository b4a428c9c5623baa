//! Vectors of an instruction set: what the stream asks of a processor, and the draws that are made of it.
//!
//! Each operation rounds as IEEE 754 says and none is fused, so all sets give the same bits.

#[cfg(target_arch = "x86_64")]
pub mod avx2;
// Compilers before 1.89 leave it out.
#[allow(clippy::incompatible_msrv)]
#[cfg(all(target_arch = "x86_64", initcfg_avx512))]
pub mod avx512;
#[cfg(target_arch = "aarch64")]
pub mod neon;

mod stream;

pub use stream::{draw, words};

use crate::double::Double;
use crate::philox::Blocks;

/// The operations of an instruction set on vectors of `LANES` blocks.
///
/// # Safety
/// Every function may be called only where the processor has the instruction set.
pub trait Vectors {
    /// Blocks in a vector.
    const LANES: usize;
    /// One word of each block, while the blocks are mixed.
    type Mixed: Copy;
    /// The 64-bit products of such words.
    type Products: Copy;
    /// One word of each block.
    type Words: Copy;
    /// One float32 number of each block.
    type Numbers: Copy;

    /// Words 0 and 1 of the blocks that begin at `first` of these.
    unsafe fn counters(blocks: &Blocks, first: usize) -> [Self::Mixed; 2];
    /// A word that is the same in every block.
    unsafe fn mixed(word: u32) -> Self::Mixed;
    unsafe fn products(words: Self::Mixed, by: Self::Mixed) -> Self::Products;
    unsafe fn low(products: Self::Products) -> Self::Mixed;
    /// The high halves of the products, with two words by exclusive or.
    unsafe fn high(products: Self::Products, word: Self::Mixed, key: Self::Mixed) -> Self::Mixed;
    unsafe fn finished(words: Self::Mixed) -> Self::Words;
    /// The high halves of the products of the mixed words with a number.
    unsafe fn finished_share(words: Self::Mixed, of: Self::Mixed) -> Self::Words;

    unsafe fn word(word: u32) -> Self::Words;
    unsafe fn plus_word(left: Self::Words, right: Self::Words) -> Self::Words;
    unsafe fn and(left: Self::Words, right: Self::Words) -> Self::Words;
    unsafe fn or(left: Self::Words, right: Self::Words) -> Self::Words;
    unsafe fn xor(left: Self::Words, right: Self::Words) -> Self::Words;
    /// The bits of `right` that `left` has not.
    unsafe fn without(left: Self::Words, right: Self::Words) -> Self::Words;
    /// Shifted right by as many bits, filled with the sign.
    unsafe fn shifted_signed<const BITS: i32>(words: Self::Words) -> Self::Words;
    /// Shifted right by as many bits, filled with zeros.
    unsafe fn shifted<const BITS: i32>(words: Self::Words) -> Self::Words;

    unsafe fn number(number: f32) -> Self::Numbers;
    /// Signed words as the nearest numbers.
    unsafe fn converted(words: Self::Words) -> Self::Numbers;
    unsafe fn bits(numbers: Self::Numbers) -> Self::Words;
    unsafe fn from_bits(words: Self::Words) -> Self::Numbers;
    unsafe fn plus(left: Self::Numbers, right: Self::Numbers) -> Self::Numbers;
    unsafe fn minus(left: Self::Numbers, right: Self::Numbers) -> Self::Numbers;
    unsafe fn times(left: Self::Numbers, right: Self::Numbers) -> Self::Numbers;
    unsafe fn over(left: Self::Numbers, right: Self::Numbers) -> Self::Numbers;
    unsafe fn root(numbers: Self::Numbers) -> Self::Numbers;
    /// `number` where it is above `low`, else `low`.
    unsafe fn at_least(numbers: Self::Numbers, low: Self::Numbers) -> Self::Numbers;
    /// `number` where it is below `high`, else `high`.
    unsafe fn at_most(numbers: Self::Numbers, high: Self::Numbers) -> Self::Numbers;

    /// Write words 0 to 3 of every block, block after block.
    unsafe fn store(words: [Self::Words; 4], out: *mut u32);

    /// The maps in float64, compiled for this instruction set.
    unsafe fn map(double: &Double, numbers: &mut [f64]);
}
