//! Launches: their parameters, and attributes translated.

use crate::api::{LaunchAttribute, Raw};
use crate::launches::point;
use crate::live::{Live, Owned};
use cudarc::driver::sys::{CUlaunchAttributeID as Id, CUlaunchConfig};
use ringbar_backend::Context;
use ringbar_backend::table::Table;
use ringbar_vocabulary::*;
use std::ffi::c_void;

/// `CU_LAUNCH_PARAM_BUFFER_POINTER`, `..._SIZE`, `..._END`.
pub const PARAM_BUFFER_POINTER: usize = 1;
pub const PARAM_BUFFER_SIZE: usize = 2;
const PARAM_END: usize = 0;
/// The most bytes of a launch's tail: attributes, then parameters.
const BODY_MAX_BYTES: usize =
    LAUNCH_ATTRIBUTES_MAX as usize * LAUNCH_ATTRIBUTE_BYTES + PARAM_BLOCK_MAX_BYTES;

/// A parameter block as the driver takes it.
pub struct Extra<'p> {
    params: &'p [u8],
    size: usize,
    list: [*mut c_void; 5],
}

impl<'p> Extra<'p> {
    pub fn new(params: &'p [u8]) -> Self {
        Self { params, size: params.len(), list: [std::ptr::null_mut(); 5] }
    }

    /// The list for `extra`; null where there are no parameters. Valid while `self` stays where it is.
    pub fn list(&mut self) -> *mut *mut c_void {
        if self.params.is_empty() {
            return std::ptr::null_mut();
        }
        let word = std::ptr::without_provenance_mut;
        self.list = [
            word(PARAM_BUFFER_POINTER),
            self.params.as_ptr().cast_mut().cast(),
            word(PARAM_BUFFER_SIZE),
            (&raw mut self.size).cast(),
            word(PARAM_END),
        ];
        self.list.as_mut_ptr()
    }
}

/// A configuration for the driver.
pub fn config(
    (grid, block): ([u32; 3], [u32; 3]),
    shared: u32,
    stream: Raw,
    attributes: &mut [LaunchAttribute],
) -> CUlaunchConfig {
    CUlaunchConfig {
        gridDimX: grid[0],
        gridDimY: grid[1],
        gridDimZ: grid[2],
        blockDimX: block[0],
        blockDimY: block[1],
        blockDimZ: block[2],
        sharedMemBytes: shared,
        hStream: std::ptr::with_exposed_provenance_mut(stream),
        attrs: attributes.as_mut_ptr().cast(),
        numAttrs: attributes.len() as u32,
    }
}

/// The attribute for a cluster of that size; none for zeros.
pub fn cluster_attribute(cluster: [u32; 3]) -> Vec<LaunchAttribute> {
    if cluster == [0; 3] {
        return Vec::new();
    }
    let id = Id::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION as u32;
    let mut value = [0; 8];
    value[0] = u64::from(cluster[0]) | u64::from(cluster[1]) << 32;
    value[1] = u64::from(cluster[2]);
    vec![LaunchAttribute { id, pad: 0, value }]
}

/// Attributes whose values are plain numbers.
const PLAIN: [Id; 11] = [
    Id::CU_LAUNCH_ATTRIBUTE_IGNORE,
    Id::CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW,
    Id::CU_LAUNCH_ATTRIBUTE_COOPERATIVE,
    Id::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION,
    Id::CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE,
    Id::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
    Id::CU_LAUNCH_ATTRIBUTE_PRIORITY,
    Id::CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP,
    Id::CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN,
    Id::CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION,
    Id::CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT,
];

/// Attributes whose value begins with an event, here as its number.
const WITH_EVENT: [Id; 2] =
    [Id::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_EVENT, Id::CU_LAUNCH_ATTRIBUTE_LAUNCH_COMPLETION_EVENT];

/// NOT_SUPPORTED for an attribute of streams or nodes whose value holds a handle of the driver's: such values travel as they
/// are, and what a client writes is no handle.
pub fn check_plain(attribute: u32) -> Result<(), Status> {
    let [first, second] = WITH_EVENT;
    let with_handle = [first, second, Id::CU_LAUNCH_ATTRIBUTE_DEVICE_UPDATABLE_KERNEL_NODE];
    if with_handle.iter().any(|&id| id as u32 == attribute) {
        tracing::warn!(
            attribute,
            "an attribute with a handle of the driver's, which is not supported here"
        );
        return Err(Status::NOT_SUPPORTED);
    }
    Ok(())
}

