//! Addresses of device memory are kept free of everything else in this process, so that an address says what it is of.
//!
//! The executor's driver takes addresses that are free in the executor's process; here they may be in use. What was taken
//! once stays taken: device memory may come to the same place again.

use crate::failure::Outcome;
use ringbar::sync::{AtomicBool, Ordering::*};
use ringbar_vocabulary::Status;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

const PAGE_BYTES: u64 = 4096;
/// Places that are tried for an allocation before it fails.
const TRIES: usize = 8;

/// Whose addresses are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Claim {
    /// Device memory's alone.
    Ours,
    /// Something else of this process has some of them.
    Taken,
    /// The system does not let them be reserved: a limit on addresses, as a rule.
    Unknown,
}

/// What is reserved: first address and the one behind the last, apart from each other.
static CLAIMED: Mutex<BTreeMap<u64, u64>> = Mutex::new(BTreeMap::new());

fn claimed() -> MutexGuard<'static, BTreeMap<u64, u64>> {
    CLAIMED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The whole pages of a range.
fn pages(at: u64, bytes: u64) -> (u64, u64) {
    let end = at.saturating_add(bytes.max(1)).saturating_add(PAGE_BYTES - 1);
    (at / PAGE_BYTES * PAGE_BYTES, end / PAGE_BYTES * PAGE_BYTES)
}

/// Reserves the pages of device memory.
pub(super) fn claim(at: u64, bytes: u64) -> Claim {
    let (start, end) = pages(at, bytes);
    let mut claimed = claimed();
    let mut from = start;
    while from < end {
        let around = claimed.range(..=from).next_back().map(|(_, end)| *end);
        if let Some(behind) = around.filter(|behind| *behind > from) {
            from = behind;
            continue;
        }
        let next = claimed.range(from..).next().map_or(end, |(start, _)| *start);
        let to = end.min(next);
        match reserve(from, to - from) {
            Claim::Ours => insert(&mut claimed, from, to),
            other => return other,
        }
        from = to;
    }
    Claim::Ours
}

/// Adds a range that lies in none; it grows together with what it touches.
fn insert(claimed: &mut BTreeMap<u64, u64>, mut from: u64, mut to: u64) {
    if let Some((&start, &end)) = claimed.range(..from).next_back()
        && end == from
    {
        from = start;
    }
    if let Some(end) = claimed.remove(&to) {
        to = end;
    }
    claimed.insert(from, to);
}

/// Maps whole pages without access, unless something is there.
fn reserve(at: u64, bytes: u64) -> Claim {
    let (Ok(address), Ok(len)) = (usize::try_from(at), usize::try_from(bytes)) else {
        return Claim::Unknown;
    };
    let wanted = std::ptr::without_provenance_mut(address);
    let kind =
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: with MAP_FIXED_NOREPLACE nothing that is mapped is touched.
    let found = unsafe { libc::mmap(wanted, len, libc::PROT_NONE, kind, -1, 0) };
    if found == libc::MAP_FAILED {
        let error = std::io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::EEXIST) => Claim::Taken,
            _ => unknown(&error),
        };
    }
    if found.addr() == address {
        found.expose_provenance();
        return Claim::Ours;
    }
    // SAFETY: a kernel that does not know the flag mapped fresh pages elsewhere, which nobody uses.
    unsafe { libc::munmap(found, len) };
    Claim::Taken
}

#[cold]
fn unknown(error: &std::io::Error) -> Claim {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Relaxed) {
        tracing::warn!(%error, "addresses of device memory cannot be reserved; likely cause: ulimit -v");
    }
    Claim::Unknown
}

/// Lets the program read and write the pages of a range that was claimed.
pub(super) fn open(at: u64, bytes: u64) -> bool {
    let (start, end) = pages(at, bytes);
    let place = std::ptr::with_exposed_provenance_mut(start as usize);
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the pages are reserved ones of this module, which nobody uses.
    unsafe { libc::mprotect(place, (end - start) as usize, access) == 0 }
}

/// Memory that a node allocates: once it is refused, the graph still has the node, of which it cannot be rid.
pub(crate) const GRAPH_MEMORY: &str =
    "memory of a graph (which keeps the node that allocates it: destroy the graph)";

