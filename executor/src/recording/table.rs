//! The one table from CUDA names to kinds of step.

use xxhash_rust::xxh3::xxh3_64;

/// What a known CUDA function does, as far as replaying it is concerned.
///
/// Copies are not here: whatever its name, a call with a direction is a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepKind {
    /// Starts a kernel.
    Launch,
    /// Allocates device memory.
    Alloc,
    /// Frees device memory.
    Free,
    /// Allocates pinned host memory.
    HostAlloc,
    /// Frees pinned host memory.
    HostFree,
    /// Fills device memory.
    Memset,
    /// Creates a stream.
    StreamCreate,
    /// Destroys a stream.
    StreamDestroy,
    /// Waits for a stream.
    StreamSynchronize,
    /// Asks whether a stream is done.
    StreamQuery,
    /// Lets a stream wait for an event.
    StreamWaitEvent,
    /// Waits for the whole device.
    DeviceSynchronize,
    /// Creates an event.
    EventCreate,
    /// Destroys an event.
    EventDestroy,
    /// Records an event on a stream.
    EventRecord,
    /// Asks whether an event has happened.
    EventQuery,
    /// Waits for an event.
    EventSynchronize,
    /// Loads a module.
    ModuleLoad,
    /// Looks up a function of a module.
    FunctionLookup,
}

impl StepKind {
    /// Whether the call is meaningless without its reply.
    pub fn needs_reply(self) -> bool {
        use StepKind::*;
        matches!(
            self,
            StreamSynchronize | StreamQuery | DeviceSynchronize | EventQuery | EventSynchronize
        )
    }
}

/// Names without ABI suffixes (`_v2`, `_ptsz`, `_ptds`).
const TABLE: &[(StepKind, &[&str])] = &[
    (
        StepKind::Launch,
        &[
            "__cudaLaunchKernel",
            "cudaLaunchKernel",
            "cudaLaunchKernelExC",
            "cudaLaunchCooperativeKernel",
            "cuLaunchKernel",
            "cuLaunchKernelEx",
            "cuLaunchCooperativeKernel",
        ],
    ),
    (
        StepKind::Alloc,
        &[
            "cudaMalloc",
            "cudaMallocAsync",
            "cudaMallocFromPoolAsync",
            "cudaMallocManaged",
            "cudaMallocPitch",
            "cuMemAlloc",
            "cuMemAllocAsync",
            "cuMemAllocFromPoolAsync",
            "cuMemAllocManaged",
            "cuMemAllocPitch",
        ],
    ),
    (StepKind::Free, &["cudaFree", "cudaFreeAsync", "cuMemFree", "cuMemFreeAsync"]),
    (StepKind::HostAlloc, &["cudaHostAlloc", "cudaMallocHost", "cuMemHostAlloc", "cuMemAllocHost"]),
    (StepKind::HostFree, &["cudaFreeHost", "cuMemFreeHost"]),
    (
        StepKind::Memset,
        &[
            "cudaMemset",
            "cudaMemsetAsync",
            "cuMemsetD8",
            "cuMemsetD8Async",
            "cuMemsetD16",
            "cuMemsetD16Async",
            "cuMemsetD32",
            "cuMemsetD32Async",
        ],
    ),
    (
        StepKind::StreamCreate,
        &[
            "cudaStreamCreate",
            "cudaStreamCreateWithFlags",
            "cudaStreamCreateWithPriority",
            "cuStreamCreate",
            "cuStreamCreateWithPriority",
        ],
    ),
    (StepKind::StreamDestroy, &["cudaStreamDestroy", "cuStreamDestroy"]),
    (StepKind::StreamSynchronize, &["cudaStreamSynchronize", "cuStreamSynchronize"]),
    (StepKind::StreamQuery, &["cudaStreamQuery", "cuStreamQuery"]),
    (StepKind::StreamWaitEvent, &["cudaStreamWaitEvent", "cuStreamWaitEvent"]),
    (
        StepKind::DeviceSynchronize,
        &["cudaDeviceSynchronize", "cudaThreadSynchronize", "cuCtxSynchronize"],
    ),
    (StepKind::EventCreate, &["cudaEventCreate", "cudaEventCreateWithFlags", "cuEventCreate"]),
    (StepKind::EventDestroy, &["cudaEventDestroy", "cuEventDestroy"]),
    (
        StepKind::EventRecord,
        &["cudaEventRecord", "cudaEventRecordWithFlags", "cuEventRecord", "cuEventRecordWithFlags"],
    ),
    (StepKind::EventQuery, &["cudaEventQuery", "cuEventQuery"]),
    (StepKind::EventSynchronize, &["cudaEventSynchronize", "cuEventSynchronize"]),
    (
        StepKind::ModuleLoad,
        &[
            "cuModuleLoad",
            "cuModuleLoadData",
            "cuModuleLoadDataEx",
            "cuModuleLoadFatBinary",
            "cuLibraryLoadData",
            "cuLibraryLoadFromFile",
            "cudaLibraryLoadData",
            "cudaLibraryLoadFromFile",
        ],
    ),
    (
        StepKind::FunctionLookup,
        &[
            "cuModuleGetFunction",
            "cuLibraryGetKernel",
            "cuLibraryGetModule",
            "cuKernelGetFunction",
            "cudaLibraryGetKernel",
            "cudaGetFuncBySymbol",
            "__cudaGetKernel",
        ],
    ),
];

/// What the function `name` does, or `None` where the table has no row: such a call falls back by class.
pub fn step_kind(name: &str) -> Option<StepKind> {
    let base = base_name(name);
    TABLE.iter().find(|(_, names)| names.contains(&base)).map(|(kind, _)| *kind)
}

/// Every name the table knows, with its kind.
pub fn known_calls() -> impl Iterator<Item = (&'static str, StepKind)> {
    TABLE.iter().flat_map(|(kind, names)| names.iter().map(|name| (*name, *kind)))
}

/// The number by which an unknown function travels: XXH3 of its name as recorded.
pub fn call_hash(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}

/// `name` without the suffixes that mark an ABI revision or a per-thread default stream.
fn base_name(name: &str) -> &str {
    let name = name.strip_suffix("_ptsz").or_else(|| name.strip_suffix("_ptds")).unwrap_or(name);
    match name.rsplit_once("_v") {
        Some((base, digits))
            if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) =>
        {
            base
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_name_stands_in_one_row_and_finds_it() {
        let mut seen = HashSet::new();
        for (name, kind) in known_calls() {
            assert!(seen.insert(name), "{name} stands in two rows");
            assert_eq!(step_kind(name), Some(kind), "{name}");
        }
    }

    #[test]
    fn revisions_of_a_function_are_the_function() {
        assert_eq!(step_kind("cuMemAlloc_v2"), Some(StepKind::Alloc));
        assert_eq!(step_kind("cuStreamSynchronize_ptsz"), Some(StepKind::StreamSynchronize));
        assert_eq!(step_kind("cuStreamWaitEvent_v2_ptsz"), Some(StepKind::StreamWaitEvent));
        assert_eq!(step_kind("cudaMalloc_vast"), None);
        assert_eq!(step_kind("cudaMalloc_v"), None);
        assert_eq!(step_kind("cublasCreate_v2"), None);
    }
}
