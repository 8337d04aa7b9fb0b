//! Launches: what is checked before a kernel runs.

use crate::facts::{
    BLOCK_THREADS_MAX, CLUSTER_MAX, CLUSTER_MAX_ASKED, GRID_YZ_MAX, PROCESSORS, SHARED_BYTES_MAX,
};
use crate::functions::{register_limit, resident};
use crate::gpu::{MockGpu, twist};
use crate::kernel::Geometry;
use crate::module::Function;
use crate::work::{LAUNCH_NS, Launch, Work};
use ringbar_backend::Context;
use ringbar_vocabulary::*;

const INVALID_CLUSTER_SIZE: Status = Status(912);
const COOPERATIVE_LAUNCH_TOO_LARGE: Status = Status(720);

/// `CUlaunchAttributeID`.
const COOPERATIVE: u32 = 2;
const CLUSTER: u32 = 4;
const PROGRAMMATIC_EVENT: u32 = 7;
const COMPLETION_EVENT: u32 = 12;
const UPDATABLE_NODE: u32 = 13;
const LAST: u32 = 16;

/// What attributes ask for beyond the launch itself.
#[derive(Default)]
struct Extras {
    cooperative: bool,
    cluster: Option<[u32; 3]>,
    /// Events to record when the kernel is done.
    events: Vec<u32>,
}

/// Whether a block and grid can be launched at all.
#[inline]
pub(crate) fn check_geometry(geometry: &Geometry) -> Result<(), Status> {
    let &Geometry { grid, block, shared_bytes, .. } = geometry;
    let threads = block.iter().try_fold(1u64, |all, &n| all.checked_mul(u64::from(n)));
    let block_fits = threads.is_some_and(|n| (1..=u64::from(BLOCK_THREADS_MAX)).contains(&n));
    let [x, y, z] = grid;
    let grid_fits = x >= 1
        && x <= i32::MAX as u32
        && (1..=GRID_YZ_MAX).contains(&y)
        && (1..=GRID_YZ_MAX).contains(&z);
    if !block_fits || !grid_fits || block[2] > 64 || shared_bytes > SHARED_BYTES_MAX {
        return Err(Status::INVALID_VALUE);
    }
    Ok(())
}

/// Whether a function can be launched so.
#[inline]
pub(crate) fn check_function(
    function: &Function,
    geometry: &Geometry,
    params: usize,
) -> Result<(), Status> {
    let facts = &function.kernel.facts;
    if params != function.kernel.param_bytes || geometry.shared_bytes > function.shared_max {
        return Err(Status::INVALID_VALUE);
    }
    // Checked to be at most 1,024.
    let threads = geometry.block.iter().product::<u32>();
    if threads > facts.max_threads {
        return Err(Status::INVALID_VALUE);
    }
    if threads > register_limit(facts) {
        return Err(Status::LAUNCH_OUT_OF_RESOURCES);
    }
    match facts.cluster {
        Some(cluster) => check_cluster(function, geometry, cluster),
        None => Ok(()),
    }
}

fn check_cluster(
    function: &Function,
    geometry: &Geometry,
    cluster: [u32; 3],
) -> Result<(), Status> {
    let whole = cluster.iter().zip(geometry.grid).all(|(&n, grid)| n > 0 && grid % n == 0);
    let size = cluster.iter().try_fold(1u32, |all, &n| all.checked_mul(n));
    let large = function.settings.large_clusters != 0;
    let largest = if large { CLUSTER_MAX_ASKED } else { CLUSTER_MAX };
    let fits = size.is_some_and(|size| size <= largest);
    if whole && fits { Ok(()) } else { Err(INVALID_CLUSTER_SIZE) }
}

