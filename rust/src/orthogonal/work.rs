//! One matrix, panel by panel: the threads take strips of its columns, and the bits do not depend on who takes which.

use std::alloc::{alloc, dealloc, Layout};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{scope, Builder};

use super::matrix::Matrix;
use super::process::Process;
use super::reflections::{Panel, STRIP, WIDTH};
use super::team::Team;
use crate::mode::DefaultMode;
use crate::path::Path;

/// Strips that a thread takes at a time.
const BLOCK: usize = 4;
/// What is kept of a panel beside its vectors: products, taus and signs.
const KEPT: usize = WIDTH * WIDTH + 2 * WIDTH;
/// What a thread sums up at a time.
const SPACE: usize = WIDTH * STRIP * (BLOCK + WIDTH / STRIP);

#[derive(Clone, Copy, PartialEq)]
pub enum Outcome {
    Done,
    NoMemory,
    /// The exchange between the processes has failed.
    Broken,
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
    /// The columns that this process has, in strips.
    work: Numbers,
    /// Room for the vectors of two panels.
    vectors: [Numbers; 2],
    /// For each panel products, taus and signs.
    kept: Numbers,
    /// Room for each thread's sums: there before any has begun, since who lacks it would stop all.
    spaces: Vec<Numbers>,
    strips: usize,
    panels: usize,
    /// The places of the strips whose vectors are made.
    wanted: Range<usize>,
    /// Where the next strips to be taken are, for each step.
    next: Vec<AtomicUsize>,
    team: Team,
    path: Path,
    process: Process,
    broken: AtomicBool,
}

// SAFETY: the threads take disjoint strips between their meetings.
unsafe impl Sync for Shared<'_> {}

/// Make the vectors of a matrix, or those of them that this process has, on up to `threads` threads.
///
/// # Safety
/// The memory of the matrix must be valid and its own.
pub unsafe fn together(matrix: &Matrix, threads: usize, path: Path, process: Process) -> Outcome {
    let Some(shared) = Shared::new(matrix, threads, path, process) else {
        return Outcome::NoMemory;
    };
    // Now that nothing is missing here, the others may rely on this process.
    if !shared.exchange(std::ptr::null_mut(), 0, 0) {
        return Outcome::Broken;
    }
    scope(|scope| {
        let mut size = 1;
        let shared = &shared;
        for number in 1..shared.spaces.len() {
            // SAFETY: as the caller's.
            let work = move || unsafe { shared.run(number) };
            if Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
            size += 1;
        }
        shared.team.complete(size);
        shared.run(0);
    });
    match shared.broken.load(Ordering::Relaxed) {
        true => Outcome::Broken,
        false => Outcome::Done,
    }
}

