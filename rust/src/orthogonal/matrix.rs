//! A matrix, panel by panel: the threads take strips of its columns, and the bits do not depend on who takes which.

use std::alloc::{alloc, dealloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{scope, Builder};

use super::eights::PlainEights;
use super::reflections::{apply, factor, Panel, STRIP, WIDTH};
use super::team::Team;
use crate::mode::DefaultMode;
use crate::path::Path;

/// Strips that a thread takes at a time.
const BLOCK: usize = 4;
/// Below so many multiplications, a matrix is one thread's.
const ALONE: usize = 1 << 25;

/// A matrix as `_stream/bits/kernel.py` packs it: `count` vectors to be made orthogonal, of `length` numbers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Matrix {
    pointer: *mut u8,
    length: u64,
    count: u64,
    /// Numbers from one of a vector to the next, and from one vector to the next.
    along: i64,
    across: i64,
    gain: f64,
    double: u64,
}

// SAFETY: no two matrices share memory, and the threads take disjoint parts of one.
unsafe impl Sync for Matrix {}

impl Matrix {
    pub fn known(&self) -> bool {
        self.count <= self.length && self.double <= 1
    }

    fn work(&self) -> usize {
        (self.length * self.count) as usize * self.count as usize
    }

    #[inline(always)]
    unsafe fn read(&self, row: usize, column: usize) -> f64 {
        let at = row as isize * self.along as isize + column as isize * self.across as isize;
        if self.double == 1 {
            *(self.pointer as *const f64).offset(at)
        } else {
            f64::from(*(self.pointer as *const f32).offset(at))
        }
    }