fn word(value: &[u8], index: usize) -> u32 {
    let bytes = value.get(index * 4..).and_then(|rest| rest.first_chunk::<4>());
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// Reads the attributes as `CUlaunchAttribute` lies in memory: a number, then 64 bytes of value.
fn extras(records: &[u8]) -> Result<Extras, Status> {
    let mut extras = Extras::default();
    for record in records.chunks_exact(LAUNCH_ATTRIBUTE_BYTES) {
        let (id, value) = (word(record, 0), &record[8..]);
        match id {
            COOPERATIVE => extras.cooperative = word(value, 0) != 0,
            CLUSTER => extras.cluster = Some([word(value, 0), word(value, 1), word(value, 2)]),
            PROGRAMMATIC_EVENT | COMPLETION_EVENT => extras.events.push(word(value, 0)),
            UPDATABLE_NODE if word(value, 0) != 0 => return Err(Status::NOT_SUPPORTED),
            // What is left says how to run, and changes no result.
            0..=LAST => {}
            _ => return Err(Status::INVALID_VALUE),
        }
    }
    Ok(extras)
}

impl MockGpu {
    #[inline]
    pub(crate) fn launch_kernel(
        &mut self,
        cx: &mut Context<'_>,
        command: LaunchKernel<'_>,
    ) -> Result<(), Status> {
        let serial = self.stream(command.stream)?;
        let LaunchKernel { grid, block, shared_bytes, stream, .. } = command;
        let geometry = Geometry { grid, block, shared_bytes, stream };
        check_geometry(&geometry)?;
        let capturing = self.is_capturing(stream)?;
        let function = self.functions.get(command.function.0)?;
        let params = cx.tail(command.params, &mut self.scratch, PARAM_BLOCK_MAX_BYTES)?;
        check_function(function, &geometry, params.len())?;
        if capturing {
            let (kernel, params) = (function.kernel.clone(), params.into());
            let launch = Launch { function: command.function, kernel, params, geometry };
            return self.capture(stream, Work::Kernel(launch));
        }
        self.counts.launches += 1;
        self.clock_ns += LAUNCH_NS;
        let twist = twist(&self.config.faults, self.counts.launches);
        let result = self.engine.launch(cx, serial, &function.kernel, params, geometry, twist);
        result.inspect_err(|&status| self.lost = Some(status))
    }

    pub(crate) fn launch_kernel_ex(
        &mut self,
        cx: &mut Context<'_>,
        command: LaunchKernelEx<'_>,
    ) -> Result<(), Status> {
        self.stream(command.stream)?;
        let LaunchKernelEx { grid, block, shared_bytes, stream, .. } = command;
        let geometry = Geometry { grid, block, shared_bytes, stream };
        check_geometry(&geometry)?;
        if command.attributes > LAUNCH_ATTRIBUTES_MAX {
            return Err(Status::INVALID_VALUE);
        }
        let records = command.attributes as usize * LAUNCH_ATTRIBUTE_BYTES;
        let function = self.functions.get(command.function.0)?;
        let limit = PARAM_BLOCK_MAX_BYTES + records;
        let body = cx.tail(command.body, &mut self.scratch, limit)?;
        let (records, params) = body.split_at_checked(records).ok_or(Status::INVALID_VALUE)?;
        check_function(function, &geometry, params.len())?;
        let extras = extras(records)?;
        if let Some(cluster) = extras.cluster {
            check_cluster(function, &geometry, cluster)?;
        }
        if extras.cooperative {
            let threads = block.iter().product();
            let most = resident(&function.kernel.facts, threads, shared_bytes.into()) * PROCESSORS;
            let blocks: u64 = grid.iter().map(|&n| u64::from(n)).product();
            if blocks > u64::from(most) {
                return Err(COOPERATIVE_LAUNCH_TOO_LARGE);
            }
        }
        let (kernel, params) = (function.kernel.clone(), params.into());
        let launch = Launch { function: command.function, kernel, params, geometry };
        self.issue(cx, stream, Work::Kernel(launch))?;
        for event in extras.events {
            self.events.get(event)?;
            self.issue(cx, stream, Work::Record { event })?;
        }
        Ok(())
    }
}
