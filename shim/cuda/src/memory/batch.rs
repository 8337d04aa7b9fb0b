//! Copies by the batch: each is checked before the first one is made.

use super::copy::{self, Return};
use super::place::{Declared, Place, classify};
use super::pool::CUmemLocation;
use crate::arg::{In, Out};
use crate::capturing;
use crate::failure::Outcome;
use crate::session;
use crate::stream::{Working, working};
use crate::types::{CUdeviceptr, CUstream, DefaultStream};
use ringbar_vocabulary::Status;

/// `CUmemcpyAttributes`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CUmemcpyAttributes {
    /// `CUmemcpySrcAccessOrder`.
    source_order: u32,
    /// Hints, of which none concerns memory that is here.
    _places: [CUmemLocation; 2],
    /// `CUmemcpyFlags`.
    flags: u32,
}
const _: () = assert!(size_of::<CUmemcpyAttributes>() == 24);

/// `CU_MEMCPY_SRC_ACCESS_ORDER_STREAM`, `_DURING_API_CALL` and `_ANY`.
pub(super) const ORDERS: [u32; 3] = [1, 2, 3];
pub(super) const DURING_CALL: u32 = 2;
/// `CU_MEMCPY_FLAG_PREFER_OVERLAP_WITH_COMPUTE`: a hint.
pub(super) const FLAGS: u32 = 1;

/// The arguments of a batch.
#[derive(Clone, Copy)]
struct Batch {
    ends: [In<CUdeviceptr>; 2],
    sizes: In<usize>,
    count: usize,
    attributes: In<CUmemcpyAttributes>,
    firsts: In<usize>,
    attribute_count: usize,
}

/// One copy that was checked.
struct Planned {
    dst: Place,
    src: Place,
    bytes: u64,
    /// Whether the source may be gone when the function has returned.
    during_call: bool,
}

impl Batch {
    /// Which attributes each copy has: each entry counts from its first copy to the next entry's.
    fn attributes(&self) -> Outcome<Vec<CUmemcpyAttributes>> {
        let refused = Err(Status::INVALID_VALUE.into());
        if self.count == 0 || self.attribute_count == 0 || self.attribute_count > self.count {
            return refused;
        }
        let entries = self.attributes.all(self.attribute_count)?;
        let firsts = self.firsts.all(self.attribute_count)?;
        let ascending = firsts.windows(2).all(|pair| pair[0] < pair[1]);
        let inside = firsts[0] == 0 && firsts[firsts.len() - 1] < self.count;
        let known = |entry: &CUmemcpyAttributes| {
            ORDERS.contains(&entry.source_order) && entry.flags & !FLAGS == 0
        };
        if !ascending || !inside || !entries.iter().all(known) {
            return refused;
        }
        let ends = firsts.iter().skip(1).copied().chain([self.count]);
        let counts = firsts.iter().zip(ends).map(|(first, end)| end - first);
        Ok(entries.into_iter().zip(counts).flat_map(|(entry, count)| vec![entry; count]).collect())
    }

    /// Checks all copies; says which one is refused, if it is one.
    fn plan(&self, failed: &mut usize) -> Outcome<Vec<Planned>> {
        let attributes = self.attributes()?;
        let [dsts, srcs] = [self.ends[0].all(self.count)?, self.ends[1].all(self.count)?];
        let sizes = self.sizes.all(self.count)?;
        let map = super::read();
        let mut planned = Vec::with_capacity(self.count);
        for (at, attributes) in attributes.into_iter().enumerate() {
            let bytes = sizes[at] as u64;
            let place = |end| classify(&map, end, bytes, Declared::Any);
            let ends = place(dsts[at]).and_then(|dst| Ok((dst, place(srcs[at])?)));
            let (dst, src) = ends.inspect_err(|_| *failed = at)?;
            let during_call = attributes.source_order == DURING_CALL;
            planned.push(Planned { dst, src, bytes, during_call });
        }
        Ok(planned)
    }

