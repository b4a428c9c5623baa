//! Threads that work on one matrix, step by step.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::yield_now;

/// How often a thread looks before it lets others run.
const PATIENCE: u32 = 2000;

/// Where the threads of a team wait for each other.
pub struct Team {
    size: AtomicUsize,
    arrived: AtomicUsize,
    round: AtomicUsize,
}

impl Team {
    pub fn new() -> Team {
        Team {
            size: AtomicUsize::new(0),
            arrived: AtomicUsize::new(0),
            round: AtomicUsize::new(0),
        }
    }

    /// Say how many there are, when all have been started.
    pub fn complete(&self, size: usize) {
        self.size.store(size, Ordering::Release);
    }

    /// Wait until every thread of the team has come here.
    pub fn meet(&self) {
        wait(|| self.size.load(Ordering::Acquire) > 0);
        let round = self.round.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.size.load(Ordering::Acquire) {
            self.arrived.store(0, Ordering::Release);
            self.round.store(round + 1, Ordering::Release);
        } else {
            wait(|| self.round.load(Ordering::Acquire) != round);
        }
    }
}

fn wait(until: impl Fn() -> bool) {
    let mut looks = 0;
    while !until() {
        looks += 1;
        if looks < PATIENCE {
            std::hint::spin_loop();
        } else {
            yield_now();
        }
    }
}