/// Reserves the pages of what cannot be anywhere else. NOT_SUPPORTED if something else of this process has some of them.
pub(crate) fn claim_where_it_is(at: u64, bytes: u64, what: &str) -> Outcome {
    if claim(at, bytes) != Claim::Taken {
        return Ok(());
    }
    tracing::error!(
        at = format_args!("{at:#x}"),
        bytes,
        "{what} lies where this process has memory of its own, so an address would mean both; likely cause: chance; try: start \
         the program again"
    );
    Err(Status::NOT_SUPPORTED.into())
}

/// Allocates until the addresses are nothing else's here; what else is got meanwhile is given back.
///
/// OUT_OF_MEMORY if that does not come about.
pub(super) fn apart<T>(
    mut allocate: impl FnMut() -> Outcome<(u64, u64, T)>,
    give_back: impl Fn(u64, u64) -> Outcome,
) -> Outcome<(u64, T)> {
    let mut aside = Vec::new();
    let mut found = Err(Status::OUT_OF_MEMORY.into());
    for _ in 0..TRIES {
        let (at, bytes, more) = match allocate() {
            Ok(got) => got,
            Err(failure) => {
                found = Err(failure);
                break;
            }
        };
        if claim(at, bytes) != Claim::Taken {
            found = Ok((at, more));
            break;
        }
        tracing::debug!(
            at = format_args!("{at:#x}"),
            bytes,
            "the program has memory of its own there: once more"
        );
        aside.push((at, bytes));
    }
    if found.is_err() && aside.len() == TRIES {
        tracing::error!(
            tries = TRIES,
            "device memory came again and again where this process has memory of its own; likely cause: chance; try: start the \
             program again"
        );
    }
    for (at, bytes) in aside {
        give_back(at, bytes)?;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_grow_together_and_are_reserved_once() {
        const AT: u64 = 0x6a00_0000_0000;
        assert_eq!(claim(AT, 1), Claim::Ours);
        assert_eq!(claim(AT + 3 * PAGE_BYTES, PAGE_BYTES), Claim::Ours);
        assert_eq!(claim(AT + 100, 4 * PAGE_BYTES), Claim::Ours);
        assert_eq!(claim(AT, 5 * PAGE_BYTES), Claim::Ours);
        let behind = claimed().get(&AT).copied();
        assert_eq!(behind, Some(AT + 5 * PAGE_BYTES));
    }

    #[test]
    fn what_the_program_has_is_taken_and_an_allocation_goes_elsewhere() {
        let own = vec![0_u8; 3 * PAGE_BYTES as usize];
        let own = own.as_ptr().addr() as u64 + PAGE_BYTES;
        assert_eq!(claim(own, 8), Claim::Taken);
        let free = 0x6a10_0000_0000;
        let mut places = vec![free, own, own];
        let back = Mutex::new(Vec::new());
        let got = apart(
            || Ok((places.pop().expect("enough"), 64, ())),
            |at, _| {
                back.lock().expect("no panic").push(at);
                Ok(())
            },
        );
        assert_eq!(got, Ok((free, ())));
        assert_eq!(back.into_inner().expect("no panic"), [own, own]);
    }

    #[test]
    fn what_cannot_be_elsewhere_is_refused_where_the_program_has_memory() {
        let own = vec![0_u8; 3 * PAGE_BYTES as usize];
        let own = own.as_ptr().addr() as u64 + PAGE_BYTES;
        let refused = claim_where_it_is(own, 64, "a variable");
        assert_eq!(refused, Err(Status::NOT_SUPPORTED.into()));
        assert_eq!(claim_where_it_is(0x6a20_0000_0000, 64, "a variable"), Ok(()));
    }

    #[test]
    fn an_allocation_that_never_comes_apart_fails() {
        let own = vec![0_u8; 3 * PAGE_BYTES as usize];
        let own = own.as_ptr().addr() as u64 + PAGE_BYTES;
        let got = apart(|| Ok((own, 64, ())), |_, _| Ok(()));
        assert_eq!(got, Err(Status::OUT_OF_MEMORY.into()));
    }
}
