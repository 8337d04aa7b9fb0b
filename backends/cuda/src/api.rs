//! The driver's functions, as a table of pointers that was filled once from the library.
//!
//! Structures and handles are cudarc's; calls go through pointers of this table and not through cudarc's functions, for
//! two reasons. cudarc returns results as a Rust enum, and a driver newer than that enum may return a number that it does
//! not have, which would be undefined behaviour; here a result is a number. And cudarc panics where a driver is too old to
//! have a function; here the command answers NOT_SUPPORTED. Enums that come from a client are numbers here for the first
//! reason too: the driver is the one who knows which exist.

#![allow(non_snake_case, reason = "the functions have CUDA's own names")]

use crate::library::DriverError;
use crate::texture::{ResourceDescriptor, TextureDescriptor, ViewDescriptor};
use cudarc::driver::sys;
use libloading::os::unix::Library;
use ringbar_vocabulary::Status;
use std::ffi::{c_char, c_int, c_void};
use std::path::Path;

/// An opaque handle of the driver's: a context, stream, event, module, function, pool, graph, node. Never dereferenced.
pub type Raw = usize;
/// A launch attribute, as `CUlaunchAttribute` lies in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaunchAttribute {
    /// `CUlaunchAttributeID`.
    pub id: u32,
    pub pad: u32,
    /// `CUlaunchAttributeValue`.
    pub value: [u64; 8],
}

const _: () = assert!(size_of::<LaunchAttribute>() == size_of::<sys::CUlaunchAttribute>());
const _: () = assert!(size_of::<LaunchAttribute>() == ringbar_vocabulary::LAUNCH_ATTRIBUTE_BYTES);

/// `CUDA_GRAPH_INSTANTIATE_PARAMS` with a result that may be any number.
#[repr(C)]
#[derive(Default)]
pub struct InstantiateParams {
    pub flags: u64,
    pub upload_stream: Raw,
    pub error_node: Raw,
    pub result: u32,
}

const _: () =
    assert!(size_of::<InstantiateParams>() == size_of::<sys::CUDA_GRAPH_INSTANTIATE_PARAMS>());

/// `CUgraphExecUpdateResultInfo` with a result that may be any number.
#[repr(C)]
#[derive(Default)]
pub struct UpdateResult {
    pub result: u32,
    pub error_node: Raw,
    pub error_from_node: Raw,
}

const _: () = assert!(size_of::<UpdateResult>() == size_of::<sys::CUgraphExecUpdateResultInfo>());

/// `CUipcMemHandle` and `CUipcEventHandle`: 64 bytes that mean something to the driver alone.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct IpcHandle(pub [u8; 64]);

const _: () = assert!(size_of::<IpcHandle>() == size_of::<sys::CUipcMemHandle>());
const _: () = assert!(size_of::<IpcHandle>() == size_of::<sys::CUipcEventHandle>());

/// A host function as the driver calls it.
pub type HostFn = unsafe extern "C" fn(*mut c_void);

fn status(code: u32) -> Result<(), Status> {
    Status(code).ok()
}

#[cold]
fn missing(name: &'static str) -> Status {
    tracing::warn!(name, "the driver is too old to have this function");
    Status::NOT_SUPPORTED
}