/// Reads attributes as they travel, with events as handles.
///
/// # Errors
/// NOT_SUPPORTED for one that is not known here, INVALID_HANDLE for an event that does not exist.
pub fn translate(bytes: &[u8], events: &Table<Owned>) -> Result<Vec<LaunchAttribute>, Status> {
    bytes.chunks_exact(LAUNCH_ATTRIBUTE_BYTES).map(|one| attribute(one, events)).collect()
}

fn attribute(bytes: &[u8], events: &Table<Owned>) -> Result<LaunchAttribute, Status> {
    let word =
        |at: usize| bytes[at..].first_chunk().map_or(0, |word: &[u8; 8]| u64::from_le_bytes(*word));
    let id = word(0) as u32;
    let mut value: [u64; 8] = std::array::from_fn(|n| word(8 + 8 * n));
    if WITH_EVENT.iter().any(|&known| known as u32 == id) {
        let number = u32::try_from(value[0]).map_err(|_| Status::INVALID_HANDLE)?;
        value[0] = events.get(number)?.raw as u64;
    } else if !PLAIN.iter().any(|&known| known as u32 == id) {
        tracing::warn!(id, "a launch attribute that is not supported");
        return Err(Status::NOT_SUPPORTED);
    }
    Ok(LaunchAttribute { id, pad: 0, value })
}

impl Live {
    /// Launches one block of one thread into a stream so many times, with nothing but the driver's own call for each: what a
    /// worker's launch is measured against.
    pub fn bare_launches(
        &mut self,
        function: FunctionId,
        stream: StreamId,
        params: &[u8],
        count: u32,
    ) -> Result<(), Status> {
        let stream = self.stream(stream)?;
        let function = self.functions.get(function.0)?;
        let (mut pointers, none) = ([std::ptr::null_mut(); _], std::ptr::null_mut());
        let places = function.layout.iter().map(|param| param.offset);
        let list = point(params, places, &mut pointers).ok_or(Status::INVALID_VALUE)?;
        for _ in 0..count {
            // SAFETY: a pointer to each parameter of a block that lives through the call.
            unsafe {
                self.api.cuLaunchKernel(function.raw, 1, 1, 1, 1, 1, 1, 0, stream, list, none)
            }?;
        }
        Ok(())
    }

    /// Has a launch wait for [`Live::launch_waiting`].
    pub fn add_launch(&mut self, cx: &mut Context<'_>, c: &LaunchKernel<'_>) -> Result<(), Status> {
        let stream = match self.launches.stream() {
            Some(stream) => stream,
            None => self.stream(c.stream)?,
        };
        let function = self.functions.get(c.function.0)?;
        self.counts.launches += 1;
        let params = cx.tail(c.params, &mut self.scratch, PARAM_BLOCK_MAX_BYTES)?;
        let params = check_params(params, function.param_bytes)?;
        let kernel = (function.raw, &*function.layout);
        self.launches.add(kernel, stream, c, params, cx.position());
        Ok(())
    }

    /// Gives all launches that wait to the driver, and latches what fails.
    ///
    /// # Errors
    /// A failure that ends the device.
    pub fn launch_waiting(&mut self) -> Result<(), Status> {
        let services = self.services.as_deref();
        self.launches.launch_all(&self.api, |position, status| {
            if let Some(services) = services {
                services.errors.latch(position, status);
            }
        })
    }

