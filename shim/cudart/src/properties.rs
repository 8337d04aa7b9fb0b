//! `cudaDeviceProp`: everything about a device in one structure.

use crate::driver::{self, Driver};
use crate::error::{Error, Outcome};
use crate::pointer::Out;

/// The fields that are attributes of a device: the name in CUDA's header, the type, and the attributes' numbers.
macro_rules! properties {
    ($($(#[$meta:meta])* $name:ident: $Type:ty = $attributes:tt),+ $(,)?) => {
        /// `cudaDeviceProp` as CUDA 13's header lays it out.
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct Properties {
            name: [u8; 256],
            uuid: [u8; 16],
            luid: [u8; 8],
            luidDeviceNodeMask: u32,
            totalGlobalMem: usize,
            $($(#[$meta])* $name: $Type,)+
            reserved: [i32; 56],
        }

        impl Properties {
            const EMPTY: Self = Self {
                name: [0; 256],
                uuid: [0; 16],
                luid: [0; 8],
                luidDeviceNodeMask: 0,
                totalGlobalMem: 0,
                $($name: <$Type as FromAttributes>::ZERO,)+
                reserved: [0; 56],
            };

            fn read_all(&mut self, driver: &Driver, device: i32) -> Outcome {
                let get = |attribute: i32| {
                    let mut value = 0;
                    match driver.cuDeviceGetAttribute(Out::to(&mut value), attribute, device) {
                        // An older driver, or one that says less: what it does not know the device has not.
                        Err(Error::INVALID_VALUE) => Ok(0),
                        outcome => outcome.map(|()| value),
                    }
                };
                $(self.$name = FromAttributes::read(&$attributes, &get)?;)+
                Ok(())
            }
        }
    };
}

properties! {
    sharedMemPerBlock: usize = [8],
    regsPerBlock: i32 = [12],
    warpSize: i32 = [10],
    memPitch: usize = [11],
    maxThreadsPerBlock: i32 = [1],
    maxThreadsDim: [i32; 3] = [2, 3, 4],
    maxGridSize: [i32; 3] = [5, 6, 7],
    totalConstMem: usize = [9],
    major: i32 = [75],
    minor: i32 = [76],
    textureAlignment: usize = [14],
    texturePitchAlignment: usize = [51],
    multiProcessorCount: i32 = [16],
    integrated: i32 = [18],
    canMapHostMemory: i32 = [19],
    maxTexture1D: i32 = [21],
    maxTexture1DMipmap: i32 = [77],
    maxTexture2D: [i32; 2] = [22, 23],
    maxTexture2DMipmap: [i32; 2] = [73, 74],
    maxTexture2DLinear: [i32; 3] = [70, 71, 72],
    maxTexture2DGather: [i32; 2] = [45, 46],
    maxTexture3D: [i32; 3] = [24, 25, 26],
    maxTexture3DAlt: [i32; 3] = [47, 48, 49],
    maxTextureCubemap: i32 = [52],
    maxTexture1DLayered: [i32; 2] = [42, 43],
    maxTexture2DLayered: [i32; 3] = [27, 28, 29],
    maxTextureCubemapLayered: [i32; 2] = [53, 54],
    maxSurface1D: i32 = [55],
    maxSurface2D: [i32; 2] = [56, 57],
    maxSurface3D: [i32; 3] = [58, 59, 60],
    maxSurface1DLayered: [i32; 2] = [61, 62],
    maxSurface2DLayered: [i32; 3] = [63, 64, 65],
    maxSurfaceCubemap: i32 = [66],
    maxSurfaceCubemapLayered: [i32; 2] = [67, 68],
    surfaceAlignment: usize = [30],
    concurrentKernels: i32 = [31],
    ECCEnabled: i32 = [32],
    pciBusID: i32 = [33],
    pciDeviceID: i32 = [34],
    pciDomainID: i32 = [50],
    tccDriver: i32 = [35],
    asyncEngineCount: i32 = [40],
    unifiedAddressing: i32 = [41],
    memoryBusWidth: i32 = [37],
    l2CacheSize: i32 = [38],
    persistingL2CacheMaxSize: i32 = [108],
    maxThreadsPerMultiProcessor: i32 = [39],
    streamPrioritiesSupported: i32 = [78],
    globalL1CacheSupported: i32 = [79],
    localL1CacheSupported: i32 = [80],
    sharedMemPerMultiprocessor: usize = [81],
    regsPerMultiprocessor: i32 = [82],
    managedMemory: i32 = [83],
    isMultiGpuBoard: i32 = [84],
    multiGpuBoardGroupID: i32 = [85],
    hostNativeAtomicSupported: i32 = [86],
    pageableMemoryAccess: i32 = [88],
    concurrentManagedAccess: i32 = [89],
    computePreemptionSupported: i32 = [90],
    canUseHostPointerForRegisteredMem: i32 = [91],
    cooperativeLaunch: i32 = [95],
    sharedMemPerBlockOptin: usize = [97],
    pageableMemoryAccessUsesHostPageTables: i32 = [100],
    directManagedMemAccessFromHost: i32 = [101],
    maxBlocksPerMultiProcessor: i32 = [106],
    accessPolicyMaxWindowSize: i32 = [109],
    reservedSharedMemPerBlock: usize = [111],
    hostRegisterSupported: i32 = [99],
    sparseCudaArraySupported: i32 = [112],
    hostRegisterReadOnlySupported: i32 = [113],
    timelineSemaphoreInteropSupported: i32 = [114],
    memoryPoolsSupported: i32 = [115],
    gpuDirectRDMASupported: i32 = [116],
    gpuDirectRDMAFlushWritesOptions: u32 = [117],
    gpuDirectRDMAWritesOrdering: i32 = [118],
    memoryPoolSupportedHandleTypes: u32 = [119],
    deferredMappingCudaArraySupported: i32 = [121],
    ipcEventSupported: i32 = [125],
    clusterLaunch: i32 = [120],
    unifiedFunctionPointers: i32 = [129],
    deviceNumaConfig: i32 = [130],
    deviceNumaId: i32 = [131],
    mpsEnabled: i32 = [133],
    hostNumaId: i32 = [134],
    gpuPciDeviceID: u32 = [139],
    gpuPciSubsystemID: u32 = [140],
    hostNumaMultinodeIpcSupported: i32 = [143],
}

/// A field that is made of attributes.
trait FromAttributes: Sized {
    const ZERO: Self;

    fn read(attributes: &[i32], get: &dyn Fn(i32) -> Outcome<i32>) -> Outcome<Self>;
}

impl FromAttributes for i32 {
    const ZERO: Self = 0;

    fn read(attributes: &[i32], get: &dyn Fn(i32) -> Outcome<i32>) -> Outcome<Self> {
        get(attributes[0])
    }
}

impl FromAttributes for u32 {
    const ZERO: Self = 0;

    fn read(attributes: &[i32], get: &dyn Fn(i32) -> Outcome<i32>) -> Outcome<Self> {
        get(attributes[0]).map(i32::cast_unsigned)
    }
}

impl FromAttributes for usize {
    const ZERO: Self = 0;

    fn read(attributes: &[i32], get: &dyn Fn(i32) -> Outcome<i32>) -> Outcome<Self> {
        get(attributes[0]).map(|value| usize::try_from(value).unwrap_or(0))
    }
}

impl<const N: usize> FromAttributes for [i32; N] {
    const ZERO: Self = [0; N];

    fn read(attributes: &[i32], get: &dyn Fn(i32) -> Outcome<i32>) -> Outcome<Self> {
        let mut all = Self::ZERO;
        for (value, attribute) in all.iter_mut().zip(attributes) {
            *value = get(*attribute)?;
        }
        Ok(all)
    }
}

/// The properties of a device.
pub(crate) fn of(device: i32) -> Outcome<Properties> {
    driver::check_device(device)?;
    let driver = driver::started()?;
    let mut found = Properties::EMPTY;
    driver.cuDeviceGetName(Out::to(&mut found.name), 256, device)?;
    driver.cuDeviceGetUuid_v2(Out::to(&mut found.uuid), device)?;
    driver.cuDeviceTotalMem_v2(Out::to(&mut found.totalGlobalMem), device)?;
    found.read_all(driver, device)?;
    Ok(found)
}

/// The device that comes closest to what is wanted: of the compute capability asked for, with as much memory.
pub(crate) fn best_match(wanted: Properties) -> Outcome<i32> {
    let mut best = (0, 0);
    for device in 0..driver::device_count()? {
        let found = of(device)?;
        let score = i32::from(found.major == wanted.major) * 4
            + i32::from(found.minor == wanted.minor) * 2
            + i32::from(found.totalGlobalMem >= wanted.totalGlobalMem);
        if score > best.0 {
            best = (score, device);
        }
    }
    Ok(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    #[test]
    fn the_fields_lie_where_a_c_compiler_puts_them() {
        macro_rules! check {
            ($($name:ident: $offset:literal),+ $(,)?) => {
                $(assert_eq!(offset_of!(Properties, $name), $offset, stringify!($name));)+
            };
        }
        check! {
            totalGlobalMem: 288, maxThreadsPerBlock: 320, major: 360, multiProcessorCount: 384,
            maxTexture3D: 440, surfaceAlignment: 552, pciBusID: 568, l2CacheSize: 596,
            sharedMemPerMultiprocessor: 624, managedMemory: 636, cooperativeLaunch: 668,
            sharedMemPerBlockOptin: 672, maxBlocksPerMultiProcessor: 688,
            reservedSharedMemPerBlock: 696, memoryPoolsSupported: 720, clusterLaunch: 748,
            hostNumaMultinodeIpcSupported: 780, reserved: 784,
        }
        assert_eq!(size_of::<Properties>(), 1008);
    }
}
