//! What was advised for managed memory, page by page, and questions about it.
//!
//! Nothing is ever prefetched here (see [`super::advice`]), and no device can be a preferred place or be told to use the
//! memory: what is remembered is that a range is mostly read, that it belongs to the host, and that the host uses it.

use super::advice::check_managed;
use crate::arg::{In, Out, OutBytes};
use crate::failure::{Failure, Outcome};
use crate::types::CUdeviceptr;
use ringbar_vocabulary::Status;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

const PAGE_BYTES: u64 = 4096;
/// `CU_DEVICE_CPU` and `CU_DEVICE_INVALID`.
const CPU: i32 = -1;
const NO_DEVICE: i32 = -2;
/// `CU_MEM_LOCATION_TYPE_INVALID`.
const NO_PLACE: i32 = 0;
/// `CU_MEM_LOCATION_TYPE_HOST`.
const HOST: u32 = 2;

/// What was advised for a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Advised {
    /// `CU_MEM_ADVISE_SET_READ_MOSTLY`.
    pub(super) read_mostly: bool,
    /// The kind and number of the host's place that it should be in.
    pub(super) place: Option<(u32, i32)>,
    /// The host was said to use it.
    pub(super) host_uses: bool,
}

/// Ranges of pages for which something was advised: first address, and the one behind the last.
#[derive(Debug)]
struct Ranges(BTreeMap<u64, (u64, Advised)>);

static RANGES: Mutex<Ranges> = Mutex::new(Ranges(BTreeMap::new()));

fn ranges() -> MutexGuard<'static, Ranges> {
    RANGES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pages that a range touches.
fn pages(at: u64, bytes: u64) -> (u64, u64) {
    let end = at.saturating_add(bytes).saturating_add(PAGE_BYTES - 1);
    (at / PAGE_BYTES * PAGE_BYTES, end / PAGE_BYTES * PAGE_BYTES)
}

impl Ranges {
    /// Makes an address the beginning of a range, if one goes over it.
    fn split(&mut self, at: u64) {
        if let Some((_, (end, advised))) = self.0.range_mut(..at).next_back()
            && *end > at
        {
            let behind = (*end, *advised);
            *end = at;
            self.0.insert(at, behind);
        }
    }

    /// Changes what is advised for every page of a range.
    fn change(&mut self, (start, end): (u64, u64), change: impl Fn(&mut Advised)) {
        self.split(start);
        self.split(end);
        let mut at = start;
        while at < end {
            let found = self.0.range(at..end).next().map(|(&from, &(to, _))| (from, to));
            let (from, to) = found.unwrap_or((end, end));
            if from > at {
                self.0.insert(at, (from, Advised::default()));
                continue;
            }
            if let Some((_, advised)) = self.0.get_mut(&at) {
                change(advised);
            }
            at = to;
        }
    }

    /// Forgets all that is advised for a range.
    fn forget(&mut self, (start, end): (u64, u64)) {
        self.split(start);
        self.split(end);
        let gone: Vec<u64> = self.0.range(start..end).map(|(&at, _)| at).collect();
        for at in gone {
            self.0.remove(&at);
        }
    }

    /// What is advised for the pages of a range, each piece once.
    fn of(&self, (start, end): (u64, u64)) -> Vec<Advised> {
        let mut found = Vec::new();
        let first = self.0.range(..=start).next_back().filter(|(_, (behind, _))| *behind > start);
        let mut at = start;
        for (&from, &(to, advised)) in first.into_iter().chain(self.0.range(start + 1..end)) {
            if from > at {
                found.push(Advised::default());
            }
            found.push(advised);
            at = to;
        }
        if at < end {
            found.push(Advised::default());
        }
        found
    }
}

/// Something is advised for managed memory.
pub(super) fn advise(at: u64, bytes: u64, change: impl Fn(&mut Advised)) {
    ranges().change(pages(at, bytes), change);
}

/// Memory is new: nothing is advised for it.
pub(super) fn forget(at: u64, bytes: u64) {
    ranges().forget(pages(at, bytes));
}

/// The place that all pages should be in, if it is the same.
fn place_of(pieces: &[Advised]) -> Option<(u32, i32)> {
    let first = pieces.first()?.place;
    if pieces.iter().all(|piece| piece.place == first) { first } else { None }
}

