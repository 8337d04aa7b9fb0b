//! Attributes of functions, and what fits a multiprocessor.

use crate::facts::{
    BLOCK_THREADS_MAX, BLOCKS_PROCESSOR, CLUSTER_MAX, CLUSTER_MAX_ASKED, PROCESSORS, REGISTERS_MAX,
    SHARED_BYTES_MAX, SHARED_BYTES_PROCESSOR, SHARED_BYTES_RESERVED, THREADS_PROCESSOR, WARP,
};
use crate::gpu::MockGpu;
use crate::kernel::KernelFacts;
use crate::module::Function;
use ringbar_backend::Context;
use ringbar_vocabulary::*;

/// Registers are given to warps in units of this many.
const REGISTER_UNIT: u32 = 256;
/// Shared memory is given to blocks in units of this many bytes.
const SHARED_UNIT: u64 = 128;
/// `CUfunction_attribute` that can be set.
const SHARED_MAX: u32 = 8;
const CARVEOUT: u32 = 9;
const CLUSTER_WIDTH: u32 = 11;
const CLUSTER_DEPTH: u32 = 13;
const LARGE_CLUSTERS: u32 = 14;
const CLUSTER_POLICY: u32 = 15;
/// `CUfunc_cache` goes up to this.
const CACHE_CONFIG_MAX: u32 = 3;
/// `CUoccupancy_flags` that exist.
const OCCUPANCY_FLAGS: u32 = 1;

fn attribute(function: &Function, attribute: u32) -> Result<i32, Status> {
    let (facts, settings) = (&function.kernel.facts, &function.settings);
    let [x, y, z] = facts.cluster.map_or(settings.cluster, |sizes| sizes.map(|size| size as i32));
    Ok(match attribute {
        0 => facts.max_threads.min(register_limit(facts)) as i32,
        1 => facts.shared_bytes as i32,
        // Constants of the module itself; they are not counted for each kernel here.
        2 => 0,
        3 => facts.local_bytes as i32,
        4 => facts.registers as i32,
        5 => facts.ptx as i32,
        6 => facts.binary as i32,
        7 => 0,
        SHARED_MAX => function.shared_max as i32,
        CARVEOUT => settings.carveout,
        10 => i32::from(facts.cluster.is_some()),
        CLUSTER_WIDTH => x,
        12 => y,
        CLUSTER_DEPTH => z,
        LARGE_CLUSTERS => settings.large_clusters,
        CLUSTER_POLICY => settings.cluster_policy,
        _ => return Err(Status::INVALID_VALUE),
    })
}

fn set_attribute(function: &mut Function, attribute: u32, value: i32) -> Result<(), Status> {
    let room = SHARED_BYTES_MAX - function.kernel.facts.shared_bytes.min(SHARED_BYTES_MAX);
    let settings = &mut function.settings;
    match attribute {
        SHARED_MAX if (0..=room as i32).contains(&value) => function.shared_max = value as u32,
        CARVEOUT if (-1..=100).contains(&value) => settings.carveout = value,
        CLUSTER_WIDTH..=CLUSTER_DEPTH if value >= 0 && function.kernel.facts.cluster.is_none() => {
            settings.cluster[(attribute - CLUSTER_WIDTH) as usize] = value;
        }
        LARGE_CLUSTERS if (0..=1).contains(&value) => settings.large_clusters = value,
        CLUSTER_POLICY if (0..=2).contains(&value) => settings.cluster_policy = value,
        _ => return Err(Status::INVALID_VALUE),
    }
    Ok(())
}

/// Warps of a multiprocessor that have registers.
fn register_warps(facts: &KernelFacts) -> u32 {
    REGISTERS_MAX / (facts.registers * WARP).next_multiple_of(REGISTER_UNIT).max(1)
}

/// Threads of a block that have registers.
pub(crate) fn register_limit(facts: &KernelFacts) -> u32 {
    register_warps(facts) * WARP
}

/// How many blocks fit a multiprocessor: by threads, registers, shared memory, and their limit.
pub(crate) fn resident(facts: &KernelFacts, threads: u32, dynamic_bytes: u64) -> u32 {
    if threads == 0 || threads > facts.max_threads {
        return 0;
    }
    let warps = threads.div_ceil(WARP);
    let by_warps = THREADS_PROCESSOR / WARP / warps;
    let by_registers = register_warps(facts) / warps;
    let shared = u64::from(facts.shared_bytes).saturating_add(dynamic_bytes);
    if shared > u64::from(SHARED_BYTES_MAX) {
        return 0;
    }
    let shared = (shared + u64::from(SHARED_BYTES_RESERVED)).next_multiple_of(SHARED_UNIT);
    let by_shared = (u64::from(SHARED_BYTES_PROCESSOR) / shared) as u32;
    by_warps.min(by_registers).min(by_shared).min(BLOCKS_PROCESSOR)
}

impl MockGpu {
    pub(crate) fn function_get_attribute(
        &mut self,
        _cx: &mut Context<'_>,
        command: FunctionGetAttribute,
    ) -> Result<FunctionGetAttributeReply, Status> {
        self.ready()?;
        let function = self.functions.get(command.function.0)?;
        attribute(function, command.attribute).map(|value| FunctionGetAttributeReply { value })
    }