macro_rules! api {
    (
        numbers { $($name:ident($($arg:ident: $ty:ty),*);)* }
        pointers { $($pname:ident($($parg:ident: $pty:ty),*);)* }
    ) => {
        /// The functions that the library has.
        pub struct Api {
            $($name: Option<unsafe extern "C" fn($($ty),*) -> u32>,)*
            $($pname: Option<unsafe extern "C" fn($($pty),*) -> u32>,)*
            /// Keeps the functions loaded.
            _library: Library,
        }

        impl Api {
            /// Looks all functions up.
            pub fn of(library: Library, path: &Path) -> Result<Self, DriverError> {
                let api = Self {
                    $($name: lookup(&library, stringify!($name)),)*
                    $($pname: lookup(&library, stringify!($pname)),)*
                    _library: library,
                };
                if api.cuInit.is_none() {
                    return Err(DriverError::NoDriver { path: path.into(), name: "cuInit" });
                }
                Ok(api)
            }

            $(
                #[inline(always)]
                #[allow(clippy::too_many_arguments, reason = "CUDA's own")]
                pub fn $name(&self, $($arg: $ty),*) -> Result<(), Status> {
                    let Some(function) = self.$name else { return Err(missing(stringify!($name))) };
                    // SAFETY: the function has this signature in cuda.h. Its arguments are numbers, which the driver
                    // checks; references to values of this process, which live through the call; and handles, which
                    // come from the tables of this crate, where only live ones are.
                    status(unsafe { function($($arg),*) })
                }
            )*
            $(
                /// # Safety
                /// What the pointers point at is as cuda.h asks for.
                #[inline(always)]
                #[allow(clippy::too_many_arguments, reason = "CUDA's own")]
                pub unsafe fn $pname(&self, $($parg: $pty),*) -> Result<(), Status> {
                    let Some(function) = self.$pname else { return Err(missing(stringify!($pname))) };
                    // SAFETY: the function has this signature in cuda.h; the caller answers for the pointers.
                    status(unsafe { function($($parg),*) })
                }
            )*
        }
    };
}

/// The function of that name, if the library has it.
fn lookup<F: Copy>(library: &Library, name: &str) -> Option<F> {
    debug_assert!(size_of::<F>() == size_of::<usize>());
    // SAFETY: F is the type of a function pointer with the signature that cuda.h gives to this name.
    unsafe { library.get::<F>(name.as_bytes()) }.ok().map(|symbol| *symbol)
}