    #[inline(always)]
    unsafe fn write(&self, row: usize, column: usize, number: f64) {
        let at = row as isize * self.along as isize + column as isize * self.across as isize;
        if self.double == 1 {
            *(self.pointer as *mut f64).offset(at) = number;
        } else {
            *(self.pointer as *mut f32).offset(at) = number as f32;
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
            if !unsafe { orthogonalize_one(matrix, 1, path) } {
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
        if !orthogonalize_one(matrix, threads, path) {
            failed.store(1, Ordering::Relaxed);
        }
    }
    failed.load(Ordering::Relaxed) == 0
}

/// Memory for numbers, at a line of the cache.
struct Numbers {
    pointer: *mut f64,
    layout: Layout,
}

impl Numbers {
    unsafe fn new(count: usize) -> Option<Numbers> {
        let layout = Layout::from_size_align(count.max(1).checked_mul(8)?, 64).ok()?;
        let pointer = alloc(layout) as *mut f64;
        (!pointer.is_null()).then_some(Numbers { pointer, layout })
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        // SAFETY: allocated so.
        unsafe { dealloc(self.pointer as *mut u8, self.layout) };
    }
}

/// What the threads share.
struct Shared<'a> {
    matrix: &'a Matrix,
    /// The columns, in strips.
    work: Numbers,
    /// Room for the vectors of two panels.
    vectors: [Numbers; 2],
    products: Numbers,
    taus: Numbers,
    signs: Numbers,
    strips: usize,
    panels: usize,
    /// Where the next strips to be taken are, for each step.
    next: Vec<AtomicUsize>,
    team: Team,
    path: Path,
}

// SAFETY: the threads take disjoint strips between their meetings.
unsafe impl Sync for Shared<'_> {}

unsafe fn orthogonalize_one(matrix: &Matrix, threads: usize, path: Path) -> bool {
    let Some(shared) = Shared::new(matrix, path) else {
        return false;
    };
    scope(|scope| {
        let mut size = 1;
        let shared = &shared;
        for _ in 1..threads.min(shared.strips) {
            // SAFETY: as the caller's.
            let work = move || unsafe { shared.run(false) };
            if Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
            size += 1;
        }
        shared.team.complete(size);
        shared.run(true);
    });
    true
}

impl<'a> Shared<'a> {
    unsafe fn new(matrix: &'a Matrix, path: Path) -> Option<Shared<'a>> {
        let (length, count) = (matrix.length as usize, matrix.count as usize);
        let (strips, panels) = (count.div_ceil(STRIP), count.div_ceil(WIDTH));
        let wide = length.checked_mul(STRIP * strips.min(WIDTH / STRIP))?;
        Some(Shared {
            matrix,
            work: Numbers::new(length.checked_mul(STRIP * strips)?)?,
            vectors: [
                Numbers::new(wide)?,
                Numbers::new(if panels > 1 { wide } else { 1 })?,
            ],
            products: Numbers::new(panels * WIDTH * WIDTH)?,
            taus: Numbers::new(panels * WIDTH)?,
            signs: Numbers::new(panels * WIDTH)?,
            strips,
            panels,
            next: (0..2 * panels + 2).map(|_| AtomicUsize::new(0)).collect(),
            team: Team::new(),
            path,
        })
    }

    fn length(&self) -> usize {
        self.matrix.length as usize
    }

    fn count(&self) -> usize {
        self.matrix.count as usize
    }

    /// The first number of a row in a strip.
    unsafe fn place(&self, strip: usize, row: usize) -> *mut f64 {
        self.work.pointer.add((strip * self.length() + row) * STRIP)
    }

    fn panel(&self, number: usize) -> Panel {
        let first = number * WIDTH;
        let width = WIDTH.min(self.count() - first);
        // SAFETY: there is room for every panel.
        unsafe {
            Panel {
                vectors: self.vectors[number % 2].pointer,
                rows: self.length() - first,
                stride: width.div_ceil(STRIP) * STRIP,
                width,
                products: self.products.pointer.add(first * WIDTH),
                taus: self.taus.pointer.add(first),
                signs: self.signs.pointer.add(first),
            }
        }
    }

    /// Take strips until none is left, `size` at a time from `first` on.
    fn take(&self, step: usize, first: usize, size: usize) -> Option<(usize, usize)> {
        let from = first + size * self.next[step].fetch_add(1, Ordering::Relaxed);
        (from < self.strips).then(|| (from, size.min(self.strips - from)))
    }

    /// What each thread does; one of them leads.
    unsafe fn run(&self, leads: bool) {
        let _mode = DefaultMode::new();
        let Some(space) = Numbers::new(WIDTH * STRIP * BLOCK.max(WIDTH / STRIP)) else {
            // So little memory: whoever cannot have it would stop all.
            std::process::abort();
        };
        while let Some((strip, _)) = self.take(2 * self.panels, 0, 1) {
            self.read(strip);
        }
        self.team.meet();
        if leads {
            self.factor(0);
        }
        self.team.meet();
        for number in 0..self.panels {
            let behind = ((number + 1) * WIDTH / STRIP).min(self.strips);
            let ahead = (behind + WIDTH / STRIP).min(self.strips);
            if leads && behind < ahead {
                // The next panel is ready when all others have done this one.
                self.apply(number, behind, ahead - behind, false, space.pointer);
                self.factor(number + 1);
            }
            while let Some((strip, count)) = self.take(number, ahead, BLOCK) {
                self.apply(number, strip, count, false, space.pointer);
            }
            self.team.meet();
        }
        for number in (0..self.panels).rev() {
            if leads && number > 0 {
                self.load(number - 1);
            }
            let first = number * WIDTH / STRIP;
            while let Some((strip, count)) = self.take(self.panels + number, first, BLOCK) {
                for each in strip..strip + count {
                    self.begin(number, each);
                }
                self.apply(number, strip, count, true, space.pointer);
            }
            self.team.meet();
        }
        while let Some((strip, _)) = self.take(2 * self.panels + 1, 0, 1) {
            self.write(strip);
        }
    }

    unsafe fn read(&self, strip: usize) {
        for row in 0..self.length() {
            let place = self.place(strip, row);
            for column in 0..STRIP {
                let at = strip * STRIP + column;
                *place.add(column) = if at < self.count() {
                    self.matrix.read(row, at)
                } else {
                    0.0
                };
            }
        }
    }

    unsafe fn write(&self, strip: usize) {
        for row in 0..self.length() {
            let place = self.place(strip, row);
            for column in 0..STRIP.min(self.count() - strip * STRIP) {
                let at = strip * STRIP + column;
                let by = *self.signs.pointer.add(at) * self.matrix.gain;
                self.matrix.write(row, at, *place.add(column) * by);
            }
        }
    }

    /// Put the columns of a panel side by side.
    unsafe fn load(&self, number: usize) {
        let panel = self.panel(number);
        for strip in 0..panel.stride / STRIP {
            let from = self.place(number * WIDTH / STRIP + strip, number * WIDTH);
            for row in 0..panel.rows {
                let to = panel.vectors.add(row * panel.stride + strip * STRIP);
                std::ptr::copy_nonoverlapping(from.add(row * STRIP), to, STRIP);
            }
        }
    }

    /// Find a panel's reflections, and keep them in place of its columns.
    unsafe fn factor(&self, number: usize) {
        self.load(number);
        let panel = self.panel(number);
        self.path.factor(&panel);
        for strip in 0..panel.stride / STRIP {
            let to = self.place(number * WIDTH / STRIP + strip, number * WIDTH);
            for row in 0..panel.rows {
                let from = panel.vectors.add(row * panel.stride + strip * STRIP);
                std::ptr::copy_nonoverlapping(from, to.add(row * STRIP), STRIP);
            }
        }
    }

    unsafe fn apply(
        &self,
        number: usize,
        strip: usize,
        count: usize,
        backward: bool,
        space: *mut f64,
    ) {
        let place = self.place(strip, number * WIDTH);
        self.path.apply(
            &self.panel(number),
            place,
            self.length() * STRIP,
            count,
            backward,
            space,
        );
    }

    /// Columns of the identity in place of a panel's own, and zeros in its rows of the later ones.
    unsafe fn begin(&self, number: usize, strip: usize) {
        let (panel, first) = (self.panel(number), number * WIDTH);
        let own = strip * STRIP < first + panel.width;
        let rows = if own { panel.rows } else { panel.width };
        std::ptr::write_bytes(self.place(strip, first), 0, rows * STRIP);
        if own {
            for column in 0..STRIP.min(first + panel.width - strip * STRIP) {
                *self.place(strip, strip * STRIP + column).add(column) = 1.0;
            }
        }
    }
}

impl Path {
    unsafe fn factor(self, panel: &Panel) {
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

    unsafe fn apply(
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
