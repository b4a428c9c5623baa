//! Constants as bit patterns. `from_bits` is `const` only since Rust 1.83, `transmute` since 1.56.

#![allow(unknown_lints, unnecessary_transmutes)]

use std::mem::transmute;

pub const fn single(pattern: u32) -> f32 {
    // SAFETY: both types have 32 bits, and every pattern is a float32.
    unsafe { transmute::<u32, f32>(pattern) }
}

pub const fn double(pattern: u64) -> f64 {
    // SAFETY: both types have 64 bits, and every pattern is a float64.
    unsafe { transmute::<u64, f64>(pattern) }
}