    pub fn launch_kernel_ex(
        &mut self,
        cx: &mut Context<'_>,
        c: LaunchKernelEx<'_>,
    ) -> Result<(), Status> {
        let stream = self.stream(c.stream)?;
        let function = self.functions.get(c.function.0)?;
        if c.attributes > LAUNCH_ATTRIBUTES_MAX {
            return Err(Status::INVALID_VALUE);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let body = cx.tail(c.body, &mut scratch, BODY_MAX_BYTES);
        let launched = body.and_then(|body| {
            let split = body.split_at_checked(c.attributes as usize * LAUNCH_ATTRIBUTE_BYTES);
            let (attributes, params) = split.ok_or(Status::INVALID_VALUE)?;
            let params = check_params(params, function.param_bytes)?;
            let mut attributes = translate(attributes, &self.events)?;
            let config = config((c.grid, c.block), c.shared_bytes, stream, &mut attributes);
            let (mut extra, mut pointers) = (Extra::new(params), [std::ptr::null_mut(); _]);
            let places = function.layout.iter().map(|param| param.offset);
            let (list, extra) = match point(params, places, &mut pointers) {
                Some(list) => (list, std::ptr::null_mut()),
                None => (std::ptr::null_mut(), extra.list()),
            };
            // SAFETY: a configuration with its attributes, and pointers to parameters or a list with their block, all of this
            // frame.
            unsafe { self.api.cuLaunchKernelEx(&config, function.raw, list, extra) }
        });
        self.scratch = scratch;
        self.counts.launches += 1;
        launched
    }
}

/// The parameter block of a function that takes `param_bytes`: as long, or padded as a structure is, to 8 bytes. One that is
/// too short would have the driver read on behind it.
///
/// # Errors
/// INVALID_VALUE for any other length.
pub fn check_params(params: &[u8], param_bytes: u32) -> Result<&[u8], Status> {
    let bytes = param_bytes as usize;
    if params.len() > bytes.next_multiple_of(8) {
        return Err(Status::INVALID_VALUE);
    }
    params.get(..bytes).ok_or(Status::INVALID_VALUE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u32, first: u64) -> Vec<u8> {
        let mut bytes = vec![0; LAUNCH_ATTRIBUTE_BYTES];
        bytes[..4].copy_from_slice(&id.to_le_bytes());
        bytes[8..16].copy_from_slice(&first.to_le_bytes());
        bytes[64..72].copy_from_slice(&7_u64.to_le_bytes());
        bytes
    }

    #[test]
    fn plain_attributes_travel_as_they_are_and_events_become_handles() {
        let mut events = Table::default();
        events.insert(3, Owned { raw: 0xabc0, context: ContextId::FIRST });
        let bytes = [record(2, 1), record(7, 3), record(12, 3)].concat();
        let found = translate(&bytes, &events).unwrap();
        let firsts: Vec<_> = found.iter().map(|one| (one.id, one.value[0], one.value[7])).collect();
        assert_eq!(firsts, [(2, 1, 7), (7, 0xabc0, 7), (12, 0xabc0, 7)]);
    }

    #[test]
    fn unknown_attributes_and_events_are_refused() {
        let events = Table::default();
        for id in [13, 15, 99, u32::MAX] {
            assert_eq!(translate(&record(id, 0), &events), Err(Status::NOT_SUPPORTED), "{id}");
        }
        assert_eq!(translate(&record(7, 3), &events), Err(Status::INVALID_HANDLE));
        assert_eq!(translate(&record(12, 1 << 32), &events), Err(Status::INVALID_HANDLE));
    }

    #[test]
    fn a_parameter_block_is_named_with_its_size_and_an_empty_one_not_at_all() {
        let params = [1_u8, 2, 3];
        let mut extra = Extra::new(&params);
        assert!(!extra.list().is_null());
        let [first, at, second, size, end] = extra.list;
        assert_eq!((first.addr(), second.addr(), end.addr()), (1, 2, 0));
        assert_eq!(
            (at.addr(), size.addr()),
            (params.as_ptr().addr(), (&raw const extra.size).addr())
        );
        assert!(Extra::new(&[]).list().is_null());
    }

    #[test]
    fn only_a_parameter_block_of_the_right_length_reaches_the_driver() {
        let block = [0; 32];
        for len in [0, 11, 17, 20, 32] {
            assert_eq!(check_params(&block[..len], 12), Err(Status::INVALID_VALUE), "{len}");
        }
        for len in [12, 13, 16] {
            assert_eq!(check_params(&block[..len], 12), Ok(&block[..12]), "{len}");
        }
        assert_eq!(check_params(&[], 0), Ok(&[][..]));
    }

    #[test]
    fn a_cluster_is_an_attribute_of_three_numbers() {
        assert!(cluster_attribute([0; 3]).is_empty());
        let found = cluster_attribute([2, 3, 4]);
        assert_eq!((found[0].id, found[0].value[0], found[0].value[1]), (4, 2 | 3 << 32, 4));
    }
}