api! {
    numbers {
        cuInit(flags: u32);
        cuDriverGetVersion(version: &mut c_int);
        cuDeviceGetCount(count: &mut c_int);
        cuDeviceGet(device: &mut c_int, ordinal: c_int);
        cuDeviceTotalMem_v2(bytes: &mut usize, device: c_int);
        cuDeviceGetAttribute(value: &mut c_int, attribute: u32, device: c_int);
        cuDeviceGetUuid_v2(uuid: &mut [u8; 16], device: c_int);
        cuDeviceCanAccessPeer(can: &mut c_int, device: c_int, peer: c_int);
        cuDeviceGetTexture1DLinearMaxWidth(elements: &mut usize, format: u32, channels: u32, device: c_int);
        cuDeviceGetP2PAttribute(value: &mut c_int, attribute: u32, device: c_int, peer: c_int);
        cuDevicePrimaryCtxRetain(context: &mut Raw, device: c_int);
        cuDevicePrimaryCtxReset_v2(device: c_int);
        cuDevicePrimaryCtxSetFlags_v2(device: c_int, flags: u32);
        cuCtxDestroy_v2(context: Raw);
        cuCtxSetCurrent(context: Raw);
        cuCtxSynchronize();
        cuCtxGetLimit(value: &mut usize, limit: u32);
        cuCtxSetLimit(limit: u32, value: usize);
        cuCtxSetFlags(flags: u32);
        cuCtxResetPersistingL2Cache();
        cuCtxGetStreamPriorityRange(least: &mut c_int, greatest: &mut c_int);
        cuCtxEnablePeerAccess(peer: Raw, flags: u32);
        cuCtxDisablePeerAccess(peer: Raw);
        cuThreadExchangeStreamCaptureMode(mode: &mut u32);
        cuModuleUnload(module: Raw);
        cuModuleGetFunctionCount(count: &mut u32, module: Raw);
        cuFuncGetParamInfo(function: Raw, index: usize, offset: &mut usize, size: &mut usize);
        cuFuncGetAttribute(value: &mut c_int, attribute: u32, function: Raw);
        cuFuncSetAttribute(function: Raw, attribute: u32, value: c_int);
        cuFuncSetCacheConfig(function: Raw, config: u32);
        cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks: &mut c_int, function: Raw, block: c_int, shared: usize, flags: u32);
        cuOccupancyAvailableDynamicSMemPerBlock(bytes: &mut usize, function: Raw, blocks: c_int, block: c_int);
        cuMemAlloc_v2(at: &mut u64, bytes: usize);
        cuMemFree_v2(at: u64);
        cuMemAllocPitch_v2(at: &mut u64, pitch: &mut usize, width: usize, height: usize, element: u32);
        cuMemGetInfo_v2(free: &mut usize, total: &mut usize);
        cuMemAllocAsync(at: &mut u64, bytes: usize, stream: Raw);
        cuMemAllocFromPoolAsync(at: &mut u64, bytes: usize, pool: Raw, stream: Raw);
        cuMemFreeAsync(at: u64, stream: Raw);
        cuMemPoolCreate(pool: &mut Raw, props: &sys::CUmemPoolProps);
        cuMemPoolDestroy(pool: Raw);
        cuMemPoolGetAttribute(pool: Raw, attribute: u32, value: &mut u64);
        cuMemPoolSetAttribute(pool: Raw, attribute: u32, value: &mut u64);
        cuMemPoolTrimTo(pool: Raw, keep: usize);
        cuMemPoolSetAccess(pool: Raw, access: &AccessDesc, count: usize);
        cuMemPoolGetAccess(flags: &mut u32, pool: Raw, location: &mut sys::CUmemLocation);
        cuDeviceSetMemPool(device: c_int, pool: Raw);
        cuDeviceGetMemPool(pool: &mut Raw, device: c_int);
        cuDeviceGetDefaultMemPool(pool: &mut Raw, device: c_int);
        cuMemAddressReserve(at: &mut u64, bytes: usize, align: usize, near: u64, flags: u64);
        cuMemAddressFree(at: u64, bytes: usize);
        cuMemCreate(memory: &mut u64, bytes: usize, prop: &sys::CUmemAllocationProp, flags: u64);
        cuMemRelease(memory: u64);
        cuMemMap(at: u64, bytes: usize, offset: usize, memory: u64, flags: u64);
        cuMemUnmap(at: u64, bytes: usize);
        cuMemSetAccess(at: u64, bytes: usize, access: &AccessDesc, count: usize);
        cuMemGetAccess(flags: &mut u64, location: &sys::CUmemLocation, at: u64);
        cuArray3DCreate_v2(array: &mut Raw, descriptor: &ArrayDescriptor);
        cuArrayDestroy(array: Raw);
        cuTexObjectCreate(texture: &mut u64, resource: &ResourceDescriptor, sampled: &TextureDescriptor, view: Option<&ViewDescriptor>);
        cuTexObjectDestroy(texture: u64);
        cuSurfObjectCreate(surface: &mut u64, resource: &ResourceDescriptor);
        cuSurfObjectDestroy(surface: u64);
        cuMemGetAllocationGranularity(bytes: &mut usize, prop: &sys::CUmemAllocationProp, option: u32);
        cuMemcpyDtoDAsync_v2(dst: u64, src: u64, bytes: usize, stream: Raw);
        cuMemsetD8Async(at: u64, value: u8, count: usize, stream: Raw);
        cuMemsetD16Async(at: u64, value: u16, count: usize, stream: Raw);
        cuMemsetD32Async(at: u64, value: u32, count: usize, stream: Raw);
        cuMemsetD2D8Async(at: u64, pitch: usize, value: u8, width: usize, height: usize, stream: Raw);
        cuMemsetD2D16Async(at: u64, pitch: usize, value: u16, width: usize, height: usize, stream: Raw);
        cuMemsetD2D32Async(at: u64, pitch: usize, value: u32, width: usize, height: usize, stream: Raw);
        cuStreamCreateWithPriority(stream: &mut Raw, flags: u32, priority: c_int);
        cuStreamDestroy_v2(stream: Raw);
        cuStreamWaitEvent(stream: Raw, event: Raw, flags: u32);
        cuStreamQuery(stream: Raw);
        cuStreamSynchronize(stream: Raw);
        cuStreamSetAttribute(stream: Raw, attribute: u32, value: &[u64; 8]);
        cuStreamGetAttribute(stream: Raw, attribute: u32, value: &mut [u64; 8]);
        cuStreamCopyAttributes(dst: Raw, src: Raw);
        cuStreamWriteValue32_v2(stream: Raw, at: u64, value: u32, flags: u32);
        cuStreamWriteValue64_v2(stream: Raw, at: u64, value: u64, flags: u32);
        cuStreamWaitValue32_v2(stream: Raw, at: u64, value: u32, flags: u32);
        cuStreamWaitValue64_v2(stream: Raw, at: u64, value: u64, flags: u32);
        cuStreamBeginCapture_v2(stream: Raw, mode: u32);
        cuStreamEndCapture(stream: Raw, graph: &mut Raw);
        cuStreamIsCapturing(stream: Raw, status: &mut u32);
        cuEventCreate(event: &mut Raw, flags: u32);
        cuEventRecord(event: Raw, stream: Raw);
        cuEventRecordWithFlags(event: Raw, stream: Raw, flags: u32);
        cuEventDestroy_v2(event: Raw);
        cuEventQuery(event: Raw);
        cuEventElapsedTime(milliseconds: &mut f32, start: Raw, end: Raw);
        cuMemGetAddressRange_v2(base: &mut u64, bytes: &mut usize, at: u64);
        cuIpcGetMemHandle(handle: &mut IpcHandle, at: u64);
        cuIpcOpenMemHandle_v2(at: &mut u64, handle: IpcHandle, flags: u32);
        cuIpcCloseMemHandle(at: u64);
        cuIpcGetEventHandle(handle: &mut IpcHandle, event: Raw);
        cuIpcOpenEventHandle(event: &mut Raw, handle: IpcHandle);
        cuGraphCreate(graph: &mut Raw, flags: u32);
        cuGraphDestroy(graph: Raw);
        cuGraphClone(copy: &mut Raw, graph: Raw);
        cuGraphNodeGetType(node: Raw, kind: &mut u32);
        cuGraphDestroyNode(node: Raw);
        cuGraphNodeGetEnabled(exec: Raw, node: Raw, enabled: &mut u32);
        cuGraphNodeSetEnabled(exec: Raw, node: Raw, enabled: u32);
        cuGraphKernelNodeGetAttribute(node: Raw, attribute: u32, value: &mut [u64; 8]);
        cuGraphKernelNodeSetAttribute(node: Raw, attribute: u32, value: &[u64; 8]);
        cuGraphKernelNodeCopyAttributes(dst: Raw, src: Raw);
        cuGraphNodeFindInClone(copy: &mut Raw, node: Raw, graph: Raw);
        cuGraphChildGraphNodeGetGraph(node: Raw, graph: &mut Raw);
        cuGraphExecChildGraphNodeSetParams(exec: Raw, node: Raw, child: Raw);
        cuGraphEventRecordNodeGetEvent(node: Raw, event: &mut Raw);
        cuGraphEventWaitNodeGetEvent(node: Raw, event: &mut Raw);
        cuGraphEventRecordNodeSetEvent(node: Raw, event: Raw);
        cuGraphEventWaitNodeSetEvent(node: Raw, event: Raw);
        cuGraphExecEventRecordNodeSetEvent(exec: Raw, node: Raw, event: Raw);
        cuGraphExecEventWaitNodeSetEvent(exec: Raw, node: Raw, event: Raw);
        cuGraphMemsetNodeGetParams(node: Raw, params: &mut sys::CUDA_MEMSET_NODE_PARAMS);
        cuGraphMemsetNodeSetParams(node: Raw, params: &sys::CUDA_MEMSET_NODE_PARAMS);
        cuGraphExecMemsetNodeSetParams(exec: Raw, node: Raw, params: &sys::CUDA_MEMSET_NODE_PARAMS, context: Raw);
        cuGraphMemFreeNodeGetParams(node: Raw, at: &mut u64);
        cuGraphMemAllocNodeGetParams(node: Raw, params: &mut AllocNode);
        cuDeviceGetGraphMemAttribute(device: c_int, attribute: u32, value: &mut u64);
        cuDeviceSetGraphMemAttribute(device: c_int, attribute: u32, value: &mut u64);
        cuDeviceGraphMemTrim(device: c_int);
        cuGraphInstantiateWithParams(exec: &mut Raw, graph: Raw, params: &mut InstantiateParams);
        cuGraphInstantiateWithFlags(exec: &mut Raw, graph: Raw, flags: u64);
        cuGraphExecUpdate_v2(exec: Raw, graph: Raw, result: &mut UpdateResult);
        cuGraphUpload(exec: Raw, stream: Raw);
        cuGraphLaunch(exec: Raw, stream: Raw);
        cuGraphExecDestroy(exec: Raw);
        cuLinkDestroy(state: Raw);
    }
    pointers {
        cuDeviceGetName(name: *mut c_char, len: c_int, device: c_int);
        cuCtxCreate_v2(context: *mut Raw, flags: u32, device: c_int);
        cuCtxCreate_v4(context: *mut Raw, params: *mut c_void, flags: u32, device: c_int);
        cuModuleLoadDataEx(module: *mut Raw, image: *const c_void, count: u32, options: *mut u32, values: *mut *mut c_void);
        cuLinkCreate_v2(count: u32, options: *mut u32, values: *mut *mut c_void, state: *mut Raw);
        cuLinkAddData_v2(state: Raw, kind: u32, data: *mut c_void, bytes: usize, name: *const c_char, count: u32, options: *mut u32, values: *mut *mut c_void);
        cuLinkComplete(state: Raw, image: *mut *mut c_void, bytes: *mut usize);
        cuModuleGetFunction(function: *mut Raw, module: Raw, name: *const c_char);
        cuModuleGetGlobal_v2(at: *mut u64, bytes: *mut usize, module: Raw, name: *const c_char);
        cuModuleEnumerateFunctions(functions: *mut Raw, count: u32, module: Raw);
        cuFuncGetName(name: *mut *const c_char, function: Raw);
        cuOccupancyMaxPotentialBlockSizeWithFlags(grid: *mut c_int, block: *mut c_int, function: Raw, shared_of: *const c_void, shared: usize, limit: c_int, flags: u32);
        cuOccupancyMaxActiveClusters(clusters: *mut c_int, function: Raw, config: *const sys::CUlaunchConfig);
        cuOccupancyMaxPotentialClusterSize(size: *mut c_int, function: Raw, config: *const sys::CUlaunchConfig);
        cuLaunchKernel(function: Raw, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, shared: u32, stream: Raw, params: *mut *mut c_void, extra: *mut *mut c_void);
        cuLaunchKernelEx(config: *const sys::CUlaunchConfig, function: Raw, params: *mut *mut c_void, extra: *mut *mut c_void);
        cuLaunchHostFunc(stream: Raw, function: HostFn, data: *mut c_void);
        cuMemHostRegister_v2(at: *mut c_void, bytes: usize, flags: u32);
        cuMemHostGetDevicePointer_v2(at: *mut u64, host: *mut c_void, flags: u32);
        cuMemcpyHtoDAsync_v2(dst: u64, src: *const c_void, bytes: usize, stream: Raw);
        cuMemcpyDtoHAsync_v2(dst: *mut c_void, src: u64, bytes: usize, stream: Raw);
        cuMemcpyDtoH_v2(dst: *mut c_void, src: u64, bytes: usize);
        cuMemcpy2DAsync_v2(copy: *const sys::CUDA_MEMCPY2D, stream: Raw);
        cuMemcpy3DAsync_v2(copy: *const sys::CUDA_MEMCPY3D, stream: Raw);
        cuStreamGetCaptureInfo_v2(stream: Raw, status: *mut u32, id: *mut u64, graph: *mut Raw, nodes: *mut *const Raw, count: *mut usize);
        cuStreamGetCaptureInfo_v3(stream: Raw, status: *mut u32, id: *mut u64, graph: *mut Raw, nodes: *mut *const Raw, edges: *mut *const c_void, count: *mut usize);
        cuStreamUpdateCaptureDependencies(stream: Raw, nodes: *mut Raw, count: usize, flags: u32);
        cuStreamUpdateCaptureDependencies_v2(stream: Raw, nodes: *mut Raw, data: *const c_void, count: usize, flags: u32);
        cuStreamBeginCaptureToGraph(stream: Raw, graph: Raw, after: *const Raw, data: *const c_void, count: usize, mode: u32);
        cuGraphGetNodes(graph: Raw, nodes: *mut Raw, count: *mut usize);
        cuGraphGetRootNodes(graph: Raw, nodes: *mut Raw, count: *mut usize);
        cuGraphGetEdges(graph: Raw, from: *mut Raw, to: *mut Raw, count: *mut usize);
        cuGraphGetEdges_v2(graph: Raw, from: *mut Raw, to: *mut Raw, data: *mut sys::CUgraphEdgeData, count: *mut usize);
        cuGraphNodeGetDependencies(node: Raw, nodes: *mut Raw, count: *mut usize);
        cuGraphNodeGetDependencies_v2(node: Raw, nodes: *mut Raw, data: *mut sys::CUgraphEdgeData, count: *mut usize);
        cuGraphNodeGetDependentNodes(node: Raw, nodes: *mut Raw, count: *mut usize);
        cuGraphNodeGetDependentNodes_v2(node: Raw, nodes: *mut Raw, data: *mut sys::CUgraphEdgeData, count: *mut usize);
        cuGraphAddKernelNode_v2(node: *mut Raw, graph: Raw, after: *const Raw, count: usize, params: *const sys::CUDA_KERNEL_NODE_PARAMS_v2);
        cuGraphAddMemsetNode(node: *mut Raw, graph: Raw, after: *const Raw, count: usize, params: *const sys::CUDA_MEMSET_NODE_PARAMS, context: Raw);
        cuGraphAddMemcpyNode(node: *mut Raw, graph: Raw, after: *const Raw, count: usize, params: *const sys::CUDA_MEMCPY3D, context: Raw);
        cuGraphAddHostNode(node: *mut Raw, graph: Raw, after: *const Raw, count: usize, params: *const sys::CUDA_HOST_NODE_PARAMS);
        cuGraphAddEmptyNode(node: *mut Raw, graph: Raw, after: *const Raw, count: usize);
        cuGraphAddEventRecordNode(node: *mut Raw, graph: Raw, after: *const Raw, count: usize, event: Raw);
        cuGraphAddEventWaitNode(node: *mut Raw, graph: Raw, after: *const Raw, count: usize, event: Raw);
        cuGraphAddMemAllocNode(node: *mut Raw, graph: Raw, after: *const Raw, count: usize, params: *mut AllocNode);
        cuGraphAddMemFreeNode(node: *mut Raw, graph: Raw, after: *const Raw, count: usize, at: u64);
        cuGraphAddChildGraphNode(node: *mut Raw, graph: Raw, after: *const Raw, count: usize, child: Raw);
        cuGraphAddDependencies(graph: Raw, from: *const Raw, to: *const Raw, count: usize);
        cuGraphAddDependencies_v2(graph: Raw, from: *const Raw, to: *const Raw, data: *const c_void, count: usize);
        cuGraphRemoveDependencies(graph: Raw, from: *const Raw, to: *const Raw, count: usize);
        cuGraphRemoveDependencies_v2(graph: Raw, from: *const Raw, to: *const Raw, data: *const c_void, count: usize);
        cuGraphKernelNodeGetParams_v2(node: Raw, params: *mut sys::CUDA_KERNEL_NODE_PARAMS_v2);
        cuGraphKernelNodeSetParams_v2(node: Raw, params: *const sys::CUDA_KERNEL_NODE_PARAMS_v2);
        cuGraphExecKernelNodeSetParams_v2(exec: Raw, node: Raw, params: *const sys::CUDA_KERNEL_NODE_PARAMS_v2);
        cuGraphHostNodeGetParams(node: Raw, params: *mut sys::CUDA_HOST_NODE_PARAMS);
        cuGraphHostNodeSetParams(node: Raw, params: *const sys::CUDA_HOST_NODE_PARAMS);
        cuGraphExecHostNodeSetParams(exec: Raw, node: Raw, params: *const sys::CUDA_HOST_NODE_PARAMS);
        cuGraphMemcpyNodeGetParams(node: Raw, params: *mut Copy3D);
        cuGraphMemcpyNodeSetParams(node: Raw, params: *const sys::CUDA_MEMCPY3D);
        cuGraphExecMemcpyNodeSetParams(exec: Raw, node: Raw, params: *const sys::CUDA_MEMCPY3D, context: Raw);
        cuGraphDebugDotPrint(graph: Raw, path: *const c_char, flags: u32);
        cuTensorMapEncodeTiled(map: *mut sys::CUtensorMap, kind: u32, rank: u32, at: *mut c_void, sizes: *const u64, strides: *const u64, boxes: *const u32, steps: *const u32, interleave: u32, swizzle: u32, l2: u32, fill: u32);
        cuTensorMapEncodeIm2col(map: *mut sys::CUtensorMap, kind: u32, rank: u32, at: *mut c_void, sizes: *const u64, strides: *const u64, lower: *const c_int, upper: *const c_int, channels: u32, pixels: u32, steps: *const u32, interleave: u32, swizzle: u32, l2: u32, fill: u32);
        cuTensorMapReplaceAddress(map: *mut sys::CUtensorMap, at: *mut c_void);
    }
}

