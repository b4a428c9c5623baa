//! The kernel of initcfg: a batch of tensor blocks in, numbers in memory out.
//!
//! `initcfg_fill` is called through ctypes; the Python side (`_stream/bits/kernel.py`) has checked every
//! pointer and size. The result depends on keys and indices alone, never on the number of threads.
//! No thread outlives a call, so a process may fork between calls.

mod bits;
mod blake2b;
mod cell;
mod double;
mod draws;
mod fresh;
mod job;
mod mode;
mod orthogonal;
mod path;
mod philox;
#[cfg(target_arch = "x86_64")]
mod sha256;
mod single;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod vectors;
mod walk;

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{scope, Builder};

use job::{Job, Type};
use mode::DefaultMode;
use orthogonal::{orthogonalize, orthogonalize_among, Exchange, Matrix, Outcome, Process};
use path::Path;
use walk::Block;

/// Version of the functions here and of the layouts of [`Job`] and [`Matrix`].
const ABI: u32 = 5;
/// Elements that a thread takes at a time; to start one costs about as much.
const PIECE: u64 = 1 << 16;

const DONE: i32 = 0;
const FAILED: i32 = 1;
const UNKNOWN: i32 = 2;
const NO_MEMORY: i32 = 3;
const BROKEN: i32 = 4;

/// A block in its batch.
struct Part<'a> {
    block: Block<'a>,
    dtype: Type,
    elements: u64,
    /// How many pieces lie before this one's.
    pieces_before: u64,
}

struct Batch<'a> {
    parts: Vec<Part<'a>>,
    pieces: u64,
    path: Path,
}

/// A run of pieces, of which one thread takes one after the other: so it alone has their pages to touch.
struct Share {
    next: AtomicU64,
    end: u64,
}

// SAFETY: the pieces are disjoint parts of memory, and each is taken by one thread.
unsafe impl Sync for Batch<'_> {}

/// Version of the interface.
#[no_mangle]
pub extern "C" fn initcfg_abi() -> u32 {
    ABI
}

/// The instruction set that this machine takes unasked: 1 plain, 2 AVX2, 3 AVX-512, 4 NEON.
#[no_mangle]
pub extern "C" fn initcfg_features() -> u32 {
    catch_unwind(|| Path::best() as u32).unwrap_or(0)
}

/// 1 if this machine has the instruction set of that number, else 0.
#[no_mangle]
pub extern "C" fn initcfg_has(path: u32) -> u32 {
    catch_unwind(|| u32::from(Path::from_number(path).is_some())).unwrap_or(0)
}

/// Fill the blocks of `count` jobs on up to `threads` threads; `path` 0 takes the best one.
///
/// 0: done; 1: failed, and the memory holds anything; 2: a job or the path is unknown, nothing was written.
///
/// # Safety
/// Each job's memory must be valid for all its elements, and no two jobs may share an element.
#[no_mangle]
pub unsafe extern "C" fn initcfg_fill(
    jobs: *const Job,
    count: u64,
    threads: u32,
    path: u32,
) -> i32 {
    if count == 0 {
        return DONE;
    }
    catch_unwind(|| {
        // Also while the numbers of the recipes are converted.
        let _mode = DefaultMode::new();
        let jobs = std::slice::from_raw_parts(jobs, count as usize);
        match Path::from_number(path).and_then(|path| batch(jobs, path)) {
            Some(batch) => {
                share(&batch, u64::from(threads));
                DONE
            }
            None => UNKNOWN,
        }
    })
    .unwrap_or(FAILED)
}

/// Make the vectors of `count` matrices orthogonal, in place, on up to `threads` threads; see [`initcfg_fill`].
///
/// 3: there is no memory for it, and the matrices hold anything.
///
/// # Safety
/// Each matrix's memory must be valid for all its elements, and no two may share an element.
#[no_mangle]
pub unsafe extern "C" fn initcfg_orthogonal(
    matrices: *const Matrix,
    count: u64,
    threads: u32,
    path: u32,
) -> i32 {
    if count == 0 {
        return DONE;
    }
    catch_unwind(|| {
        let _mode = DefaultMode::new();
        let matrices = std::slice::from_raw_parts(matrices, count as usize);
        match Path::from_number(path) {
            Some(path) if matrices.iter().all(Matrix::known) => {
                match orthogonalize(matrices, threads.max(1) as usize, path) {
                    true => DONE,
                    false => NO_MEMORY,
                }
            }
            _ => UNKNOWN,
        }
    })
    .unwrap_or(FAILED)
}

