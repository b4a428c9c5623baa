//! The rounding mode of the processor: to nearest, with gradual underflow, whatever the caller has set.

/// Sets the default mode until it is dropped.
pub struct DefaultMode {
    saved: usize,
}

impl DefaultMode {
    pub fn new() -> DefaultMode {
        let saved = read();
        write(DEFAULT);
        DefaultMode { saved }
    }
}

impl Drop for DefaultMode {
    fn drop(&mut self) {
        write(self.saved);
    }
}

#[cfg(target_arch = "x86_64")]
const DEFAULT: usize = 0x1F80;

#[cfg(target_arch = "x86_64")]
fn read() -> usize {
    let mut value: u32 = 0;
    // SAFETY: stores the control word in a local variable.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &mut value, options(nostack)) };
    value as usize
}

#[cfg(target_arch = "x86_64")]
fn write(value: usize) {
    let value = value as u32;
    // SAFETY: loads a control word that is the default, or was read from there.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &value, options(nostack)) };
}

#[cfg(target_arch = "aarch64")]
const DEFAULT: usize = 0;

#[cfg(target_arch = "aarch64")]
fn read() -> usize {
    let value: usize;
    // SAFETY: reads the control register.
    unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) value, options(nomem, nostack)) };
    value
}

#[cfg(target_arch = "aarch64")]
fn write(value: usize) {
    // SAFETY: writes a control word that is the default, or was read from there.
    unsafe { std::arch::asm!("msr fpcr, {}", in(reg) value, options(nomem, nostack)) };
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const DEFAULT: usize = 0;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn read() -> usize {
    0
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn write(_: usize) {}
