//! One of several processes that work on one matrix: each has every so many-th panel.

use std::ops::Range;

use super::reflections::{STRIP, WIDTH};

const IN_PANEL: usize = WIDTH / STRIP;

/// Sends `count` numbers from the process `root` to all others, in the same memory; 0 where it is done.
///
/// Called by one thread, in the same order on all of them; with no number, to hear whether all are ready.
pub type Exchange = extern "C" fn(numbers: *mut f64, count: u64, root: u64) -> i32;

/// Which of the processes this one is.
#[derive(Clone, Copy)]
pub struct Process {
    pub rank: usize,
    pub ranks: usize,
    pub exchange: Option<Exchange>,
}

impl Process {
    pub const ALONE: Process = Process {
        rank: 0,
        ranks: 1,
        exchange: None,
    };

    pub fn known(&self) -> bool {
        self.rank < self.ranks && (self.ranks == 1 || self.exchange.is_some())
    }

    /// Who has a panel.
    pub fn owner(&self, panel: usize) -> usize {
        panel % self.ranks
    }

    pub fn owns(&self, panel: usize) -> bool {
        self.owner(panel) == self.rank
    }

    /// Where a strip of its own lies among its own.
    pub fn place_of(&self, strip: usize) -> usize {
        strip / IN_PANEL / self.ranks * IN_PANEL + strip % IN_PANEL
    }

    /// Which strip lies at a place.
    pub fn strip_at(&self, place: usize) -> usize {
        (place / IN_PANEL * self.ranks + self.rank) * IN_PANEL + place % IN_PANEL
    }

    /// The places of its strips from a panel on, of so many strips in all.
    pub fn places_from(&self, panel: usize, strips: usize) -> Range<usize> {
        let before = |panel: usize| panel.saturating_sub(self.rank).div_ceil(self.ranks);
        let whole = before(strips / IN_PANEL) * IN_PANEL;
        let rest = if self.owns(strips / IN_PANEL) {
            strips % IN_PANEL
        } else {
            0
        };
        let all = whole + rest;
        (before(panel) * IN_PANEL).min(all)..all
    }
}
