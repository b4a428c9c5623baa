//! The instruction sets: one source, compiled for each, chosen when it runs.

use crate::cell::{BFloat16, Float16};
use crate::job::Type;
use crate::philox::{words, Blocks, KeySchedule, WORDS};
use crate::single::Single;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::vectors;
use crate::walk::{fill, Block};

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
}

/// By loops that the compiler turns into whatever instructions it may use.
struct Plain;

impl Draws for Plain {
    #[inline(always)]
    unsafe fn words(keys: &KeySchedule, blocks: &Blocks, out: &mut [u32; WORDS]) {
        words(keys, blocks, out);
    }

    #[inline(always)]
    unsafe fn draw(single: &Single, keys: &KeySchedule, blocks: &Blocks, out: &mut [f32; WORDS]) {
        single.draw(keys, blocks, out);
    }
}

/// By vectors of an instruction set.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
struct By<V>(std::marker::PhantomData<V>);

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl<V: vectors::Vectors> Draws for By<V> {
    #[inline(always)]
    unsafe fn words(keys: &KeySchedule, blocks: &Blocks, out: &mut [u32; WORDS]) {
        vectors::words::<V>(keys, blocks, out);
    }

    #[inline(always)]
    unsafe fn draw(single: &Single, keys: &KeySchedule, blocks: &Blocks, out: &mut [f32; WORDS]) {
        vectors::draw::<V>(single, keys, blocks, out);
    }
}

#[derive(Clone, Copy, PartialEq)]
pub enum Path {
    Plain = 1,
    Avx2 = 2,
    Avx512 = 3,
}

impl Path {
    /// The best one that this machine has.
    pub fn best() -> Path {
        #[cfg(target_arch = "x86_64")]
        {
            if cfg!(initcfg_avx512)
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                return Path::Avx512;
            }
            if is_x86_feature_detected!("avx2") {
                return Path::Avx2;
            }
        }
        Path::Plain
    }

    /// The one of that number, if this machine has it; 0 is the best.
    pub fn from_number(number: u32) -> Option<Path> {
        let best = Path::best();
        match number {
            0 => Some(best),
            1 => Some(Path::Plain),
            2 if best as u32 >= 2 => Some(Path::Avx2),
            3 if best as u32 >= 3 => Some(Path::Avx512),
            _ => None,
        }
    }

    /// Fill the elements `from..to` of a block of a type.
    ///
    /// # Safety
    /// As for [`fill`]; the instruction set must be there.
    pub unsafe fn fill(self, block: &Block, dtype: Type, from: u64, to: u64) {
        match self {
            #[cfg(all(target_arch = "x86_64", initcfg_avx512))]
            Path::Avx512 => by_avx512(block, dtype, from, to),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => by_avx2(block, dtype, from, to),
            _ => by_type::<Plain>(block, dtype, from, to),
        }
    }
}

#[inline(always)]
unsafe fn by_type<D: Draws>(block: &Block, dtype: Type, from: u64, to: u64) {
    match dtype {
        Type::Float32 => fill::<f32, D>(block, from, to),
        Type::Float64 => fill::<f64, D>(block, from, to),
        Type::BFloat16 => fill::<BFloat16, D>(block, from, to),
        Type::Float16 => fill::<Float16, D>(block, from, to),
        Type::Words => fill::<u32, D>(block, from, to),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn by_avx2(block: &Block, dtype: Type, from: u64, to: u64) {
    by_type::<By<vectors::avx2::Avx2>>(block, dtype, from, to);
}

#[cfg(all(target_arch = "x86_64", initcfg_avx512))]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn by_avx512(block: &Block, dtype: Type, from: u64, to: u64) {
    by_type::<By<vectors::avx512::Avx512>>(block, dtype, from, to);
}
