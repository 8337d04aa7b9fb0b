//! Questions about pointers, answered from what is known here.

use super::map::{Entry, What};
use crate::arg::{In, Out};
use crate::context::Context;
use crate::failure::Outcome;
use crate::session;
use crate::types::CUdeviceptr;
use ringbar::sync::{AtomicBool, Ordering::Relaxed};
use ringbar_vocabulary::Status;
use std::ffi::c_void;

/// `CU_MEMORYTYPE_HOST` and `CU_MEMORYTYPE_DEVICE`.
const MEMORY_TYPE: [u64; 2] = [1, 2];
/// `CU_DEVICE_INVALID`.
const NO_DEVICE: i32 = -2;
/// `CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE`.
const READ_WRITE: u64 = 3;
/// `CU_POINTER_ATTRIBUTE_SYNC_MEMOPS`.
const SYNC_MEMOPS: u32 = 6;
/// `CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE`.
const LEGACY_IPC: u32 = 10;

/// Whether that was ever set for some memory.
static ANY_SYNC: AtomicBool = AtomicBool::new(false);

/// Whether an operation on memory there waits until it is done, unless it says that it is asynchronous: by the context's
/// flags, or for the sake of the memory.
pub(crate) fn waits_for(context: &Context, places: &[u64]) -> bool {
    let of_memory = |at: &u64| super::find(*at).is_some_and(|entry| entry.sync_memops);
    context.waits_for_memory() || ANY_SYNC.load(Relaxed) && places.iter().any(of_memory)
}
/// The last attribute of CUDA 13.
const LAST: u32 = 21;

/// Bytes that an attribute's value takes; `None` for what is no attribute.
const fn value_bytes(attribute: u32) -> Option<usize> {
    match attribute {
        2 | 6 | 8 | 9 | 10 | 13 | 15 | 16 | 21 => Some(4),
        1 | 3 | 4 | 5 | 7 | 11 | 12 | 14 | 17 | 18 | 19 | 20 => Some(8),
        _ => None,
    }
}

/// Whether other processes can have memory of this one.
fn goes_out() -> bool {
    session::live().is_ok_and(|live| !live.session.is_in_guest())
}

/// The value of an attribute for a pointer into an allocation; `None` if it has none.
fn value(entry: &Entry, attribute: u32, at: u64) -> Option<u64> {
    let host = !entry.is_device();
    let registered = matches!(entry.what, What::Registered { .. });
    Some(match attribute {
        1 => entry.context.0 as u64,
        2 if entry.is_managed() => MEMORY_TYPE[1],
        2 => MEMORY_TYPE[usize::from(!host)],
        3 if registered => return None,
        3 => at,
        4 if !host && !entry.is_managed() => return None,
        4 => at,
        SYNC_MEMOPS => entry.sync_memops.into(),
        7 => entry.id,
        8 => entry.is_managed().into(),
        9 => entry.device as u32 as u64,
        LEGACY_IPC => u64::from(entry.what == What::Device && goes_out()),
        14 | 15 | 21 => 0,
        11 | 19 => entry.start,
        12 | 18 => entry.len,
        13 => u64::from(!registered),
        16 => READ_WRITE,
        17 => match entry.what {
            What::Pool(pool) => pool.0 as u64,
            _ => 0,
        },
        20 => entry.id,
        _ => return None,
    })
}

/// What `cuPointerGetAttributes` answers for a pointer of which nothing is known.
fn default_value(attribute: u32) -> u64 {
    match attribute {
        9 => NO_DEVICE as u32 as u64,
        _ => 0,
    }
}

fn put(place: *mut c_void, attribute: u32, value: u64) -> Outcome {
    match value_bytes(attribute) {
        Some(4) => Out::<u32>::at_address(place.cast()).set(value as u32),
        Some(_) => Out::<u64>::at_address(place.cast()).set(value),
        None => Err(Status::INVALID_VALUE.into()),
    }
}

entry! {
    /// One attribute of a pointer.
    local fn cuPointerGetAttribute(place[attribute]: *mut c_void, attribute: u32, at: CUdeviceptr) {
        let map = super::read();
        let found = map.find(at).and_then(|entry| value(entry, attribute, at));
        drop(map);
        put(place, attribute, found.ok_or(Status::INVALID_VALUE)?)
    }

    /// Several attributes of a pointer; what is not known has the value of a pointer that CUDA does not know.
    local fn cuPointerGetAttributes(count: u32, attributes[count]: In<u32>, places[count]: In<*mut c_void>, at: CUdeviceptr) {
        let attributes = attributes.all(count as usize)?;
        let places = places.all(count as usize)?;
        if attributes.iter().any(|attribute| !(1..=LAST).contains(attribute)) || count == 0 {
            return Err(Status::INVALID_VALUE.into());
        }
        let entry = super::find(at);
        for (attribute, place) in attributes.into_iter().zip(places) {
            let known = entry.as_ref().and_then(|entry| value(entry, attribute, at));
            put(place, attribute, known.unwrap_or_else(|| default_value(attribute)))?;
        }
        Ok(())
    }

    /// Sets the one attribute that can be set: that copies and fills of this memory that do not say that they are
    /// asynchronous wait until they are done.
    local fn cuPointerSetAttribute(new[attribute]: In<u32>, attribute: u32, at: CUdeviceptr) {
        let new = new.get()?;
        let start = super::find(at).map(|entry| entry.start);
        let start = start.filter(|_| attribute == SYNC_MEMOPS).ok_or(Status::INVALID_VALUE)?;
        if let Some(entry) = super::write().at_mut(start) {
            entry.sync_memops = new != 0;
            ANY_SYNC.fetch_or(new != 0, Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handles::Handle;

    fn entry(what: What) -> Entry {
        let context = Handle(77);
        Entry { start: 0x1000, len: 0x200, what, context, device: 3, id: 5, sync_memops: false }
    }

    #[test]
    fn device_memory_has_a_device_pointer_and_no_host_pointer() {
        let entry = entry(What::Device);
        let is = |attribute| value(&entry, attribute, 0x1010);
        assert_eq!([is(2), is(3), is(4)], [Some(2), Some(0x1010), None]);
        assert_eq!([is(1), is(9), is(11), is(12)], [Some(77), Some(3), Some(0x1000), Some(0x200)]);
        assert_eq!([is(5), is(0), is(22)], [None; 3]);
    }

    #[test]
    fn registered_memory_is_host_memory_that_the_device_does_not_reach() {
        let entry = entry(What::Registered { flags: 0 });
        let is = |attribute| value(&entry, attribute, 0x1010);
        assert_eq!([is(2), is(3), is(4), is(13)], [Some(1), None, Some(0x1010), Some(0)]);
    }
}
