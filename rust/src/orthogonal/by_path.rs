//! The arithmetic, compiled for each instruction set.

use super::eights::PlainEights;
use super::reflections::{apply, factor, Panel};
use crate::path::Path;

impl Path {
    pub unsafe fn factor(self, panel: &Panel) {
        match self {
            #[cfg(all(target_arch = "x86_64", initcfg_avx512))]
            Path::Avx512 => factor_avx512(panel),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => factor_avx2(panel),
            #[cfg(target_arch = "aarch64")]
            Path::Neon => factor::<super::eights::NeonEights>(panel),
            _ => factor::<PlainEights>(panel),
        }
    }

    pub unsafe fn apply(
        self,
        panel: &Panel,
        strips: *mut f64,
        step: usize,
        count: usize,
        backward: bool,
        space: *mut f64,
    ) {
        match self {
            #[cfg(all(target_arch = "x86_64", initcfg_avx512))]
            Path::Avx512 => apply_avx512(panel, strips, step, count, backward, space),
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => apply_avx2(panel, strips, step, count, backward, space),
            #[cfg(target_arch = "aarch64")]
            Path::Neon => {
                apply::<super::eights::NeonEights>(panel, strips, step, count, backward, space)
            }
            _ => apply::<PlainEights>(panel, strips, step, count, backward, space),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn factor_avx2(panel: &Panel) {
    factor::<super::eights::Avx2Eights>(panel);
}
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn apply_avx2(
    panel: &Panel,
    strips: *mut f64,
    step: usize,
    count: usize,
    backward: bool,
    space: *mut f64,
) {
    apply::<super::eights::Avx2Eights>(panel, strips, step, count, backward, space);
}
#[cfg(all(target_arch = "x86_64", initcfg_avx512))]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn factor_avx512(panel: &Panel) {
    factor::<super::eights::Avx512Eights>(panel);
}
#[cfg(all(target_arch = "x86_64", initcfg_avx512))]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn apply_avx512(
    panel: &Panel,
    strips: *mut f64,
    step: usize,
    count: usize,
    backward: bool,
    space: *mut f64,
) {
    apply::<super::eights::Avx512Eights>(panel, strips, step, count, backward, space);
}
