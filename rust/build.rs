//! AVX-512 is used where the compiler knows its vectors, which those before 1.89 do not.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let minor = minor_version();
    if minor >= 80 {
        println!("cargo:rustc-check-cfg=cfg(initcfg_avx512)");
    }
    if minor >= 89 {
        println!("cargo:rustc-cfg=initcfg_avx512");
    }
}

/// The second number of the compiler's version; 0 where it cannot be told.
fn minor_version() -> u32 {
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let told = Command::new(compiler).arg("--version").output();
    let words = told.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&words)
        .split('.')
        .nth(1)
        .and_then(|minor| minor.parse().ok())
        .unwrap_or(0)
}
