//! How many blocks fit: the executor's driver knows.

use super::{CUlaunchAttribute, CUlaunchConfig, resolve_here};
use crate::arg::{In, Out};
use crate::failure::Outcome;
use crate::session::live;
use crate::stream;
use crate::types::{CUfunction, DefaultStream};
use ringbar_vocabulary::{
    OccupancyBlockSize, OccupancyBlocks, OccupancyClusters, OccupancySharedBytes, Status,
};

/// `CUoccupancyB2DSize`: how much dynamic shared memory a block of that many threads takes.
pub type CUoccupancyB2DSize = Option<unsafe extern "C" fn(i32) -> usize>;

/// `CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION`.
const CLUSTER_DIMENSION: u32 = 4;
const WARP: i32 = 32;

fn blocks(function: CUfunction, threads: i32, shared_bytes: usize, flags: u32) -> Outcome<u32> {
    let function = resolve_here(function)?.id;
    if threads <= 0 || flags > 1 {
        return Err(Status::INVALID_VALUE.into());
    }
    let ask = OccupancyBlocks {
        function,
        block_threads: threads as u32,
        shared_bytes: shared_bytes as u64,
        flags,
    };
    Ok(live()?.call(&ask)?.blocks)
}

/// The smallest grid that fills the device, and the block size that keeps most threads resident.
fn block_size(
    function: CUfunction,
    shared: (CUoccupancyB2DSize, usize),
    limit: i32,
    flags: u32,
) -> Outcome<(i32, i32)> {
    if limit < 0 || flags > 1 {
        return Err(Status::INVALID_VALUE.into());
    }
    let Some(of_block) = shared.0 else {
        let function = resolve_here(function)?.id;
        let ask = OccupancyBlockSize {
            function,
            limit: limit as u32,
            shared_bytes: shared.1 as u64,
            flags,
        };
        let found = live()?.call(&ask)?;
        return Ok((found.min_grid as i32, found.block as i32));
    };
    search(function, of_block, limit, flags)
}

/// With a shared memory that depends on the block size every size is tried, the largest first, as CUDA's own header does.
fn search(
    function: CUfunction,
    of_block: unsafe extern "C" fn(i32) -> usize,
    limit: i32,
    flags: u32,
) -> Outcome<(i32, i32)> {
    let found = resolve_here(function)?;
    let context = found.module.context;
    let most = found.attribute(0)?.min(context.limits.threads as i32);
    let most = if limit == 0 { most } else { most.min(limit) };
    let device = crate::device::resolve(context.visible)?;
    let (per_processor, processors) =
        (device.attribute(39).unwrap_or(2048), device.attribute(16).unwrap_or(1));
    let mut best = (0, 0, 0);
    for step in (1..=(most + WARP - 1) / WARP).rev() {
        let threads = most.min(step * WARP);
        // SAFETY: the caller of the C function vouches for its function.
        let shared = unsafe { of_block(threads) };
        let resident = blocks(function, threads, shared, flags)? as i32;
        if threads * resident > best.0 {
            best = (threads * resident, resident, threads);
        }
        if best.0 == per_processor {
            break;
        }
    }
    Ok((best.1 * processors, best.2))
}

fn cluster_of(config: &CUlaunchConfig) -> Outcome<[u32; 3]> {
    for at in 0..config.attribute_count as usize {
        let CUlaunchAttribute { id, value, .. } = config.attributes.at(at)?;
        if id == CLUSTER_DIMENSION {
            return Ok([value[0] as u32, (value[0] >> 32) as u32, value[1] as u32]);
        }
    }
    Ok([0; 3])
}

fn clusters(function: CUfunction, config: In<CUlaunchConfig>, largest: u32) -> Outcome<u32> {
    let config = config.get()?;
    let stream = stream::resolve(config.stream, DefaultStream::Legacy)?;
    let ask = OccupancyClusters {
        function: resolve_here(function)?.id,
        grid: config.grid,
        block: config.block,
        shared_bytes: config.shared_bytes,
        cluster: cluster_of(&config)?,
        largest,
        stream,
    };
    Ok(live()?.call(&ask)?.value)
}

entry! {
    /// How many blocks of a function fit a multiprocessor at once.
    sync fn cuOccupancyMaxActiveBlocksPerMultiprocessor(count: Out<i32>, function: CUfunction, threads: i32, shared_bytes: usize) {
        let count = count.required()?;
        count.set(blocks(function, threads, shared_bytes, 0)? as i32)
    }

    /// The same with flags.
    sync fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(count: Out<i32>, function: CUfunction, threads: i32, shared_bytes: usize, flags: u32) {
        let count = count.required()?;
        count.set(blocks(function, threads, shared_bytes, flags)? as i32)
    }

    /// The block size that keeps most threads resident.
    sync fn cuOccupancyMaxPotentialBlockSize(min_grid: Out<i32>, block: Out<i32>, function: CUfunction, of_block: CUoccupancyB2DSize, shared_bytes: usize, limit: i32) {
        let (min_grid, block) = (min_grid.required()?, block.required()?);
        let found = block_size(function, (of_block, shared_bytes), limit, 0)?;
        min_grid.set(found.0)?;
        block.set(found.1)
    }

    /// The same with flags.
    sync fn cuOccupancyMaxPotentialBlockSizeWithFlags(min_grid: Out<i32>, block: Out<i32>, function: CUfunction, of_block: CUoccupancyB2DSize, shared_bytes: usize, limit: i32, flags: u32) {
        let (min_grid, block) = (min_grid.required()?, block.required()?);
        let found = block_size(function, (of_block, shared_bytes), limit, flags)?;
        min_grid.set(found.0)?;
        block.set(found.1)
    }

    /// Dynamic shared memory that leaves room for so many blocks.
    sync fn cuOccupancyAvailableDynamicSMemPerBlock(bytes: Out<usize>, function: CUfunction, blocks: i32, threads: i32) {
        let bytes = bytes.required()?;
        let function = resolve_here(function)?.id;
        if blocks <= 0 || threads <= 0 {
            return Err(Status::INVALID_VALUE.into());
        }
        let ask = OccupancySharedBytes { function, blocks: blocks as u32, block_threads: threads as u32 };
        bytes.set(live()?.call(&ask)?.bytes as usize)
    }

    /// The largest cluster of a launch.
    sync fn cuOccupancyMaxPotentialClusterSize(size: Out<i32>, function: CUfunction, config: In<CUlaunchConfig>) {
        let size = size.required()?;
        size.set(clusters(function, config, 1)? as i32)
    }

    /// How many clusters of a launch fit the device.
    sync fn cuOccupancyMaxActiveClusters(count: Out<i32>, function: CUfunction, config: In<CUlaunchConfig>) {
        let count = count.required()?;
        count.set(clusters(function, config, 0)? as i32)
    }
}
