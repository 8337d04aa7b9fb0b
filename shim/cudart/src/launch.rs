//! Launches of kernels.

use crate::driver;
use crate::error::{Error, Outcome};
use crate::module;
use crate::pointer::{In, Out};
use crate::types::{Dim3, DriverLaunchConfig, LaunchConfig};

/// What every GPU that CUDA 13 knows can launch at most.
const GRID_MAX: Dim3 = Dim3 { x: i32::MAX as u32, y: 65_535, z: 65_535 };
const BLOCK_MAX: Dim3 = Dim3 { x: 1024, y: 1024, z: 64 };
const BLOCK_MAX_THREADS: u64 = 1024;

/// Refuses grids and blocks that no GPU can launch, by the code that CUDA 13 has for them.
#[inline]
fn check_geometry(grid: Dim3, block: Dim3) -> Outcome {
    let fits = grid.is_within(GRID_MAX) && block.is_within(BLOCK_MAX);
    if fits && block.volume() <= BLOCK_MAX_THREADS { Ok(()) } else { Err(Error::INVALID_VALUE) }
}

/// More than 4 GiB of shared memory is as much too large as just below.
fn shared_bytes(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Calls the driver; once more if the thread lost its context since it was last seen with one.
#[inline]
fn with_context(call: impl Fn(&driver::Driver) -> Outcome) -> Outcome {
    match call(driver::bound()?) {
        Err(Error::INVALID_CONTEXT) => call(driver::bind()?),
        outcome => outcome,
    }
}

/// How the blocks of a launch begin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocks {
    /// Whenever there is room.
    Apart,
    /// All at once, so that they can wait for each other.
    Together,
}

/// Launches a kernel.
#[inline(always)]
pub(crate) fn launch(
    blocks: Blocks,
    function: usize,
    (grid, block): (Dim3, Dim3),
    parameters: In<'_, usize>,
    shared: usize,
    stream: usize,
) -> Outcome {
    let kernel = module::kernel(function)?;
    check_geometry(grid, block)?;
    let shared = shared_bytes(shared);
    let (Dim3 { x, y, z }, Dim3 { x: u, y: v, z: w }) = (grid, block);
    with_context(|driver| match blocks {
        Blocks::Apart => {
            driver.cuLaunchKernel(kernel, x, y, z, u, v, w, shared, stream, parameters, In::none())
        }
        Blocks::Together => {
            driver.cuLaunchCooperativeKernel(kernel, x, y, z, u, v, w, shared, stream, parameters)
        }
    })
}

/// The driver's form of a configuration. The attributes have the same form in both.
pub(crate) fn driver_config(config: LaunchConfig) -> DriverLaunchConfig {
    DriverLaunchConfig {
        grid: config.grid,
        block: config.block,
        shared_bytes: shared_bytes(config.shared_bytes),
        stream: config.stream,
        attributes: config.attributes,
        attribute_count: config.attribute_count,
    }
}

fn launch_configured(config: LaunchConfig, function: usize, parameters: In<'_, usize>) -> Outcome {
    let kernel = module::kernel(function)?;
    check_geometry(config.grid, config.block)?;
    let config = driver_config(config);
    with_context(|driver| driver.cuLaunchKernelEx(In::to(&config), kernel, parameters, In::none()))
}

streamed! {
    post fn cudaLaunchKernel | cudaLaunchKernel_ptsz [stream](function: usize, grid: Dim3, block: Dim3, parameters[function]: In<'_, usize>, shared: usize, stream: usize) {
        launch(Blocks::Apart, function, (grid, block), parameters, shared, stream)
    }

    post fn cudaLaunchCooperativeKernel | cudaLaunchCooperativeKernel_ptsz [stream](function: usize, grid: Dim3, block: Dim3, parameters[function]: In<'_, usize>, shared: usize, stream: usize) {
        launch(Blocks::Together, function, (grid, block), parameters, shared, stream)
    }
}

entries! {
    post fn cudaLaunchKernelExC(config: In<'_, LaunchConfig>, function: usize, parameters[function]: In<'_, usize>) {
        launch_configured(config.get()?, function, parameters)
    }

    post fn cudaLaunchKernelExC_ptsz(config: In<'_, LaunchConfig>, function: usize, parameters[function]: In<'_, usize>) {
        let mut config = config.get()?;
        config.stream = crate::stream::own(config.stream);
        launch_configured(config, function, parameters)
    }

    sync fn cudaGetFuncBySymbol(function: Out<'_, usize>, symbol: usize) {
        let known = module::function(symbol).ok_or(Error::INVALID_DEVICE_FUNCTION)?;
        let kernel = known.kernel(symbol)?;
        driver::bind()?.cuKernelGetFunction(function.present()?, kernel)
    }

    local fn cudaGetKernel(kernel: Out<'_, usize>, symbol: usize) {
        let known = module::function(symbol).ok_or(Error::INVALID_DEVICE_FUNCTION)?;
        kernel.set(known.kernel(symbol)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dim(x: u32, y: u32, z: u32) -> Dim3 {
        Dim3 { x, y, z }
    }

    #[test]
    fn grids_and_blocks_are_refused_exactly_beyond_their_limits() {
        let one = dim(1, 1, 1);
        for (grid, block) in [(one, dim(32, 32, 1)), (dim(1 << 30, 65_535, 65_535), one)] {
            assert_eq!(check_geometry(grid, block), Ok(()));
        }
        let too_large = [dim(1025, 1, 1), dim(32, 33, 1), dim(1, 1, 65), dim(0, 1, 1)];
        for block in too_large {
            assert_eq!(check_geometry(one, block), Err(Error::INVALID_VALUE));
        }
        for grid in [dim(1, 65_536, 1), dim(1, 1, 0), dim(1 << 31, 1, 1)] {
            assert_eq!(check_geometry(grid, one), Err(Error::INVALID_VALUE));
        }
    }
}