    fn run(&self, stream: &Working, failed: &mut usize) -> Outcome {
        if stream.is_legacy() {
            return Err(Status::INVALID_VALUE.into());
        }
        let planned = self.plan(failed)?;
        let live = session::live()?;
        for (at, Planned { dst, src, bytes, .. }) in planned.iter().enumerate() {
            if *bytes > 0 {
                let copied = copy::run(live, *dst, *src, *bytes, stream, Return::Early);
                copied.inspect_err(|_| *failed = at)?;
            }
        }
        let ephemeral = planned.iter().any(|copy| copy.during_call && copy.src.is_pinned());
        if ephemeral { read_sources(stream) } else { Ok(()) }
    }
}

/// Waits until pinned sources that may be gone after the call were read; others were read already. A capture reads nothing.
pub(super) fn read_sources(stream: &Working) -> Outcome {
    if !capturing::is_capturing(stream)? {
        session::live()?.session.synchronise(stream.id)?;
    }
    Ok(())
}

/// The same for a function that wants to know which copy failed: the largest number if none of them did.
fn run(batch: Batch, failed: Out<usize>, stream: CUstream, flavour: DefaultStream) -> Outcome {
    let mut at = usize::MAX;
    let outcome = working(stream, flavour).and_then(|stream| batch.run(&stream, &mut at));
    if outcome.is_err() {
        failed.set_if_wanted(at);
    }
    outcome
}

stream_entry! {
    /// Copies by the batch, in stream order as a whole.
    post fn cuMemcpyBatchAsync_v2 | cuMemcpyBatchAsync_v2_ptsz[flavour](dsts[count]: In<CUdeviceptr>, srcs[count]: In<CUdeviceptr>, sizes[count]: In<usize>, count: usize, attributes[attribute_count]: In<CUmemcpyAttributes>, firsts[attribute_count]: In<usize>, attribute_count: usize, stream: CUstream) {
        let batch = Batch { ends: [dsts, srcs], sizes, count, attributes, firsts, attribute_count };
        run(batch, Out::null(), stream, flavour)
    }

    /// The same, as CUDA 12.8 spelled it: it says which copy was refused.
    post fn cuMemcpyBatchAsync | cuMemcpyBatchAsync_ptsz[flavour](dsts[count]: In<CUdeviceptr>, srcs[count]: In<CUdeviceptr>, sizes[count]: In<usize>, count: usize, attributes[attribute_count]: In<CUmemcpyAttributes>, firsts[attribute_count]: In<usize>, attribute_count: usize, failed: Out<usize>, stream: CUstream) {
        let batch = Batch { ends: [dsts, srcs], sizes, count, attributes, firsts, attribute_count };
        run(batch, failed, stream, flavour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(source_order: u32, flags: u32) -> CUmemcpyAttributes {
        CUmemcpyAttributes { source_order, _places: Default::default(), flags }
    }

    fn orders(count: usize, entries: &[CUmemcpyAttributes], firsts: &[usize]) -> Option<Vec<u32>> {
        let nothing = In::null();
        let attributes = In::at_address(entries.as_ptr());
        let attribute_count = entries.len();
        let firsts = In::at_address(firsts.as_ptr());
        let batch = Batch {
            ends: [nothing; 2],
            sizes: In::null(),
            count,
            attributes,
            firsts,
            attribute_count,
        };
        let found = batch.attributes().ok()?;
        Some(found.iter().map(|entry| entry.source_order).collect())
    }

    #[test]
    fn attributes_hold_from_their_first_copy_to_the_next_entrys() {
        let entries = [entry(1, 0), entry(3, 1)];
        assert_eq!(orders(3, &entries, &[0, 2]), Some(vec![1, 1, 3]));
        assert_eq!(orders(2, &entries[..1], &[0]), Some(vec![1, 1]));
    }

    #[test]
    fn attributes_that_leave_copies_out_or_are_none_are_refused() {
        let entries = [entry(1, 0), entry(3, 0)];
        for firsts in [[1, 2], [0, 0], [0, 3]] {
            assert_eq!(orders(3, &entries, &firsts), None, "{firsts:?}");
        }
        assert_eq!(orders(1, &entries, &[0, 1]), None);
        assert_eq!(orders(0, &entries[..1], &[0]), None);
        assert_eq!(orders(3, &[], &[]), None);
        assert_eq!(orders(1, &[entry(0, 0)], &[0]), None);
        assert_eq!(orders(1, &[entry(1, 2)], &[0]), None);
    }
}