    pub(crate) fn function_set_attribute(
        &mut self,
        _cx: &mut Context<'_>,
        command: FunctionSetAttribute,
    ) -> Result<FunctionSetAttributeReply, Status> {
        self.ready()?;
        let function = self.functions.get_mut(command.function.0)?;
        set_attribute(function, command.attribute, command.value)?;
        Ok(FunctionSetAttributeReply {})
    }

    pub(crate) fn function_set_cache_config(
        &mut self,
        _cx: &mut Context<'_>,
        command: FunctionSetCacheConfig,
    ) -> Result<(), Status> {
        self.ready()?;
        self.functions.get(command.function.0)?;
        // A preference, and nothing here has a cache.
        if command.config <= CACHE_CONFIG_MAX { Ok(()) } else { Err(Status::INVALID_VALUE) }
    }

    pub(crate) fn occupancy_blocks(
        &mut self,
        _cx: &mut Context<'_>,
        command: OccupancyBlocks,
    ) -> Result<OccupancyBlocksReply, Status> {
        self.ready()?;
        let facts = self.functions.get(command.function.0)?.kernel.facts;
        if command.block_threads == 0 || command.flags & !OCCUPANCY_FLAGS != 0 {
            return Err(Status::INVALID_VALUE);
        }
        let blocks = resident(&facts, command.block_threads, command.shared_bytes);
        Ok(OccupancyBlocksReply { blocks })
    }

    pub(crate) fn occupancy_block_size(
        &mut self,
        _cx: &mut Context<'_>,
        command: OccupancyBlockSize,
    ) -> Result<OccupancyBlockSizeReply, Status> {
        self.ready()?;
        let facts = self.functions.get(command.function.0)?.kernel.facts;
        if command.flags & !OCCUPANCY_FLAGS != 0 {
            return Err(Status::INVALID_VALUE);
        }
        let limit = if command.limit == 0 { BLOCK_THREADS_MAX } else { command.limit };
        let limit = limit.min(facts.max_threads);
        // The largest of those that keep most threads resident, in whole warps.
        let sizes = (1..=limit.div_ceil(WARP)).map(|warps| (warps * WARP).min(limit));
        let rated = sizes.map(|size| (resident(&facts, size, command.shared_bytes), size));
        let best = rated.max_by_key(|&(blocks, size)| (blocks * size, size));
        let (blocks, block) = best.filter(|&(blocks, _)| blocks > 0).unwrap_or((0, 0));
        Ok(OccupancyBlockSizeReply { min_grid: blocks * PROCESSORS, block })
    }

    pub(crate) fn occupancy_shared_bytes(
        &mut self,
        _cx: &mut Context<'_>,
        command: OccupancySharedBytes,
    ) -> Result<OccupancySharedBytesReply, Status> {
        self.ready()?;
        let facts = self.functions.get(command.function.0)?.kernel.facts;
        let OccupancySharedBytes { blocks, block_threads, .. } = command;
        if blocks == 0 || block_threads == 0 || resident(&facts, block_threads, 0) < blocks {
            return Err(Status::INVALID_VALUE);
        }
        let each = u64::from(SHARED_BYTES_PROCESSOR / blocks) / SHARED_UNIT * SHARED_UNIT;
        let each = each.saturating_sub(u64::from(SHARED_BYTES_RESERVED));
        let bytes = each.min(u64::from(SHARED_BYTES_MAX)).saturating_sub(facts.shared_bytes.into());
        Ok(OccupancySharedBytesReply { bytes })
    }

    pub(crate) fn occupancy_clusters(
        &mut self,
        _cx: &mut Context<'_>,
        command: OccupancyClusters,
    ) -> Result<OccupancyClustersReply, Status> {
        self.stream(command.stream)?;
        let function = self.functions.get(command.function.0)?;
        let threads = command.block.iter().try_fold(1u32, |all, &n| all.checked_mul(n));
        let threads = threads.filter(|&n| n > 0).ok_or(Status::INVALID_VALUE)?;
        let shared = u64::from(command.shared_bytes);
        let resident = resident(&function.kernel.facts, threads, shared);
        let large = function.settings.large_clusters != 0;
        let largest = if large { CLUSTER_MAX_ASKED } else { CLUSTER_MAX };
        if command.largest != 0 {
            return Ok(OccupancyClustersReply { value: if resident == 0 { 0 } else { largest } });
        }
        let size = command.cluster.iter().try_fold(1u32, |all, &n| all.checked_mul(n.max(1)));
        let size = size.filter(|&size| size <= largest).ok_or(Status::INVALID_VALUE)?;
        Ok(OccupancyClustersReply { value: resident * PROCESSORS / size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resource_limits_the_blocks_of_a_multiprocessor() {
        let facts = KernelFacts::default();
        assert_eq!(resident(&facts, 1024, 0), 2, "threads");
        assert_eq!(resident(&facts, 32, 0), 32, "blocks");
        assert_eq!(resident(&KernelFacts { registers: 128, ..facts }, 256, 0), 2, "registers");
        assert_eq!(resident(&facts, 128, 100 << 10), 2, "shared memory");
        assert_eq!(resident(&facts, 2048, 0), 0);
        assert_eq!(resident(&facts, 128, u64::MAX), 0);
    }

    #[test]
    fn a_block_has_as_many_threads_as_there_are_registers_for() {
        let of = |registers| register_limit(&KernelFacts { registers, ..KernelFacts::default() });
        assert_eq!([64, 128, 255].map(of), [1024, 512, 256]);
    }
}
