//! Opaque handles: numbers that no program can mistake for memory, and that are checked before they are used.
//!
//! A handle is `mark (16 bits) | kind (8) | number (40)`. The mark makes it no address, so a program that looks behind
//! it faults at once, and what is no handle of the wanted kind is refused. Tables of objects only grow: a handle that was
//! destroyed never names another object.

use crate::failure::{Failure, Outcome};
use ringbar::sync::{AtomicBool, AtomicU32, Ordering::*};
use ringbar_vocabulary::Status;
use std::sync::OnceLock;

/// An opaque handle as C sees it: as large as a pointer.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Handle(pub usize);

/// What a handle names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// `CUcontext`.
    Context = 1,
    /// `CUmodule`.
    Module,
    /// `CUlibrary`.
    Library,
    /// `CUfunction`.
    Function,
    /// `CUkernel`.
    Kernel,
    /// `CUstream`.
    Stream,
    /// `CUevent`.
    Event,
    /// `CUgraph`.
    Graph,
    /// `CUgraphExec`.
    GraphExec,
    /// `CUgraphNode`.
    GraphNode,
    /// `CUmemoryPool`.
    Pool,
    /// `CUmemGenericAllocationHandle`.
    Memory,
    /// `CUuserObject`.
    UserObject,
    /// `CUlinkState`.
    Linker,
    /// `CUarray`.
    Array,
    /// `CUgraphicsResource` and other kinds that are never made here.
    Other,
}

const MARK: usize = 0x5242;
const MARK_SHIFT: u32 = 48;
const KIND_SHIFT: u32 = 40;
const NUMBER_MASK: usize = (1 << KIND_SHIFT) - 1;

impl Handle {
    /// No object. As a stream: the default stream.
    pub const NULL: Handle = Handle(0);

    /// The handle of object `number` of that kind; numbers have 40 bits.
    #[inline]
    pub const fn new(kind: Kind, number: usize) -> Self {
        Self(MARK << MARK_SHIFT | (kind as usize) << KIND_SHIFT | number & NUMBER_MASK)
    }

    /// The object's number, if this is a handle of that kind.
    #[inline]
    pub const fn number(self, kind: Kind) -> Option<usize> {
        if self.0 >> KIND_SHIFT == MARK << (MARK_SHIFT - KIND_SHIFT) | kind as usize {
            return Some(self.0 & NUMBER_MASK);
        }
        None
    }

    /// Whether it names nothing.
    #[inline]
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }
}

/// Slots of the first block; each further block has twice as many as the one before.
const FIRST_SLOTS: usize = 64;
const BLOCKS: usize = 24;

/// All objects of one kind: found by handle without a lock, never moved, never freed.
pub struct Table<T: 'static> {
    kind: Kind,
    blocks: [OnceLock<Box<[Slot<T>]>>; BLOCKS],
    next: AtomicU32,
}

struct Slot<T> {
    alive: AtomicBool,
    object: OnceLock<T>,
}

impl<T: 'static> Table<T> {
    /// An empty table; kept in a static.
    pub const fn new(kind: Kind) -> Self {
        Self { kind, blocks: [const { OnceLock::new() }; BLOCKS], next: AtomicU32::new(0) }
    }

    /// Adds an object that `make` makes from its own handle.
    pub fn insert(&'static self, make: impl FnOnce(Handle) -> T) -> Outcome<(Handle, &'static T)> {
        let number = self.next.fetch_add(1, Relaxed) as usize;
        let (block, at) = place(number);
        let block = self.blocks.get(block).ok_or(Failure(Status::OUT_OF_MEMORY))?;
        let slots = block.get_or_init(|| slots(number - at + FIRST_SLOTS));
        let handle = Handle::new(self.kind, number);
        let slot = &slots[at];
        let object = slot.object.get_or_init(|| make(handle));
        slot.alive.store(true, Release);
        Ok((handle, object))
    }

    #[inline]
    fn slot(&'static self, handle: Handle) -> Option<&'static Slot<T>> {
        let (block, at) = place(handle.number(self.kind)?);
        self.blocks.get(block)?.get()?.get(at)
    }

    /// The object, if the handle names one that was not removed.
    #[inline]
    pub fn get(&'static self, handle: Handle) -> Option<&'static T> {
        let slot = self.slot(handle)?;
        if slot.alive.load(Acquire) { slot.object.get() } else { None }
    }

    /// The object also after its removal, to tell a destroyed one from none.
    pub fn get_even_removed(&'static self, handle: Handle) -> Option<&'static T> {
        self.slot(handle)?.object.get()
    }

    /// Removes the object: the handle names nothing any more. `None` if it did not before.
    pub fn remove(&'static self, handle: Handle) -> Option<&'static T> {
        let slot = self.slot(handle)?;
        if slot.alive.swap(false, AcqRel) { slot.object.get() } else { None }
    }

    /// All objects that were not removed, with their handles.
    pub fn alive(&'static self) -> impl Iterator<Item = (Handle, &'static T)> {
        let handles = 0..self.next.load(Acquire) as usize;
        handles
            .map(|number| Handle::new(self.kind, number))
            .filter_map(|handle| Some((handle, self.get(handle)?)))
    }
}

/// Block and place in it of an object's number.
#[inline]
const fn place(number: usize) -> (usize, usize) {
    let shifted = number + FIRST_SLOTS;
    let block = shifted.ilog2() - FIRST_SLOTS.ilog2();
    (block as usize, shifted - (FIRST_SLOTS << block))
}

fn slots<T>(count: usize) -> Box<[Slot<T>]> {
    (0..count).map(|_| Slot { alive: AtomicBool::new(false), object: OnceLock::new() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_of_one_kind_and_no_small_number_is_one() {
        let handle = Handle::new(Kind::Stream, 7);
        assert_eq!(handle.number(Kind::Stream), Some(7));
        assert_eq!(handle.number(Kind::Event), None);
        for garbage in [0, 1, 2, 0xdead_beef, usize::MAX, 0x7fff_dead_beef] {
            assert_eq!(Handle(garbage).number(Kind::Stream), None);
        }
    }

    #[test]
    fn every_object_has_a_place_of_its_own_and_is_found_there() {
        static TABLE: Table<usize> = Table::new(Kind::Graph);
        let handles: Vec<Handle> =
            (0..1000).map(|i| TABLE.insert(|_| i).expect("room").0).collect();
        for (i, handle) in handles.iter().enumerate() {
            assert_eq!(TABLE.get(*handle), Some(&i));
        }
        assert_eq!(TABLE.alive().count(), 1000);
    }

    #[test]
    fn a_removed_object_is_gone_and_its_handle_is_never_used_again() {
        static TABLE: Table<u8> = Table::new(Kind::Event);
        let (handle, _) = TABLE.insert(|_| 1).expect("room");
        assert_eq!(TABLE.remove(handle), Some(&1));
        assert_eq!((TABLE.get(handle), TABLE.remove(handle)), (None, None));
        assert_eq!(TABLE.get_even_removed(handle), Some(&1));
        assert_ne!(TABLE.insert(|_| 2).expect("room").0, handle);
    }

    #[test]
    fn a_handle_of_an_object_that_never_was_names_nothing() {
        static TABLE: Table<u8> = Table::new(Kind::Pool);
        for number in [0, 63, 64, 1 << 31, NUMBER_MASK] {
            assert_eq!(TABLE.get(Handle::new(Kind::Pool, number)), None);
        }
    }
}
