//! The instruction sets: one source, compiled for each, chosen when it runs.

use crate::cell::{BFloat16, Float16};
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::draws::By;
use crate::draws::{Draws, Plain};
use crate::job::Type;
#[cfg(target_arch = "x86_64")]
use crate::vectors::avx2::Avx2;
#[cfg(all(target_arch = "x86_64", initcfg_avx512))]
use crate::vectors::avx512::Avx512;
#[cfg(target_arch = "aarch64")]
use crate::vectors::neon::Neon;
use crate::walk::{fill, Block};

#[derive(Clone, Copy, PartialEq)]
pub enum Path {
    Plain = 1,
    Avx2 = 2,
    Avx512 = 3,
    Neon = 4,
}

impl Path {
    /// The one that this machine takes unasked. NEON's is not taken before its bits were seen on such a processor.
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
            4 if cfg!(target_arch = "aarch64") => Some(Path::Neon),
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
            #[cfg(target_arch = "aarch64")]
            Path::Neon => by_type::<By<Neon>>(block, dtype, from, to),
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
    by_type::<By<Avx2>>(block, dtype, from, to);
}

#[cfg(all(target_arch = "x86_64", initcfg_avx512))]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn by_avx512(block: &Block, dtype: Type, from: u64, to: u64) {
    by_type::<By<Avx512>>(block, dtype, from, to);
}