/// `CUDA_ARRAY3D_DESCRIPTOR` with a format that may be any number.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ArrayDescriptor {
    /// Elements of a row, rows, slices.
    pub extent: [usize; 3],
    /// `CUarray_format`.
    pub format: u32,
    pub channels: u32,
    pub flags: u32,
}

const _: () = assert!(size_of::<ArrayDescriptor>() == size_of::<sys::CUDA_ARRAY3D_DESCRIPTOR>());

/// One end of a [`Copy3D`].
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct CopyEnd {
    pub x_bytes: usize,
    pub y: usize,
    pub z: usize,
    pub lod: usize,
    pub memory_type: u32,
    pub host: usize,
    pub device: u64,
    pub array: usize,
    pub reserved: usize,
    pub pitch: usize,
    pub height: usize,
}

/// `CUDA_MEMCPY3D` with types of memory that may be any number.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Copy3D {
    pub src: CopyEnd,
    pub dst: CopyEnd,
    pub width_bytes: usize,
    pub height: usize,
    pub depth: usize,
}

const _: () = assert!(size_of::<Copy3D>() == size_of::<sys::CUDA_MEMCPY3D>());

/// `CUmemAccessDesc` with flags that may be any number.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct AccessDesc {
    pub location: sys::CUmemLocation,
    pub flags: u32,
}

const _: () = assert!(size_of::<AccessDesc>() == size_of::<sys::CUmemAccessDesc>());

/// `CUDA_MEM_ALLOC_NODE_PARAMS` with kinds that may be any number.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct AllocNode {
    pub allocation_type: u32,
    pub handle_types: u32,
    pub location_type: u32,
    pub device: c_int,
    pub win32: usize,
    pub max_bytes: usize,
    pub rest: [u8; 56],
    pub access: *const AccessDesc,
    pub access_count: usize,
    pub bytes: usize,
    pub at: u64,
}

const _: () = assert!(size_of::<AllocNode>() == size_of::<sys::CUDA_MEM_ALLOC_NODE_PARAMS>());
const _: () = {
    let at = std::mem::offset_of!(AllocNode, access);
    assert!(at == std::mem::offset_of!(sys::CUDA_MEM_ALLOC_NODE_PARAMS, accessDescs));
};

/// Device `device`, as a place of memory.
pub fn device_location(device: c_int) -> sys::CUmemLocation {
    sys::CUmemLocation { type_: sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE, id: device }
}
