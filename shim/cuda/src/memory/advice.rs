//! Prefetching and advice for managed memory, as CUDA says them for devices that cannot use it at the same time as the host
//! (`CONCURRENT_MANAGED_ACCESS` 0, which every device says here): nothing is moved to a device, and such a device can be no
//! preferred place.

use super::pool::CUmemLocation;
use super::range;
use crate::arg::In;
use crate::device;
use crate::failure::Outcome;
use crate::stream::{Working, working};
use crate::types::{CUdevice, CUdeviceptr, CUstream, DefaultStream};
use ringbar_vocabulary::Status;

/// `CU_DEVICE_CPU`.
const CPU: CUdevice = -1;
/// `CU_MEM_LOCATION_TYPE_DEVICE`, `_HOST`, `_HOST_NUMA` and `_HOST_NUMA_CURRENT`.
const DEVICE: u32 = 1;
const HOST: u32 = 2;
const HOST_NUMA: u32 = 3;
const HOST_NUMA_CURRENT: u32 = 4;
/// `CU_MEM_ADVISE_*`: that it is mostly read and no longer, the place it should be in and no longer, who uses it and no
/// longer.
const READ_MOSTLY: u32 = 1;
const NOT_READ_MOSTLY: u32 = 2;
const PLACE: u32 = 3;
const NO_PLACE: u32 = 4;
const USER: u32 = 5;
const NO_USER: u32 = 6;

/// A place as the first forms of the functions name it.
fn place(device: CUdevice) -> CUmemLocation {
    match device {
        CPU => CUmemLocation { kind: HOST, id: 0 },
        id => CUmemLocation { kind: DEVICE, id },
    }
}

/// INVALID_VALUE for what is not managed memory, all of it.
pub(super) fn check_managed(at: CUdeviceptr, bytes: usize) -> Outcome {
    let map = super::read();
    let managed = bytes > 0 && map.covers(at, bytes as u64, |entry| entry.is_managed());
    if managed { Ok(()) } else { Err(Status::INVALID_VALUE.into()) }
}

/// Whether it is a place of the host's. INVALID_DEVICE for a device that is not there, INVALID_VALUE for no place.
fn is_of_host(place: CUmemLocation) -> Outcome<bool> {
    match place.kind {
        HOST | HOST_NUMA | HOST_NUMA_CURRENT => Ok(true),
        DEVICE => device::resolve(place.id).map(|_| false),
        _ => Err(Status::INVALID_VALUE.into()),
    }
}

fn prefetch(
    (at, bytes): (CUdeviceptr, usize),
    place: CUmemLocation,
    flags: u32,
    stream: CUstream,
    flavour: DefaultStream,
) -> Outcome {
    working(stream, flavour)?;
    check_managed(at, bytes)?;
    if flags != 0 {
        return Err(Status::INVALID_VALUE.into());
    }
    is_of_host(place)?;
    // Neither the place nor the stream may belong to a device that cannot use managed memory beside the host.
    Err(Status::INVALID_DEVICE.into())
}

/// Ranges of managed memory.
struct Ranges {
    starts: In<CUdeviceptr>,
    sizes: In<usize>,
    count: usize,
}

/// Places, each for the ranges from a number on.
struct Places {
    places: In<CUmemLocation>,
    firsts: In<usize>,
    count: usize,
}

impl Ranges {
    /// What all batches come to, for a device that cannot use managed memory at the same time as the host: an error, here that
    /// of a prefetch. INVALID_VALUE for what no device would take.
    fn refuse(&self, flags: u64, stream: &Working) -> Outcome {
        if self.count == 0 || flags != 0 || stream.is_legacy() {
            return Err(Status::INVALID_VALUE.into());
        }
        let sizes = self.sizes.all(self.count)?;
        let mut ranges = self.starts.all(self.count)?.into_iter().zip(sizes);
        ranges.try_for_each(|(at, bytes)| check_managed(at, bytes))?;
        Err(Status::INVALID_DEVICE.into())
    }
}

impl Places {
    /// INVALID_VALUE unless each is a place, and every range has one.
    fn check(&self, ranges: &Ranges) -> Outcome {
        let firsts = match self.count {
            1.. if self.count <= ranges.count => self.firsts.all(self.count)?,
            _ => return Err(Status::INVALID_VALUE.into()),
        };
        let ends = firsts.iter().skip(1).chain([&ranges.count]);
        if firsts[0] != 0 || !firsts.iter().zip(ends).all(|(first, end)| first < end) {
            return Err(Status::INVALID_VALUE.into());
        }
        self.places.all(self.count)?.into_iter().try_for_each(|place| is_of_host(place).map(drop))
    }
}