/// The answer to one attribute, as integers: one, or as many as there is room for.
fn answer(attribute: u32, words: usize, pieces: &[Advised]) -> Outcome<Vec<i32>> {
    let place = place_of(pieces);
    let one = match attribute {
        1 => i32::from(pieces.iter().all(|piece| piece.read_mostly)),
        2 => place.map_or(NO_DEVICE, |(kind, _)| if kind == HOST { CPU } else { NO_DEVICE }),
        3 => {
            let mut users = vec![NO_DEVICE; words];
            if pieces.iter().all(|piece| piece.host_uses) {
                users[0] = CPU;
            }
            return Ok(users);
        }
        5 => place.map_or(NO_PLACE, |(kind, _)| kind as i32),
        6 => place.map_or(NO_DEVICE, |(_, id)| id),
        // Nothing was prefetched.
        4 | 8 => NO_DEVICE,
        7 => NO_PLACE,
        _ => return Err(Status::INVALID_VALUE.into()),
    };
    Ok(vec![one])
}

fn get(data: OutBytes, size: usize, attribute: u32, (at, bytes): (u64, usize)) -> Outcome {
    let place = Out::<i32>::at_address(std::ptr::with_exposed_provenance_mut(data)).required()?;
    let fits = if attribute == 3 { size > 0 && size.is_multiple_of(4) } else { size == 4 };
    if !fits {
        return Err(Status::INVALID_VALUE.into());
    }
    check_managed(at, bytes)?;
    let pieces = ranges().of(pages(at, bytes as u64));
    place.set_all(answer(attribute, size / 4, &pieces)?)
}

entry! {
    /// What was advised for a range of managed memory.
    local fn cuMemRangeGetAttribute(data[size]: OutBytes, size: usize, attribute: u32, at: CUdeviceptr, bytes: usize) {
        get(data, size, attribute, (at, bytes))
    }

    /// Several such attributes.
    local fn cuMemRangeGetAttributes(data[count]: In<OutBytes>, sizes[count]: In<usize>, attributes[count]: In<u32>, count: usize, at: CUdeviceptr, bytes: usize) {
        if count == 0 {
            return Err(Failure(Status::INVALID_VALUE));
        }
        let (data, sizes) = (data.all(count)?, sizes.all(count)?);
        let asked = data.into_iter().zip(sizes).zip(attributes.all(count)?);
        asked.into_iter().try_for_each(|((data, size), attribute)| get(data, size, attribute, (at, bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = PAGE_BYTES;

    #[test]
    fn advice_holds_for_its_pages_and_no_others() {
        let mut ranges = Ranges(BTreeMap::new());
        ranges.change((2 * PAGE, 6 * PAGE), |advised| advised.read_mostly = true);
        ranges.change((4 * PAGE, 8 * PAGE), |advised| advised.place = Some((HOST, 0)));
        let read = |ranges: &Ranges, from, to| -> Vec<bool> {
            ranges.of((from * PAGE, to * PAGE)).iter().map(|piece| piece.read_mostly).collect()
        };
        assert_eq!(read(&ranges, 2, 6), [true, true]);
        assert_eq!(read(&ranges, 3, 4), [true]);
        assert_eq!(read(&ranges, 1, 9), [false, true, true, false, false]);
        assert_eq!(place_of(&ranges.of((4 * PAGE, 8 * PAGE))), Some((HOST, 0)));
        assert_eq!(place_of(&ranges.of((3 * PAGE, 8 * PAGE))), None);
        ranges.forget((3 * PAGE, 7 * PAGE));
        assert_eq!(read(&ranges, 2, 8), [true, false, false]);
    }

    #[test]
    fn room_beyond_the_users_says_that_there_are_no_more() {
        let used = Advised { host_uses: true, ..Advised::default() };
        assert_eq!(answer(3, 3, &[used]), Ok(vec![CPU, NO_DEVICE, NO_DEVICE]));
        assert_eq!(answer(3, 1, &[used, Advised::default()]), Ok(vec![NO_DEVICE]));
        assert_eq!(answer(9, 1, &[used]), Err(Status::INVALID_VALUE.into()));
    }
}