/// The same of one matrix by several processes, each of which makes every so many-th panel; see [`Process`].
///
/// 4: the exchange has failed, and the matrix holds anything.
///
/// # Safety
/// As for [`initcfg_orthogonal`]; the exchange may be called from this thread while this function runs.
#[no_mangle]
pub unsafe extern "C" fn initcfg_orthogonal_among(
    matrix: *const Matrix,
    threads: u32,
    path: u32,
    rank: u64,
    ranks: u64,
    exchange: Option<Exchange>,
) -> i32 {
    catch_unwind(|| {
        let _mode = DefaultMode::new();
        let process = Process {
            rank: rank as usize,
            ranks: ranks as usize,
            exchange,
        };
        match Path::from_number(path) {
            Some(path) if (*matrix).known() && process.known() => {
                match orthogonalize_among(&*matrix, threads.max(1) as usize, path, process) {
                    Outcome::Done => DONE,
                    Outcome::NoMemory => NO_MEMORY,
                    Outcome::Broken => BROKEN,
                }
            }
            _ => UNKNOWN,
        }
    })
    .unwrap_or(FAILED)
}

/// The SHA-256 of `count` pieces of `length` bytes, one behind the other: 32 bytes each.
///
/// 2: this machine has no instructions for it, or `length` is not a multiple of 64; nothing was written.
///
/// # Safety
/// The memory of the pieces and of the digests must be valid.
#[no_mangle]
pub unsafe extern "C" fn initcfg_sha256(
    data: *const u8,
    length: u64,
    count: u64,
    digests: *mut u8,
) -> i32 {
    #[cfg(target_arch = "x86_64")]
    if sha256::available() && length % sha256::BLOCK as u64 == 0 {
        sha256::digests(data, length as usize, count as usize, digests);
        return DONE;
    }
    let _ = (data, length, count, digests);
    UNKNOWN
}

/// The keys of `count` names: of each the first word of the BLAKE2b digest of `head`, the name's length, the
/// name, and `tail`. The names lie one behind the other, and `ends` says where each ends.
///
/// # Safety
/// The memory of all must be valid, `ends` ascending, and none beyond the names.
#[no_mangle]
pub unsafe extern "C" fn initcfg_keys(
    head: *const u8,
    head_length: u64,
    tail: *const u8,
    tail_length: u64,
    names: *const u8,
    ends: *const u64,
    count: u64,
    keys: *mut u64,
) -> i32 {
    catch_unwind(|| {
        let head = std::slice::from_raw_parts(head, head_length as usize);
        let tail = std::slice::from_raw_parts(tail, tail_length as usize);
        let mut start = 0;
        for number in 0..count as usize {
            let end = *ends.add(number);
            let length = end - start;
            let name = std::slice::from_raw_parts(names.add(start as usize), length as usize);
            *keys.add(number) = blake2b::first_word(&[head, &length.to_le_bytes(), name, tail]);
            start = end;
        }
        DONE
    })
    .unwrap_or(FAILED)
}

/// The jobs as a batch, if all of them are known.
unsafe fn batch(jobs: &[Job], path: Path) -> Option<Batch<'_>> {
    let mut parts = Vec::with_capacity(jobs.len());
    let mut pieces = 0;
    for job in jobs {
        let (block, dtype) = job.block()?;
        let elements = block.dims.iter().map(|dim| dim.size).product::<u64>();
        if elements > 0 {
            parts.push(Part {
                block,
                dtype,
                elements,
                pieces_before: pieces,
            });
            pieces += elements.div_ceil(PIECE);
        }
    }
    Some(Batch {
        parts,
        pieces,
        path,
    })
}

/// Let the threads work, this one among them.
fn share(batch: &Batch, threads: u64) {
    let elements: u64 = batch.parts.iter().map(|part| part.elements).sum();
    let threads = threads.min(elements / PIECE).max(1);
    let shares: Vec<Share> = (0..threads)
        .map(|thread| Share {
            next: AtomicU64::new(batch.pieces * thread / threads),
            end: batch.pieces * (thread + 1) / threads,
        })
        .collect();
    if threads == 1 {
        return work(batch, &shares, 0);
    }
    let shares = &shares;
    scope(|scope| {
        for thread in 1..threads as usize {
            // Where the system gives no more threads, those that there are do all.
            let spawned = Builder::new().spawn_scoped(scope, move || work(batch, shares, thread));
            if spawned.is_err() {
                break;
            }
        }
        work(batch, shares, 0);
    });
}

/// Take the pieces of one's own share, then those that others have left.
fn work(batch: &Batch, shares: &[Share], own: usize) {
    let _mode = DefaultMode::new();
    for share in shares[own..].iter().chain(&shares[..own]) {
        take(batch, share);
    }
}

/// Take pieces of a share until none is left.
fn take(batch: &Batch, share: &Share) {
    loop {
        let piece = share.next.fetch_add(1, Ordering::Relaxed);
        if piece >= share.end {
            return;
        }
        let part = &batch.parts[batch
            .parts
            .partition_point(|part| part.pieces_before <= piece)
            - 1];
        let from = (piece - part.pieces_before) * PIECE;
        let to = (from + PIECE).min(part.elements);
        // SAFETY: the caller vouches for the memory, and this piece is ours alone.
        unsafe { batch.path.fill(&part.block, part.dtype, from, to) };
    }
}
