//! Words that the worker publishes for whoever waits: progress, first error, fences, state (PROTOCOL.md, section 6).
//!
//! Generic over [`Lines`], so that the code which the models check is the code that runs.

use crate::layout::line;
use crate::lines::{LINE_WORDS, Lines};
use crate::sync::{Ordering, order, swapped};
use crate::untrusted::Untrusted;

const EXECUTED: usize = 0;
const RETIRED: usize = 1;
const ERROR_POSITION: usize = 2;
const ERROR_STATUS: usize = 3;
const EVENTS_LOST: usize = 4;

/// Publishes the executed and retired positions.
pub fn publish<L: Lines>(header: &L, executed: u64, retired: u64) {
    publish_retired(header, retired);
    header.store(line::PROGRESS, EXECUTED, executed, order!(P1, Release));
}

/// Publishes the retired position alone.
pub fn publish_retired<L: Lines>(header: &L, retired: u64) {
    header.store(line::PROGRESS, RETIRED, retired, order!(P1, Release));
}

/// Position after the last executed command, as the worker claims.
pub fn executed<L: Lines>(header: &L) -> Untrusted<u64> {
    Untrusted::new(header.load(line::PROGRESS, EXECUTED, order!(P2, Acquire)))
}

/// Position before which no command uses its arena bytes any more, as the worker claims.
pub fn retired<L: Lines>(header: &L) -> Untrusted<u64> {
    Untrusted::new(header.load(line::PROGRESS, RETIRED, order!(P2, Acquire)))
}

/// Latches the first failed posted command. To be called once.
pub fn latch_error<L: Lines>(header: &L, position: u64, status: u32) {
    let latch = || {
        header.store(line::PROGRESS, ERROR_POSITION, position.wrapping_add(1), order!(E1, Release))
    };
    if swapped!(C3) {
        latch();
    }
    header.store(line::PROGRESS, ERROR_STATUS, status.into(), Ordering::Relaxed);
    latch();
}

/// Position and status of the first failed posted command, if there is one.
pub fn first_error<L: Lines>(header: &L) -> Option<(u64, u32)> {
    let position =
        header.load(line::PROGRESS, ERROR_POSITION, order!(E2, Acquire)).checked_sub(1)?;
    Some((position, header.load(line::PROGRESS, ERROR_STATUS, Ordering::Relaxed) as u32))
}

/// Publishes how many events found their ring full.
pub fn publish_events_lost<L: Lines>(header: &L, lost: u64) {
    header.store(line::PROGRESS, EVENTS_LOST, lost, Ordering::Relaxed);
}

/// Events that found their ring full, as the worker claims.
pub fn events_lost<L: Lines>(header: &L) -> u64 {
    header.load(line::PROGRESS, EVENTS_LOST, Ordering::Relaxed)
}

/// Stores a fence word; `index` wraps at the number of words.
pub fn raise_fence<L: Lines>(fences: &L, index: u32, value: u64) {
    let at = (index as usize / LINE_WORDS, index as usize % LINE_WORDS);
    fences.store(at.0, at.1, value, order!(F1, Release));
}

/// Loads a fence word; `index` wraps at the number of words.
#[inline(always)]
pub fn fence<L: Lines>(fences: &L, index: u32) -> u64 {
    let at = (index as usize / LINE_WORDS, index as usize % LINE_WORDS);
    fences.load(at.0, at.1, order!(F2, Acquire))
}

/// Publishes a status word: everything written before is seen by whoever sees it.
pub fn publish_state<L: Lines>(header: &L, status_line: usize, word: u64) {
    header.store(status_line, 0, word, order!(G1, Release));
}

/// Loads a status word.
#[inline(always)]
pub fn state<L: Lines>(header: &L, status_line: usize) -> u64 {
    header.load(status_line, 0, order!(G2, Acquire))
}
