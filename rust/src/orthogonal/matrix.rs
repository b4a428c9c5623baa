//! Matrices in memory, and who works on them: a thread on each small one, all threads on each large one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{scope, Builder};

use super::process::Process;
use super::reflections::STRIP;
use super::work::{together, Outcome};
use crate::mode::DefaultMode;
use crate::path::Path;

/// Below so many multiplications, a matrix is one thread's.
const ALONE: usize = 1 << 25;

/// A matrix as `_stream/bits/kernel.py` packs it: `count` vectors to be made orthogonal, of `length` numbers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Matrix {
    pointer: *mut u8,
    pub length: u64,
    pub count: u64,
    /// Numbers from one of a vector to the next, and from one vector to the next.
    along: i64,
    across: i64,
    pub gain: f64,
    double: u64,
    /// The first vector that is made; what lies in the memory of those before it is then of no use.
    pub from: u64,
}

// SAFETY: no two matrices share memory, and the threads take disjoint parts of one.
unsafe impl Sync for Matrix {}

impl Matrix {
    pub fn known(&self) -> bool {
        self.count <= self.length && self.double <= 1 && self.from <= self.count
    }

    fn work(&self) -> usize {
        (self.length * self.count) as usize * self.count as usize
    }

    /// Take a strip of columns out of the memory, row by row, with zeros behind the last.
    pub unsafe fn read(&self, first: usize, to: *mut f64) {
        match self.double {
            1 => self.read_as(self.pointer as *const f64, first, to),
            _ => self.read_as(self.pointer as *const f32, first, to),
        }
    }

    unsafe fn read_as<T: Copy + Into<f64>>(&self, from: *const T, first: usize, to: *mut f64) {
        let (along, across) = (self.along as isize, self.across as isize);
        let from = from.offset(first as isize * across);
        let count = STRIP.min(self.count as usize - first);
        for row in 0..self.length as usize {
            let (from, to) = (from.offset(row as isize * along), to.add(row * STRIP));
            // As arrays, the compiler turns them into vectors.
            let mut numbers = [0.0; STRIP];
            if count == STRIP && across == 1 {
                for (number, each) in numbers.iter_mut().zip(*(from as *const [T; STRIP])) {
                    *number = each.into();
                }
            } else {
                for (column, number) in numbers.iter_mut().enumerate().take(count) {
                    *number = (*from.offset(column as isize * across)).into();
                }
            }
            *(to as *mut [f64; STRIP]) = numbers;
        }
    }

    /// Put a strip of columns back, each times a number.
    pub unsafe fn write(&self, first: usize, from: *const f64, by: &[f64; STRIP]) {
        match self.double {
            1 => self.write_as(self.pointer as *mut f64, first, from, by, |number| number),
            _ => self.write_as(self.pointer as *mut f32, first, from, by, |number| {
                number as f32
            }),
        }
    }

    unsafe fn write_as<T: Copy>(
        &self,
        to: *mut T,
        first: usize,
        from: *const f64,
        by: &[f64; STRIP],
        rounded: impl Fn(f64) -> T,
    ) {
        let (along, across) = (self.along as isize, self.across as isize);
        let to = to.offset(first as isize * across);
        let count = STRIP.min(self.count as usize - first);
        for row in 0..self.length as usize {
            let to = to.offset(row as isize * along);
            let numbers = *(from.add(row * STRIP) as *const [f64; STRIP]);
            let mut made = [rounded(0.0); STRIP];
            for ((each, number), by) in made.iter_mut().zip(numbers).zip(by) {
                *each = rounded(number * by);
            }
            if count == STRIP && across == 1 {
                *(to as *mut [T; STRIP]) = made;
            } else {
                for (column, each) in made.iter().enumerate().take(count) {
                    *to.offset(column as isize * across) = *each;
                }
            }
        }
    }
}

/// Make the vectors of each matrix orthogonal, in place; false where there is no memory for it.
///
/// # Safety
/// The memory of each matrix must be valid and its own.
pub unsafe fn orthogonalize(matrices: &[Matrix], threads: usize, path: Path) -> bool {
    let next = AtomicUsize::new(0);
    let failed = AtomicUsize::new(0);
    let small = |each: &&Matrix| each.count > 0 && (each.work() < ALONE || threads == 1);
    let alone: Vec<&Matrix> = matrices.iter().filter(small).collect();
    let work = || {
        let _mode = DefaultMode::new();
        while let Some(matrix) = alone.get(next.fetch_add(1, Ordering::Relaxed)) {
            // SAFETY: the caller vouches for the memory, and each matrix is taken once.
            if unsafe { together(matrix, 1, path, Process::ALONE) } != Outcome::Done {
                failed.store(1, Ordering::Relaxed);
            }
        }
    };
    let total: usize = alone.iter().map(|each| each.work()).sum();
    let helpers = threads.min(alone.len()).min(1 + total / (1 << 19)).max(1) - 1;
    scope(|scope| {
        for _ in 0..helpers {
            if Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    for matrix in matrices
        .iter()
        .filter(|each| each.count > 0 && !small(each))
    {
        if together(matrix, threads, path, Process::ALONE) != Outcome::Done {
            failed.store(1, Ordering::Relaxed);
        }
    }
    failed.load(Ordering::Relaxed) == 0
}

/// Make those vectors of one matrix that this process has; see [`Process`].
///
/// # Safety
/// As for [`orthogonalize`]; all processes have the same matrix.
pub unsafe fn orthogonalize_among(
    matrix: &Matrix,
    threads: usize,
    path: Path,
    process: Process,
) -> Outcome {
    if matrix.count == 0 {
        return Outcome::Done;
    }
    together(matrix, threads, path, process)
}