fn advise(at: CUdeviceptr, bytes: usize, advice: u32, place: CUmemLocation) -> Outcome {
    check_managed(at, bytes)?;
    let remember = |change: &dyn Fn(&mut range::Advised)| range::advise(at, bytes as u64, change);
    match advice {
        // The place is not looked at.
        NO_PLACE => remember(&|advised| advised.place = None),
        READ_MOSTLY => remember(&|advised| advised.read_mostly = true),
        NOT_READ_MOSTLY => remember(&|advised| advised.read_mostly = false),
        // The memory is where the host has it, which is what these ask for.
        PLACE if is_of_host(place)? => {
            remember(&|advised| advised.place = Some((place.kind, place.id)));
        }
        USER if is_of_host(place)? => remember(&|advised| advised.host_uses = true),
        PLACE | USER => return Err(Status::INVALID_DEVICE.into()),
        NO_USER => {
            if is_of_host(place)? {
                remember(&|advised| advised.host_uses = false);
            }
        }
        _ => return Err(Status::INVALID_VALUE.into()),
    }
    Ok(())
}

stream_entry! {
    /// Moves managed memory: INVALID_DEVICE, as from every device that cannot use it at the same time as the host.
    local fn cuMemPrefetchAsync | cuMemPrefetchAsync_ptsz[flavour](at: CUdeviceptr, bytes: usize, device: CUdevice, stream: CUstream) {
        prefetch((at, bytes), place(device), 0, stream, flavour)
    }

    /// The same with a place by kind and number.
    local fn cuMemPrefetchAsync_v2 | cuMemPrefetchAsync_v2_ptsz[flavour](at: CUdeviceptr, bytes: usize, place: CUmemLocation, flags: u32, stream: CUstream) {
        prefetch((at, bytes), place, flags, stream, flavour)
    }

    /// Moves ranges of managed memory: an error, as of one range.
    local fn cuMemPrefetchBatchAsync | cuMemPrefetchBatchAsync_ptsz[flavour](starts[count]: In<CUdeviceptr>, sizes[count]: In<usize>, count: usize, places[place_count]: In<CUmemLocation>, firsts[place_count]: In<usize>, place_count: usize, flags: u64, stream: CUstream) {
        let (ranges, stream) = (Ranges { starts, sizes, count }, working(stream, flavour)?);
        Places { places, firsts, count: place_count }.check(&ranges)?;
        ranges.refuse(flags, &stream)
    }

    /// Says that nobody needs what ranges of managed memory hold: an error, as CUDA says for such devices.
    local fn cuMemDiscardBatchAsync | cuMemDiscardBatchAsync_ptsz[flavour](starts[count]: In<CUdeviceptr>, sizes[count]: In<usize>, count: usize, flags: u64, stream: CUstream) {
        Ranges { starts, sizes, count }.refuse(flags, &working(stream, flavour)?)
    }

    /// Both.
    local fn cuMemDiscardAndPrefetchBatchAsync | cuMemDiscardAndPrefetchBatchAsync_ptsz[flavour](starts[count]: In<CUdeviceptr>, sizes[count]: In<usize>, count: usize, places[place_count]: In<CUmemLocation>, firsts[place_count]: In<usize>, place_count: usize, flags: u64, stream: CUstream) {
        let (ranges, stream) = (Ranges { starts, sizes, count }, working(stream, flavour)?);
        Places { places, firsts, count: place_count }.check(&ranges)?;
        ranges.refuse(flags, &stream)
    }
}

entry! {
    /// Advice on managed memory. It stays with the host, so what asks for that is followed; INVALID_DEVICE for advice that
    /// names a device.
    local fn cuMemAdvise(at: CUdeviceptr, bytes: usize, advice: u32, device: CUdevice) {
        advise(at, bytes, advice, place(device))
    }

    /// The same with a place by kind and number.
    local fn cuMemAdvise_v2(at: CUdeviceptr, bytes: usize, advice: u32, place: CUmemLocation) {
        advise(at, bytes, advice, place)
    }
}
