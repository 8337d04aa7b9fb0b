//! What operations do to device memory, whoever executes them.

use crate::kernel::{Geometry, Kernel, KernelArgs};
use crate::pool::Pool;
use crate::space::Space;
use ringbar_backend::HostMemory;
use ringbar_vocabulary::{MemoryDigestReply, Status};
use std::panic::{AssertUnwindSafe, catch_unwind};
use xxhash_rust::xxh3::Xxh3Default;

/// Memory and what lies where in it, when one thread owns both.
pub(crate) struct Device {
    pub(crate) pool: Pool,
    pub(crate) space: Space,
}

/// Runs a kernel. Its failure, a panic of its body included, is a status.
pub(crate) fn launch(
    pool: &mut Pool,
    space: &mut Space,
    arena: &dyn HostMemory,
    kernel: &Kernel,
    params: &[u8],
    geometry: Geometry,
) -> Result<(), Status> {
    let mut args = KernelArgs { kernel, params, geometry, pool, space, arena, borrowed: None };
    let run = || (kernel.run)(&mut args).and_then(|()| args.give_back());
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(fault)) => {
            tracing::warn!(kernel = kernel.name, %fault, "a launch failed");
            Err(fault.status())
        }
        Err(_) => {
            tracing::warn!(kernel = kernel.name, "a kernel's body panicked");
            Err(Status::LAUNCH_FAILED)
        }
    }
}

/// Gives an allocation back to its heap, its bytes zeroed if `scrub`.
pub(crate) fn retire(pool: Option<&mut Pool>, space: &mut Space, offset: u64) {
    let (offset, bytes) = space.retire(offset);
    if let Some(pool) = pool {
        pool.fill(offset as usize..(offset + bytes) as usize, &[0]);
    }
}

/// The hash of all live allocations in address order, and of what library calls changed.
pub(crate) fn digest(pool: &Pool, space: &Space) -> MemoryDigestReply {
    let mut hash = Xxh3Default::new();
    pool.scratch_words().for_each(|word| hash.update(&word.to_le_bytes()));
    let (mut allocations, mut total) = (0, 0);
    for (offset, bytes) in space.heaps().iter().flat_map(|heap| heap.live()) {
        hash.update(&offset.to_le_bytes());
        hash.update(&bytes.to_le_bytes());
        hash.update(pool.get(offset as usize..(offset + bytes) as usize));
        allocations += 1;
        total += bytes;
    }
    MemoryDigestReply { digest: hash.digest(), allocations, bytes: total }
}
