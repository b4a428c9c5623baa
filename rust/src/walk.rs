//! The walk over a block of a tensor: which element takes which word, and where it goes.

use crate::cell::{Cell, Map};
use crate::draws::Draws;
use crate::fresh::fetched;
use crate::philox::{Aligned, Blocks, KeySchedule, LANES, WORDS};

/// One dimension of a block.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Dim {
    /// Number of elements.
    pub size: u64,
    /// Elements in memory from one to the next.
    pub stride: i64,
    /// Elements in the global tensor from one to the next.
    pub index_stride: u64,
}

/// A block, and what fills it.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    pub pointer: *mut u8,
    pub dims: &'a [Dim],
    pub keys: KeySchedule,
    /// Global index of the first element.
    pub base: u64,
    pub map: Map,
}

/// Blocks of words that wait until there are enough for all lanes, with the places they go to.
struct Gather<T> {
    numbers: [u64; LANES],
    places: [(*mut T, usize, usize, isize); LANES],
    count: usize,
}

impl<T: Cell> Gather<T> {
    #[inline(always)]
    unsafe fn flush<D: Draws>(&mut self, block: &Block) {
        let mut out = Aligned([T::default(); WORDS]);
        T::chunk::<D>(
            &block.map,
            &block.keys,
            &Blocks::Each(&self.numbers),
            &mut out.0,
        );
        for (lane, &(place, skipped, count, stride)) in
            self.places.iter().enumerate().take(self.count)
        {
            for offset in 0..count {
                *place.offset(stride * offset as isize) =
                    out.0[lane * T::PER_BLOCK + skipped + offset];
            }
        }
        self.count = 0;
    }

    #[inline(always)]
    unsafe fn add<D: Draws>(
        &mut self,
        block: &Block,
        place: *mut T,
        index: u64,
        count: usize,
        stride: isize,
    ) {
        let per = T::PER_BLOCK as u64;
        self.numbers[self.count] = index / per;
        self.places[self.count] = (place, (index % per) as usize, count, stride);
        self.count += 1;
        if self.count == LANES {
            self.flush::<D>(block);
        }
    }
}

/// Fill the elements `from..to` of a block, counted row by row.
///
/// # Safety
/// The block's memory must be valid for every element, and nobody else may use these.
#[inline(always)]
pub unsafe fn fill<T: Cell, D: Draws>(block: &Block, from: u64, to: u64) {
    let Some((inner, outer)) = block.dims.split_last() else {
        return;
    };
    let mut gather: Gather<T> = Gather {
        numbers: [0; LANES],
        places: [(std::ptr::null_mut(), 0, 0, 0); LANES],
        count: 0,
    };
    let chunk = (LANES * T::PER_BLOCK) as u64;
    let mut at = from;
    while at < to {
        let (row, column) = (at / inner.size, at % inner.size);
        let run = (inner.size - column).min(to - at);
        let (offset, index) = start_of_row(block, outer, row);
        let offset = offset + column as isize * inner.stride as isize;
        let place = (block.pointer as *mut T).offset(offset);
        let index = index.wrapping_add(column.wrapping_mul(inner.index_stride));
        let constant = block.map.constant();
        let straight = inner.index_stride == 1 || constant;
        if constant && inner.stride == 1 {
            fill_same::<T, D>(block, place, run);
        } else if straight && inner.stride == 1 && run >= chunk {
            fill_run::<T, D>(block, place, index, run);
        } else if straight {
            add_run::<T, D>(&mut gather, block, place, index, run, inner.stride as isize);
        } else {
            for step in 0..run {
                let there = place.offset(inner.stride as isize * step as isize);
                gather.add::<D>(
                    block,
                    there,
                    index.wrapping_add(step.wrapping_mul(inner.index_stride)),
                    1,
                    1,
                );
            }
        }
        at += run;
    }
    if gather.count > 0 {
        gather.flush::<D>(block);
    }
}

/// Where the first element of a row lies in memory, counted from the block's pointer, and in the tensor.
#[inline(always)]
fn start_of_row(block: &Block, outer: &[Dim], row: u64) -> (isize, u64) {
    let (mut rest, mut offset, mut index) = (row, 0i64, block.base);
    for dim in outer.iter().rev() {
        let step = rest % dim.size;
        offset += step as i64 * dim.stride;
        index = index.wrapping_add(step.wrapping_mul(dim.index_stride));
        rest /= dim.size;
    }
    (offset as isize, index)
}