impl<'a> Shared<'a> {
    unsafe fn new(
        matrix: &'a Matrix,
        threads: usize,
        path: Path,
        process: Process,
    ) -> Option<Shared<'a>> {
        let (length, count) = (matrix.length as usize, matrix.count as usize);
        let (strips, panels) = (count.div_ceil(STRIP), count.div_ceil(WIDTH));
        let wide = length.checked_mul(STRIP * strips.min(WIDTH / STRIP))?;
        let places = process.places_from(0, strips);
        let first = matrix.from as usize / STRIP;
        let wanted = if process.ranks == 1 { first } else { 0 };
        Some(Shared {
            matrix,
            work: Numbers::new(length.checked_mul(STRIP * places.len())?)?,
            vectors: [
                Numbers::new(wide)?,
                Numbers::new(if panels > 1 { wide } else { 1 })?,
            ],
            kept: Numbers::new(panels * KEPT)?,
            spaces: (0..threads.min(strips).max(1))
                .map(|_| Numbers::new(SPACE))
                .collect::<Option<_>>()?,
            strips,
            panels,
            wanted: wanted..places.len(),
            next: (0..2 * panels + 2).map(|_| AtomicUsize::new(0)).collect(),
            team: Team::new(),
            path,
            process,
            broken: AtomicBool::new(false),
        })
    }

    fn length(&self) -> usize {
        self.matrix.length as usize
    }

    fn count(&self) -> usize {
        self.matrix.count as usize
    }

    /// The first number of a row in the strip at a place.
    unsafe fn at(&self, place: usize, row: usize) -> *mut f64 {
        self.work.pointer.add((place * self.length() + row) * STRIP)
    }

    fn panel(&self, number: usize) -> Panel {
        let first = number * WIDTH;
        let width = WIDTH.min(self.count() - first);
        // SAFETY: there is room for every panel.
        unsafe {
            let kept = self.kept.pointer.add(number * KEPT);
            Panel {
                vectors: self.vectors[number % 2].pointer,
                rows: self.length() - first,
                stride: width.div_ceil(STRIP) * STRIP,
                width,
                products: kept,
                taus: kept.add(WIDTH * WIDTH),
                signs: kept.add(WIDTH * WIDTH + WIDTH),
            }
        }
    }

    /// Take places until none is left, `size` at a time.
    fn take(&self, step: usize, places: &Range<usize>, size: usize) -> Option<(usize, usize)> {
        let from = places.start + size * self.next[step].fetch_add(1, Ordering::Relaxed);
        (from < places.end).then(|| (from, size.min(places.end - from)))
    }

    /// What each thread does; the first of them leads.
    unsafe fn run(&self, thread: usize) {
        let _mode = DefaultMode::new();
        let (leads, space) = (thread == 0, &self.spaces[thread]);
        let all = self.process.places_from(0, self.strips);
        while let Some((place, _)) = self.take(2 * self.panels, &all, 1) {
            self.read(place);
        }
        self.team.meet();
        if leads && self.process.owns(0) {
            self.factor(0);
        }
        if !self.meet_with(leads, 0, true) {
            return;
        }
        for number in 0..self.panels {
            let mut ahead = number + 1;
            if ahead < self.panels && self.process.owns(ahead) {
                if leads {
                    // The next panel is ready when all others have done this one.
                    let (place, count) = self.places_of(ahead);
                    self.apply(number, place, count, false, space.pointer);
                    self.factor(ahead);
                }
                ahead += 1;
            }
            let rest = self.process.places_from(ahead, self.strips);
            while let Some((place, count)) = self.take(number, &rest, BLOCK) {
                self.apply(number, place, count, false, space.pointer);
            }
            self.team.meet();
            if number + 1 < self.panels && !self.meet_with(leads, number + 1, true) {
                return;
            }
        }
        for number in (0..self.panels).rev() {
            if leads && number > 0 && self.process.owns(number - 1) {
                self.load(number - 1);
            }
            let own = self.process.places_from(number, self.strips);
            let places = own.start.max(self.wanted.start)..own.end;
            while let Some((place, count)) = self.take(self.panels + number, &places, BLOCK) {
                for each in place..place + count {
                    self.begin(number, each);
                }
                self.apply(number, place, count, true, space.pointer);
            }
            self.team.meet();
            if number > 0 && !self.meet_with(leads, number - 1, false) {
                return;
            }
        }
        while let Some((place, _)) = self.take(2 * self.panels + 1, &self.wanted, 1) {
            self.write(place);
        }
    }

    /// Give a panel to all processes, and wait for it; false where that has failed.
    unsafe fn meet_with(&self, leads: bool, number: usize, forward: bool) -> bool {
        if self.process.ranks > 1 {
            if leads {
                let (panel, root) = (self.panel(number), self.process.owner(number));
                let done = self.exchange(panel.vectors, panel.rows * panel.stride, root)
                    && (!forward || self.exchange(panel.products, KEPT, root));
                self.broken.fetch_or(!done, Ordering::Relaxed);
            }
            self.team.meet();
        } else if forward && number == 0 {
            self.team.meet();
        }
        !self.broken.load(Ordering::Relaxed)
    }

    fn exchange(&self, numbers: *mut f64, count: usize, root: usize) -> bool {
        match self.process.exchange {
            Some(exchange) => exchange(numbers, count as u64, root as u64) == 0,
            None => true,
        }
    }

    /// The first place of a panel of its own, and how many it has.
    fn places_of(&self, panel: usize) -> (usize, usize) {
        let strip = panel * WIDTH / STRIP;
        let count = (WIDTH / STRIP).min(self.strips - strip);
        (self.process.place_of(strip), count)
    }

    unsafe fn read(&self, place: usize) {
        let first = self.process.strip_at(place) * STRIP;
        self.matrix.read(first, self.at(place, 0));
    }

    unsafe fn write(&self, place: usize) {
        let first = self.process.strip_at(place) * STRIP;
        let mut by = [0.0; STRIP];
        for (at, each) in (first..self.count()).zip(&mut by) {
            *each = *self.panel(at / WIDTH).signs.add(at % WIDTH) * self.matrix.gain;
        }
        self.matrix.write(first, self.at(place, 0), &by);
    }

    /// Put the columns of a panel of its own side by side.
    unsafe fn load(&self, number: usize) {
        let panel = self.panel(number);
        let (place, count) = self.places_of(number);
        for strip in 0..count {
            let from = self.at(place + strip, number * WIDTH);
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
        let (place, count) = self.places_of(number);
        for strip in 0..count {
            let to = self.at(place + strip, number * WIDTH);
            for row in 0..panel.rows {
                let from = panel.vectors.add(row * panel.stride + strip * STRIP);
                std::ptr::copy_nonoverlapping(from, to.add(row * STRIP), STRIP);
            }
        }
    }

    unsafe fn apply(
        &self,
        number: usize,
        place: usize,
        count: usize,
        backward: bool,
        space: *mut f64,
    ) {
        let (panel, step) = (self.panel(number), self.length() * STRIP);
        let strips = self.at(place, number * WIDTH);
        self.path
            .apply(&panel, strips, step, count, backward, space);
    }

    /// Columns of the identity in place of a panel's own, and zeros in its rows of the later ones.
    unsafe fn begin(&self, number: usize, place: usize) {
        let (panel, first) = (self.panel(number), number * WIDTH);
        let at = self.process.strip_at(place) * STRIP;
        let own = at < first + panel.width;
        let rows = if own { panel.rows } else { panel.width };
        std::ptr::write_bytes(self.at(place, first), 0, rows * STRIP);
        if own {
            for column in 0..STRIP.min(first + panel.width - at) {
                *self.at(place, at + column).add(column) = 1.0;
            }
        }
    }
}
