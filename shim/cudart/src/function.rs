//! What kernels are like, and how many of them fit.

use crate::driver::{self, Driver};
use crate::error::{Error, Outcome};
use crate::launch::driver_config;
use crate::module;
use crate::pointer::{In, Out};
use crate::types::{FunctionAttributes, LaunchConfig};

/// The driver, and its function of the thread's context for what a program launches.
fn function(symbol: usize) -> Outcome<(&'static Driver, usize)> {
    let driver = driver::bind()?;
    let kernel = module::kernel(symbol)?;
    let mut function = 0;
    match driver.cuKernelGetFunction(Out::to(&mut function), kernel) {
        Ok(()) => Ok((driver, function)),
        // The program may have a function of a module already.
        Err(Error::INVALID_HANDLE) if module::function(symbol).is_none() => Ok((driver, kernel)),
        Err(error) => Err(error),
    }
}

/// `CU_FUNC_ATTRIBUTE_*` in the order of `cudaFuncAttributes`: threads a block, registers, PTX and binary version, cache
/// mode, dynamic shared memory, carveout, cluster dimensions (must be set; width, height, depth), scheduling policy,
/// whether other cluster sizes are allowed.
const NUMBERS: [u32; 13] = [0, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 14];

fn attributes(symbol: usize) -> Outcome<FunctionAttributes> {
    let (driver, function) = function(symbol)?;
    let get = |attribute: u32| {
        let mut value = 0;
        driver.cuFuncGetAttribute(Out::to(&mut value), attribute, function).map(|()| value)
    };
    let bytes = |attribute: u32| get(attribute).map(|value| usize::try_from(value).unwrap_or(0));
    let mut found = FunctionAttributes {
        shared_bytes: bytes(1)?,
        const_bytes: bytes(2)?,
        local_bytes: bytes(3)?,
        ..FunctionAttributes::default()
    };
    for (number, attribute) in found.numbers.iter_mut().zip(NUMBERS) {
        *number = get(attribute)?;
    }
    Ok(found)
}

/// The attributes that `cudaFuncSetAttribute` knows have the driver's numbers.
const SETTABLE: std::ops::RangeInclusive<u32> = 8..=15;

entries! {
    sync fn cudaFuncGetAttributes(out: Out<'_, FunctionAttributes>, symbol: usize) {
        let out = out.present()?;
        out.set(attributes(symbol)?)
    }

    sync fn cudaFuncSetAttribute(symbol: usize, attribute: u32, value: i32) {
        if !SETTABLE.contains(&attribute) {
            return Err(Error::INVALID_VALUE);
        }
        let (driver, function) = function(symbol)?;
        driver.cuFuncSetAttribute(function, attribute, value)
    }

    sync fn cudaFuncSetCacheConfig(symbol: usize, config: u32) {
        let (driver, function) = function(symbol)?;
        driver.cuFuncSetCacheConfig(function, config)
    }

    sync fn cudaFuncSetSharedMemConfig(symbol: usize, config: u32) {
        let (driver, function) = function(symbol)?;
        driver.cuFuncSetSharedMemConfig(function, config)
    }

    local fn cudaFuncGetName(name: Out<'_, usize>, symbol: usize) {
        let name = name.present()?;
        match module::function(symbol) {
            Some(function) => name.set(function.name),
            None => driver::bind()?.cuKernelGetName(name, module::kernel(symbol)?),
        }
    }

    local fn cudaFuncGetParamInfo(symbol: usize, index: usize, offset: Out<'_, usize>, bytes: Out<'_, usize>) {
        let driver = driver::bind()?;
        driver.cuKernelGetParamInfo(module::kernel(symbol)?, index, offset.present()?, bytes)
    }

    sync fn cudaOccupancyMaxActiveBlocksPerMultiprocessor(blocks: Out<'_, i32>, symbol: usize, block: i32, shared: usize) {
        let (driver, function) = function(symbol)?;
        driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks.present()?, function, block, shared)
    }

    sync fn cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks: Out<'_, i32>, symbol: usize, block: i32, shared: usize, flags: u32) {
        let (driver, function) = function(symbol)?;
        driver.cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks.present()?, function, block, shared, flags)
    }

    sync fn cudaOccupancyAvailableDynamicSMemPerBlock(bytes: Out<'_, usize>, symbol: usize, blocks: i32, block: i32) {
        let (driver, function) = function(symbol)?;
        driver.cuOccupancyAvailableDynamicSMemPerBlock(bytes.present()?, function, blocks, block)
    }

    sync fn cudaOccupancyMaxPotentialClusterSize(size: Out<'_, i32>, symbol: usize, config: In<'_, LaunchConfig>) {
        let config = driver_config(config.get()?);
        let (driver, function) = function(symbol)?;
        driver.cuOccupancyMaxPotentialClusterSize(size.present()?, function, In::to(&config))
    }

    sync fn cudaOccupancyMaxActiveClusters(count: Out<'_, i32>, symbol: usize, config: In<'_, LaunchConfig>) {
        let config = driver_config(config.get()?);
        let (driver, function) = function(symbol)?;
        driver.cuOccupancyMaxActiveClusters(count.present()?, function, In::to(&config))
    }
}
