//! The kernel of initcfg: a batch of tensor blocks in, numbers in memory out.
//!
//! `initcfg_fill` is called through ctypes; the Python side (`_random/kernel.py`) has checked every
//! pointer and size. The result depends on keys and indices alone, never on the number of threads.

mod cell;
mod double;
mod mode;
mod path;
mod philox;
mod single;
mod walk;

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};

use cell::Map;
use double::Double;
use path::Path;
use single::Single;
use walk::{Block, Dim};

/// Version of the layout of [`Job`].
const ABI: u32 = 1;
/// Elements that a thread takes at a time.
const PIECE: u64 = 1 << 16;

const DONE: i32 = 0;
const FAILED: i32 = 1;
const UNKNOWN: i32 = 2;

/// A block of a tensor, as Python packs it.
#[repr(C)]
pub struct Job {
    pointer: *mut u8,
    dims: *const Dim,
    key: u64,
    base: u64,
    rank: u32,
    /// 0 float32, 1 float64, 2 bfloat16, 3 float16, 4 raw words.
    dtype: u32,
    kind: u32,
    first: u32,
    width: u32,
    reserved: u32,
    numbers: [f64; 7],
}

/// Part of a job: its number, and the elements from the first to before the last.
struct Piece {
    job: usize,
    from: u64,
    to: u64,
}

struct Batch<'a> {
    blocks: Vec<(Block<'a>, u32)>,
    pieces: Vec<Piece>,
    next: AtomicUsize,
    path: Path,
}

// SAFETY: the pieces are disjoint parts of memory, and each is taken by one thread.
unsafe impl Sync for Batch<'_> {}

#[no_mangle]
pub extern "C" fn initcfg_abi() -> u32 {
    ABI
}

/// The best instruction set that this machine has: 1 plain, 2 AVX2, 3 AVX-512.
#[no_mangle]
pub extern "C" fn initcfg_path() -> u32 {
    Path::best() as u32
}

/// Fill the blocks of `count` jobs on up to `threads` threads; `path` 0 takes the best one.
///
/// # Safety
/// Each job's memory must be valid for all its elements, and no two jobs may share an element.
#[no_mangle]
pub unsafe extern "C" fn initcfg_fill(jobs: *const Job, count: u64, threads: u32, path: u32) -> i32 {
    catch_unwind(|| {
        let Some(path) = Path::from_number(path) else { return UNKNOWN };
        let jobs = if count == 0 { &[] } else { std::slice::from_raw_parts(jobs, count as usize) };
        let mut batch =
            Batch { blocks: Vec::with_capacity(jobs.len()), pieces: Vec::new(), next: AtomicUsize::new(0), path };
        let mut total = 0;
        for job in jobs {
            let Some(map) = map_of(job) else { return UNKNOWN };
            let dims = std::slice::from_raw_parts(job.dims, job.rank as usize);
            let elements: u64 = dims.iter().map(|dim| dim.size).product();
            let number = batch.blocks.len();
            batch.blocks.push((
                Block { pointer: job.pointer, dims, key: job.key, base: job.base, map },
                job.dtype,
            ));
            let mut from = 0;
            while from < elements {
                let to = (from + PIECE).min(elements);
                batch.pieces.push(Piece { job: number, from, to });
                from = to;
            }
            total += elements;
        }
        // Starting a thread costs about as much as a piece.
        let threads = (u64::from(threads)).min(total / PIECE).max(1);
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|| work(&batch));
            }
            work(&batch);
        });
        DONE
    })
    .unwrap_or(FAILED)
}

fn work(batch: &Batch) {
    let _mode = mode::DefaultMode::new();
    loop {
        let number = batch.next.fetch_add(1, Ordering::Relaxed);
        let Some(piece) = batch.pieces.get(number) else { return };
        let (block, dtype) = &batch.blocks[piece.job];
        // SAFETY: the caller vouches for the memory, and this piece is ours alone.
        unsafe { batch.path.fill(block, *dtype, piece.from, piece.to) };
    }
}

fn map_of(job: &Job) -> Option<Map> {
    let number = job.numbers;
    let single = |index: usize| number[index] as f32;
    let wide = job.dtype == 1;
    if job.dtype > 4 || (job.dtype == 4) != (job.kind == 0) {
        return None;
    }
    Some(match (job.kind, wide) {
        (0, _) => Map::Bits,
        (1, false) => Map::Single(Single::Constant(single(0))),
        (1, true) => Map::Double(Double::Constant(number[0]), number[0], number[0]),
        (2, false) => Map::Single(Single::Uniform {
            middle: single(0),
            half: single(1),
            low: single(2),
            high: single(3),
        }),
        (2, true) => Map::Double(Double::Uniform { middle: number[0], half: number[1] }, number[2], number[3]),
        (3, false) => Map::Single(Single::Normal { center: single(0), spread: single(1) }),
        (4, false) => Map::Single(Single::Cut {
            center: single(0),
            spread: single(1),
            low: single(2),
            high: single(3),
            first: job.first,
            width: job.width,
        }),
        (5, _) => Map::Double(Double::Flat { start: number[0], width: number[1] }, number[5], number[6]),
        (6 | 7, _) => Map::Double(
            Double::Tail {
                anchor: number[0],
                std: number[1],
                start: number[2],
                share: number[3],
                sign: if job.kind == 6 { 1.0 } else { -1.0 },
            },
            number[5],
            number[6],
        ),
        (8, _) => Map::Double(
            Double::Both {
                mean: number[0],
                std: number[1],
                below: number[2],
                above: number[3],
                mass: number[4],
            },
            number[5],
            number[6],
        ),
        _ => return None,
    })
}