/// Elements that follow each other in memory and in the tensor.
#[inline(always)]
unsafe fn fill_run<T: Cell, D: Draws>(
    block: &Block,
    mut place: *mut T,
    mut index: u64,
    mut run: u64,
) {
    let per = T::PER_BLOCK as u64;
    let chunk = LANES as u64 * per;
    let skipped = index % per;
    if skipped != 0 {
        // Up to the next block of words, so that the rest begins at one.
        let head = per - skipped;
        let mut out = Aligned([T::default(); WORDS]);
        T::chunk::<D>(
            &block.map,
            &block.keys,
            &Blocks::From(index / per),
            &mut out.0,
        );
        for offset in 0..head.min(run) as usize {
            *place.add(offset) = out.0[skipped as usize + offset];
        }
        let done = head.min(run);
        place = place.add(done as usize);
        index += done;
        run -= done;
    }
    let mut out = Aligned([T::default(); WORDS]);
    let past = past_the_cache::<T>(block, place, run);
    while run >= chunk {
        T::chunk::<D>(
            &block.map,
            &block.keys,
            &Blocks::From(index / per),
            &mut out.0,
        );
        if past {
            stream(&out.0[..chunk as usize], place);
        } else {
            std::ptr::copy_nonoverlapping(out.0.as_ptr(), place, chunk as usize);
        }
        place = place.add(chunk as usize);
        index += chunk;
        run -= chunk;
    }
    if past {
        fence();
    }
    if run > 0 {
        T::chunk::<D>(
            &block.map,
            &block.keys,
            &Blocks::From(index / per),
            &mut out.0,
        );
        std::ptr::copy_nonoverlapping(out.0.as_ptr(), place, run as usize);
    }
}

/// Whether to write a run past the cache: a large block will not be there when it is wanted. Pages that are
/// new are in the cache at any rate.
#[inline(always)]
fn past_the_cache<T>(block: &Block, place: *mut T, run: u64) -> bool {
    let elements: u64 = block.dims.iter().map(|dim| dim.size).product();
    let size = std::mem::size_of::<T>() as u64;
    if elements * size < LARGE {
        return false;
    }
    let fetched = fetched(place as *mut u8, (run * size) as usize);
    cfg!(target_arch = "x86_64")
        && !fetched
        && elements * size >= PAST_THE_CACHE
        && place as usize % 16 == 0
}

/// Bytes of a block from which on it is worth a question to the system whether its memory is new.
const LARGE: u64 = 1 << 21;

/// Bytes of a block from which on it is written past the cache.
const PAST_THE_CACHE: u64 = 1 << 23;

/// Write numbers past the cache; `place` must be a multiple of 16.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn stream<T: Cell>(numbers: &[T], place: *mut T) {
    use std::arch::x86_64::{__m128i, _mm_load_si128, _mm_stream_si128};
    let (from, to) = (numbers.as_ptr() as *const __m128i, place as *mut __m128i);
    for line in 0..std::mem::size_of_val(numbers) / 16 {
        _mm_stream_si128(to.add(line), _mm_load_si128(from.add(line)));
    }
}

/// Wait until what was written past the cache is seen by other threads.
#[inline(always)]
fn fence() {
    // SAFETY: part of every x86-64.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::x86_64::_mm_sfence()
    };
}

#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
unsafe fn stream<T: Cell>(numbers: &[T], place: *mut T) {
    std::ptr::copy_nonoverlapping(numbers.as_ptr(), place, numbers.len());
}

/// Elements that are all the same, and follow each other in memory.
#[inline(always)]
unsafe fn fill_same<T: Cell, D: Draws>(block: &Block, place: *mut T, run: u64) {
    let mut out = Aligned([T::default(); WORDS]);
    T::chunk::<D>(&block.map, &block.keys, &Blocks::From(0), &mut out.0);
    let mut done = 0;
    if past_the_cache::<T>(block, place, run) {
        let chunk = LANES * T::PER_BLOCK;
        while run as usize - done >= chunk {
            stream(&out.0[..chunk], place.add(done));
            done += chunk;
        }
        fence();
    }
    for offset in done..run as usize {
        *place.add(offset) = out.0[0];
    }
}

/// A short run, or one whose elements lie apart in memory.
#[inline(always)]
unsafe fn add_run<T: Cell, D: Draws>(
    gather: &mut Gather<T>,
    block: &Block,
    mut place: *mut T,
    mut index: u64,
    mut run: u64,
    stride: isize,
) {
    let per = T::PER_BLOCK as u64;
    while run > 0 {
        let count = (per - index % per).min(run);
        gather.add::<D>(block, place, index, count as usize, stride);
        place = place.offset(stride * count as isize);
        index = index.wrapping_add(count);
        run -= count;
    }
}
