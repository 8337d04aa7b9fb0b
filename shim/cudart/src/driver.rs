//! The driver: `libcuda.so.1`, found by name, its functions resolved once; the contexts of the devices.

use crate::error::{Error, Outcome};
use crate::pointer::{HostFunction, Image, In, InBytes, InOut, Opaque, Out, OutBytes, Text};
use crate::thread;
use crate::types::{
    ArrayDescriptor, AttributeValue, Copy2D, Copy3D, DriverKernelNode, DriverLaunchConfig,
    DriverResource, DriverTexture, DriverView, EdgeData, GraphExecUpdateResultInfo,
    GraphInstantiateParams, HostNode, IpcHandle, Location, MemAccessDesc, MemAllocNodeParams,
    MemPoolProps, MemPoolPtrExportData, Memcpy3DBatchOp, MemcpyAttributes, MemsetNode,
};
use ringbar::sync::{AtomicBool, Mutex, Ordering};
use std::ffi::{CStr, c_char, c_void};
use std::sync::OnceLock;

/// Functions of the driver: a name as the library exports it, and the arguments.
macro_rules! functions {
    ($($name:ident($($arg:ident: $Type:ty),*);)+) => {
        /// The driver's functions, each absent if the library lacks it.
        pub(crate) struct Driver {
            $($name: Option<unsafe extern "C" fn($($Type),*) -> i32>,)+
        }

        #[expect(clippy::too_many_arguments, reason = "the driver's")]
        impl Driver {
            fn resolve(library: &Library) -> Self {
                Self { $($name: library.find(concat!(stringify!($name), "\0")),)+ }
            }

            $(
                #[inline]
                pub(crate) fn $name(&self, $($arg: $Type),*) -> Outcome {
                    let Some(function) = self.$name else {
                        return Err(crate::exports::unsupported(concat!(stringify!($name), "\0")));
                    };
                    // SAFETY: the driver's function of that name takes these arguments; pointers among them are null or
                    // vouched for by the program that called the runtime (see `pointer`).
                    Error::check(unsafe { function($($arg),*) })
                }
            )+
        }
    };
}

functions! {
    cuInit(flags: u32);
    cuDriverGetVersion(version: Out<'_, i32>);
    cuDeviceGetCount(count: Out<'_, i32>);
    cuDeviceGetName(name: Out<'_, [u8; 256]>, bytes: i32, device: i32);
    cuDeviceGetUuid_v2(uuid: Out<'_, [u8; 16]>, device: i32);
    cuDeviceTotalMem_v2(bytes: Out<'_, usize>, device: i32);
    cuDeviceGetAttribute(value: Out<'_, i32>, attribute: i32, device: i32);
    cuDeviceGetPCIBusId(text: Out<'_, c_char>, bytes: i32, device: i32);
    cuDeviceGetByPCIBusId(device: Out<'_, i32>, text: Text);
    cuDeviceCanAccessPeer(can: Out<'_, i32>, device: i32, peer: i32);
    cuDeviceGetP2PAttribute(value: Out<'_, i32>, attribute: i32, device: i32, peer: i32);
    cuDeviceGetDefaultMemPool(pool: Out<'_, usize>, device: i32);
    cuDeviceGetMemPool(pool: Out<'_, usize>, device: i32);
    cuDeviceSetMemPool(device: i32, pool: usize);
    cuDeviceGetGraphMemAttribute(device: i32, attribute: u32, value: Out<'_, u64>);
    cuDeviceSetGraphMemAttribute(device: i32, attribute: u32, value: In<'_, u64>);
    cuDeviceGraphMemTrim(device: i32);
    cuDevicePrimaryCtxRetain(context: Out<'_, usize>, device: i32);
    cuDevicePrimaryCtxReset_v2(device: i32);
    cuDevicePrimaryCtxSetFlags_v2(device: i32, flags: u32);
    cuDevicePrimaryCtxGetState(device: i32, flags: Out<'_, u32>, active: Out<'_, i32>);
    cuCtxGetCurrent(context: Out<'_, usize>);
    cuCtxSetCurrent(context: usize);
    cuCtxGetDevice(device: Out<'_, i32>);
    cuCtxSynchronize();
    cuCtxGetLimit(value: Out<'_, usize>, limit: u32);
    cuCtxSetLimit(limit: u32, value: usize);
    cuCtxGetCacheConfig(config: Out<'_, u32>);
    cuCtxSetCacheConfig(config: u32);
    cuCtxGetSharedMemConfig(config: Out<'_, u32>);
    cuCtxSetSharedMemConfig(config: u32);
    cuCtxGetStreamPriorityRange(least: Out<'_, i32>, greatest: Out<'_, i32>);
    cuCtxEnablePeerAccess(peer: usize, flags: u32);
    cuCtxDisablePeerAccess(peer: usize);
    cuCtxResetPersistingL2Cache();
    cuMemGetInfo_v2(free: Out<'_, usize>, total: Out<'_, usize>);
    cuMemAlloc_v2(at: Out<'_, u64>, bytes: usize);
    cuMemAllocPitch_v2(at: Out<'_, u64>, pitch: Out<'_, usize>, width: usize, height: usize, element: u32);
    cuMemFree_v2(at: u64);
    cuMemHostAlloc(at: Out<'_, usize>, bytes: usize, flags: u32);
    cuMemFreeHost(at: usize);
    cuMemHostRegister_v2(at: usize, bytes: usize, flags: u32);
    cuMemHostUnregister(at: usize);
    cuMemHostGetDevicePointer_v2(device: Out<'_, u64>, host: usize, flags: u32);
    cuMemHostGetFlags(flags: Out<'_, u32>, host: usize);
    cuMemAllocManaged(at: Out<'_, u64>, bytes: usize, flags: u32);
    cuMemAllocAsync(at: Out<'_, u64>, bytes: usize, stream: usize);
    cuMemAllocFromPoolAsync(at: Out<'_, u64>, bytes: usize, pool: usize, stream: usize);
    cuMemFreeAsync(at: u64, stream: usize);
    cuMemPoolCreate(pool: Out<'_, usize>, properties: In<'_, MemPoolProps>);
    cuMemPoolDestroy(pool: usize);
    cuMemPoolTrimTo(pool: usize, keep_bytes: usize);
    cuMemPoolGetAttribute(pool: usize, attribute: u32, value: Out<'_, c_void>);
    cuMemPoolSetAttribute(pool: usize, attribute: u32, value: In<'_, c_void>);
    cuMemPoolGetAccess(flags: Out<'_, u32>, pool: usize, location: In<'_, Location>);
    cuMemPoolSetAccess(pool: usize, accesses: In<'_, MemAccessDesc>, count: usize);
    cuMemPoolExportToShareableHandle(handle: Out<'_, c_void>, pool: usize, kind: u32, flags: u64);
    cuMemPoolImportFromShareableHandle(pool: Out<'_, usize>, handle: Opaque, kind: u32, flags: u64);
    cuMemPoolExportPointer(data: Out<'_, MemPoolPtrExportData>, at: u64);
    cuMemPoolImportPointer(at: Out<'_, u64>, pool: usize, data: In<'_, MemPoolPtrExportData>);
    cuMemGetDefaultMemPool(pool: Out<'_, usize>, location: In<'_, Location>, kind: u32);
    cuMemGetMemPool(pool: Out<'_, usize>, location: In<'_, Location>, kind: u32);
    cuMemSetMemPool(location: In<'_, Location>, kind: u32, pool: usize);
    cuMemAdvise_v2(at: u64, bytes: usize, advice: u32, location: Location);
    cuMemPrefetchAsync_v2(at: u64, bytes: usize, location: Location, flags: u32, stream: usize);
    cuMemRangeGetAttribute(data: OutBytes, data_bytes: usize, attribute: u32, at: u64, bytes: usize);
    cuMemRangeGetAttributes(data: In<'_, OutBytes>, sizes: In<'_, usize>, attributes: In<'_, u32>, count: usize, at: u64, bytes: usize);
    cuPointerGetAttributes(count: u32, attributes: In<'_, u32>, data: In<'_, usize>, at: u64);
    cuMemcpy(dst: u64, src: u64, bytes: usize);
    cuMemcpyAsync(dst: u64, src: u64, bytes: usize, stream: usize);
    cuMemcpyHtoD_v2(dst: u64, src: InBytes, bytes: usize);
    cuMemcpyHtoDAsync_v2(dst: u64, src: InBytes, bytes: usize, stream: usize);
    cuMemcpyDtoH_v2(dst: OutBytes, src: u64, bytes: usize);
    cuMemcpyDtoHAsync_v2(dst: OutBytes, src: u64, bytes: usize, stream: usize);
    cuMemcpyDtoD_v2(dst: u64, src: u64, bytes: usize);
    cuMemcpyDtoDAsync_v2(dst: u64, src: u64, bytes: usize, stream: usize);
    cuMemcpyPeer(dst: u64, dst_context: usize, src: u64, src_context: usize, bytes: usize);
    cuMemcpyPeerAsync(dst: u64, dst_context: usize, src: u64, src_context: usize, bytes: usize, stream: usize);
    cuMemcpy2DUnaligned_v2(copy: In<'_, Copy2D>);
    cuMemcpy2DAsync_v2(copy: In<'_, Copy2D>, stream: usize);
    cuMemcpy3D_v2(copy: In<'_, Copy3D>);
    cuMemcpy3DAsync_v2(copy: In<'_, Copy3D>, stream: usize);
    cuMemcpy3DPeer(copy: In<'_, Copy3D>);
    cuMemcpy3DPeerAsync(copy: In<'_, Copy3D>, stream: usize);
    cuArray3DCreate_v2(array: Out<'_, usize>, descriptor: In<'_, ArrayDescriptor>);
    cuArrayDestroy(array: usize);
    cuArray3DGetDescriptor_v2(descriptor: Out<'_, ArrayDescriptor>, array: usize);
    cuArrayGetPlane(plane: Out<'_, usize>, array: usize, index: u32);
    cuArrayGetMemoryRequirements(requirements: Out<'_, [u64; 4]>, array: usize, device: i32);
    cuArrayGetSparseProperties(properties: Out<'_, [u64; 5]>, array: usize);
    cuTexObjectCreate(texture: Out<'_, u64>, resource: In<'_, DriverResource>, description: In<'_, DriverTexture>, view: In<'_, DriverView>);
    cuTexObjectDestroy(texture: u64);
    cuTexObjectGetResourceDesc(resource: Out<'_, DriverResource>, texture: u64);
    cuTexObjectGetTextureDesc(description: Out<'_, DriverTexture>, texture: u64);
    cuTexObjectGetResourceViewDesc(view: Out<'_, DriverView>, texture: u64);
    cuSurfObjectCreate(surface: Out<'_, u64>, resource: In<'_, DriverResource>);
    cuSurfObjectDestroy(surface: u64);
    cuSurfObjectGetResourceDesc(resource: Out<'_, DriverResource>, surface: u64);
    cuMemcpyBatchAsync_v2(dsts: In<'_, u64>, srcs: In<'_, u64>, sizes: In<'_, usize>, count: usize, attributes: In<'_, MemcpyAttributes>, indices: In<'_, usize>, attribute_count: usize, stream: usize);
    cuMemcpy3DBatchAsync_v2(count: usize, list: In<'_, Memcpy3DBatchOp>, flags: u64, stream: usize);
    cuMemsetD8_v2(dst: u64, value: u8, bytes: usize);
    cuMemsetD8Async(dst: u64, value: u8, bytes: usize, stream: usize);
    cuMemsetD2D8_v2(dst: u64, pitch: usize, value: u8, width: usize, height: usize);
    cuMemsetD2D8Async(dst: u64, pitch: usize, value: u8, width: usize, height: usize, stream: usize);
    cuStreamCreate(stream: Out<'_, usize>, flags: u32);
    cuStreamCreateWithPriority(stream: Out<'_, usize>, flags: u32, priority: i32);
    cuStreamDestroy_v2(stream: usize);
    cuStreamQuery(stream: usize);
    cuStreamSynchronize(stream: usize);
    cuStreamWaitEvent(stream: usize, event: usize, flags: u32);
    cuStreamAddCallback(stream: usize, callback: HostFunction, data: Opaque, flags: u32);
    cuStreamGetPriority(stream: usize, priority: Out<'_, i32>);
    cuStreamGetFlags(stream: usize, flags: Out<'_, u32>);
    cuStreamGetId(stream: usize, id: Out<'_, u64>);
    cuStreamGetDevice(stream: usize, device: Out<'_, i32>);
    cuStreamCopyAttributes(dst: usize, src: usize);
    cuStreamGetAttribute(stream: usize, attribute: u32, value: Out<'_, AttributeValue>);
    cuStreamSetAttribute(stream: usize, attribute: u32, value: In<'_, AttributeValue>);
    cuStreamAttachMemAsync(stream: usize, at: u64, bytes: usize, flags: u32);
    cuStreamBeginCapture_v2(stream: usize, mode: u32);
    cuStreamBeginCaptureToGraph(stream: usize, graph: usize, dependencies: In<'_, usize>, edges: In<'_, EdgeData>, count: usize, mode: u32);
    cuStreamEndCapture(stream: usize, graph: Out<'_, usize>);
    cuStreamIsCapturing(stream: usize, status: Out<'_, u32>);
    cuStreamGetCaptureInfo_v3(stream: usize, status: Out<'_, u32>, id: Out<'_, u64>, graph: Out<'_, usize>, dependencies: Out<'_, usize>, edges: Out<'_, usize>, count: Out<'_, usize>);
    cuStreamUpdateCaptureDependencies_v2(stream: usize, dependencies: In<'_, usize>, edges: In<'_, EdgeData>, count: usize, flags: u32);
    cuThreadExchangeStreamCaptureMode(mode: InOut<'_, u32>);
    cuLaunchHostFunc(stream: usize, function: HostFunction, data: Opaque);
    cuEventCreate(event: Out<'_, usize>, flags: u32);
    cuEventDestroy_v2(event: usize);
    cuEventRecord(event: usize, stream: usize);
    cuEventRecordWithFlags(event: usize, stream: usize, flags: u32);
    cuEventQuery(event: usize);
    cuEventSynchronize(event: usize);
    cuEventElapsedTime(milliseconds: Out<'_, f32>, start: usize, end: usize);
    cuIpcGetMemHandle(handle: Out<'_, IpcHandle>, at: u64);
    cuIpcOpenMemHandle_v2(at: Out<'_, u64>, handle: IpcHandle, flags: u32);
    cuIpcCloseMemHandle(at: u64);
    cuIpcGetEventHandle(handle: Out<'_, IpcHandle>, event: usize);
    cuIpcOpenEventHandle(event: Out<'_, usize>, handle: IpcHandle);
    cuLibraryLoadData(library: Out<'_, usize>, code: Image, jit: In<'_, u32>, jit_values: InOut<'_, usize>, jit_count: u32, options: In<'_, u32>, values: In<'_, usize>, count: u32);
    cuLibraryLoadFromFile(library: Out<'_, usize>, path: Text, jit: In<'_, u32>, jit_values: InOut<'_, usize>, jit_count: u32, options: In<'_, u32>, values: In<'_, usize>, count: u32);
    cuLibraryUnload(library: usize);
    cuLibraryGetKernel(kernel: Out<'_, usize>, library: usize, name: Text);
    cuLibraryGetKernelCount(count: Out<'_, u32>, library: usize);
    cuLibraryEnumerateKernels(kernels: Out<'_, usize>, count: u32, library: usize);
    cuLibraryGetGlobal(at: Out<'_, u64>, bytes: Out<'_, usize>, library: usize, name: Text);
    cuLibraryGetManaged(at: Out<'_, u64>, bytes: Out<'_, usize>, library: usize, name: Text);
    cuLibraryGetUnifiedFunction(function: Out<'_, usize>, library: usize, name: Text);
    cuKernelGetFunction(function: Out<'_, usize>, kernel: usize);
    cuKernelGetParamInfo(kernel: usize, index: usize, offset: Out<'_, usize>, bytes: Out<'_, usize>);
    cuKernelGetName(name: Out<'_, usize>, kernel: usize);
    cuKernelSetAttribute(attribute: u32, value: i32, kernel: usize, device: i32);
    cuFuncGetAttribute(value: Out<'_, i32>, attribute: u32, function: usize);
    cuFuncSetAttribute(function: usize, attribute: u32, value: i32);
    cuFuncSetCacheConfig(function: usize, config: u32);
    cuFuncSetSharedMemConfig(function: usize, config: u32);
    cuLaunchKernel(function: usize, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32, block_y: u32, block_z: u32, shared_bytes: u32, stream: usize, parameters: In<'_, usize>, extra: In<'_, usize>);
    cuLaunchKernelEx(config: In<'_, DriverLaunchConfig>, function: usize, parameters: In<'_, usize>, extra: In<'_, usize>);
    cuLaunchCooperativeKernel(function: usize, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32, block_y: u32, block_z: u32, shared_bytes: u32, stream: usize, parameters: In<'_, usize>);
    cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks: Out<'_, i32>, function: usize, block: i32, shared_bytes: usize);
    cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks: Out<'_, i32>, function: usize, block: i32, shared_bytes: usize, flags: u32);
    cuOccupancyAvailableDynamicSMemPerBlock(bytes: Out<'_, usize>, function: usize, blocks: i32, block: i32);
    cuOccupancyMaxPotentialClusterSize(size: Out<'_, i32>, function: usize, config: In<'_, DriverLaunchConfig>);
    cuOccupancyMaxActiveClusters(count: Out<'_, i32>, function: usize, config: In<'_, DriverLaunchConfig>);
    cuGetProcAddress_v2(name: Text, function: Out<'_, usize>, version: i32, flags: u64, status: Out<'_, u32>);
    cuProfilerStart();
    cuProfilerStop();
    cuGraphCreate(graph: Out<'_, usize>, flags: u32);
    cuGraphDestroy(graph: usize);
    cuGraphClone(clone: Out<'_, usize>, graph: usize);
    cuGraphNodeFindInClone(node: Out<'_, usize>, original: usize, clone: usize);
    cuGraphGetNodes(graph: usize, nodes: Out<'_, usize>, count: InOut<'_, usize>);
    cuGraphGetRootNodes(graph: usize, nodes: Out<'_, usize>, count: InOut<'_, usize>);
    cuGraphGetEdges_v2(graph: usize, from: Out<'_, usize>, to: Out<'_, usize>, data: Out<'_, EdgeData>, count: InOut<'_, usize>);
    cuGraphNodeGetDependencies_v2(node: usize, nodes: Out<'_, usize>, data: Out<'_, EdgeData>, count: InOut<'_, usize>);
    cuGraphNodeGetDependentNodes_v2(node: usize, nodes: Out<'_, usize>, data: Out<'_, EdgeData>, count: InOut<'_, usize>);
    cuGraphAddDependencies_v2(graph: usize, from: In<'_, usize>, to: In<'_, usize>, data: In<'_, EdgeData>, count: usize);
    cuGraphRemoveDependencies_v2(graph: usize, from: In<'_, usize>, to: In<'_, usize>, data: In<'_, EdgeData>, count: usize);
    cuGraphNodeGetType(node: usize, kind: Out<'_, u32>);
    cuGraphDestroyNode(node: usize);
    cuGraphAddKernelNode_v2(node: Out<'_, usize>, graph: usize, dependencies: In<'_, usize>, count: usize, parameters: In<'_, DriverKernelNode>);
    cuGraphKernelNodeGetParams_v2(node: usize, parameters: Out<'_, DriverKernelNode>);
    cuGraphKernelNodeSetParams_v2(node: usize, parameters: In<'_, DriverKernelNode>);
    cuGraphExecKernelNodeSetParams_v2(exec: usize, node: usize, parameters: In<'_, DriverKernelNode>);
    cuGraphKernelNodeCopyAttributes(dst: usize, src: usize);
    cuGraphKernelNodeGetAttribute(node: usize, attribute: u32, value: Out<'_, AttributeValue>);
    cuGraphKernelNodeSetAttribute(node: usize, attribute: u32, value: In<'_, AttributeValue>);
    cuGraphAddMemcpyNode(node: Out<'_, usize>, graph: usize, dependencies: In<'_, usize>, count: usize, copy: In<'_, Copy3D>, context: usize);
    cuGraphMemcpyNodeGetParams(node: usize, copy: Out<'_, Copy3D>);
    cuGraphMemcpyNodeSetParams(node: usize, copy: In<'_, Copy3D>);
    cuGraphExecMemcpyNodeSetParams(exec: usize, node: usize, copy: In<'_, Copy3D>, context: usize);
    cuGraphAddMemsetNode(node: Out<'_, usize>, graph: usize, dependencies: In<'_, usize>, count: usize, fill: In<'_, MemsetNode>, context: usize);
    cuGraphMemsetNodeGetParams(node: usize, fill: Out<'_, MemsetNode>);
    cuGraphMemsetNodeSetParams(node: usize, fill: In<'_, MemsetNode>);
    cuGraphExecMemsetNodeSetParams(exec: usize, node: usize, fill: In<'_, MemsetNode>, context: usize);
    cuGraphAddHostNode(node: Out<'_, usize>, graph: usize, dependencies: In<'_, usize>, count: usize, call: In<'_, HostNode>);
    cuGraphHostNodeGetParams(node: usize, call: Out<'_, HostNode>);
    cuGraphHostNodeSetParams(node: usize, call: In<'_, HostNode>);
    cuGraphExecHostNodeSetParams(exec: usize, node: usize, call: In<'_, HostNode>);
    cuGraphAddEmptyNode(node: Out<'_, usize>, graph: usize, dependencies: In<'_, usize>, count: usize);
    cuGraphAddChildGraphNode(node: Out<'_, usize>, graph: usize, dependencies: In<'_, usize>, count: usize, child: usize);
    cuGraphChildGraphNodeGetGraph(node: usize, graph: Out<'_, usize>);
    cuGraphExecChildGraphNodeSetParams(exec: usize, node: usize, child: usize);
    cuGraphAddEventRecordNode(node: Out<'_, usize>, graph: usize, dependencies: In<'_, usize>, count: usize, event: usize);
    cuGraphAddEventWaitNode(node: Out<'_, usize>, graph: usize, dependencies: In<'_, usize>, count: usize, event: usize);
    cuGraphEventRecordNodeGetEvent(node: usize, event: Out<'_, usize>);
    cuGraphEventRecordNodeSetEvent(node: usize, event: usize);
    cuGraphEventWaitNodeGetEvent(node: usize, event: Out<'_, usize>);
    cuGraphEventWaitNodeSetEvent(node: usize, event: usize);
    cuGraphExecEventRecordNodeSetEvent(exec: usize, node: usize, event: usize);
    cuGraphExecEventWaitNodeSetEvent(exec: usize, node: usize, event: usize);
    cuGraphAddMemAllocNode(node: Out<'_, usize>, graph: usize, dependencies: In<'_, usize>, count: usize, parameters: InOut<'_, MemAllocNodeParams>);
    cuGraphMemAllocNodeGetParams(node: usize, parameters: Out<'_, MemAllocNodeParams>);
    cuGraphAddMemFreeNode(node: Out<'_, usize>, graph: usize, dependencies: In<'_, usize>, count: usize, at: u64);
    cuGraphMemFreeNodeGetParams(node: usize, at: Out<'_, u64>);
    cuGraphInstantiateWithFlags(exec: Out<'_, usize>, graph: usize, flags: u64);
    cuGraphInstantiateWithParams(exec: Out<'_, usize>, graph: usize, parameters: InOut<'_, GraphInstantiateParams>);
    cuGraphExecGetFlags(exec: usize, flags: Out<'_, u64>);
    cuGraphExecUpdate_v2(exec: usize, graph: usize, result: Out<'_, GraphExecUpdateResultInfo>);
    cuGraphNodeSetEnabled(exec: usize, node: usize, enabled: u32);
    cuGraphNodeGetEnabled(exec: usize, node: usize, enabled: Out<'_, u32>);
    cuGraphUpload(exec: usize, stream: usize);
    cuGraphLaunch(exec: usize, stream: usize);
    cuGraphExecDestroy(exec: usize);
    cuGraphDebugDotPrint(graph: usize, path: Text, flags: u32);
    cuUserObjectCreate(object: Out<'_, usize>, data: Opaque, destroy: HostFunction, count: u32, flags: u32);
    cuUserObjectRetain(object: usize, count: u32);
    cuUserObjectRelease(object: usize, count: u32);
    cuGraphRetainUserObject(graph: usize, object: usize, count: u32, flags: u32);
    cuGraphReleaseUserObject(graph: usize, object: usize, count: u32);
}

/// A loaded library, never closed.
pub(crate) struct Library(usize);

impl Library {
    fn open(name: &CStr) -> Option<Self> {
        // SAFETY: the name ends in zero.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        (!handle.is_null()).then_some(Self(handle as usize))
    }

    fn address(&self, name: &str) -> Option<*mut c_void> {
        let name = CStr::from_bytes_with_nul(name.as_bytes()).ok()?;
        // SAFETY: the handle is a library that is never closed; the name ends in zero.
        let found = unsafe { libc::dlsym(self.0 as *mut c_void, name.as_ptr()) };
        (!found.is_null()).then_some(found)
    }

    /// The function of that name, which ends in zero, as the type of function that `F` is.
    pub(crate) fn find<F: Copy>(&self, name: &str) -> Option<F> {
        const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
        let found = self.address(name)?;
        // SAFETY: `F` is a type of function pointers, as large as an address; that the function has that type is what the
        // driver's header says of its name.
        Some(unsafe { std::mem::transmute_copy(&found) })
    }
}

/// The driver's library, if there is one.
pub(crate) fn library() -> Option<&'static Library> {
    static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();
    let open = || Library::open(c"libcuda.so.1").inspect(crate::exports::offer_calls);
    LIBRARY.get_or_init(open).as_ref()
}

/// The driver, not necessarily started.
pub(crate) fn loaded() -> Outcome<&'static Driver> {
    static DRIVER: OnceLock<Option<Driver>> = OnceLock::new();
    let driver = DRIVER.get_or_init(|| library().map(Driver::resolve));
    driver.as_ref().ok_or(Error::INSUFFICIENT_DRIVER)
}

/// Set when the program ends: nothing is unloaded any more.
static ENDING: AtomicBool = AtomicBool::new(false);

extern "C" fn at_exit() {
    ENDING.store(true, Ordering::Relaxed);
}

/// Whether the program is ending.
pub(crate) fn is_ending() -> bool {
    ENDING.load(Ordering::Relaxed)
}

/// Set in the child of a process that had started the driver. Checked before any lock is taken: a thread that is not there
/// any more may have held it.
static FORKED: AtomicBool = AtomicBool::new(false);

extern "C" fn in_child() {
    FORKED.store(true, Ordering::Relaxed);
}

/// The driver, started.
#[inline]
pub(crate) fn started() -> Outcome<&'static Driver> {
    static STARTED: OnceLock<Outcome> = OnceLock::new();
    if FORKED.load(Ordering::Relaxed) {
        return Err(Error::NOT_INITIALIZED);
    }
    let driver = loaded()?;
    let outcome = STARTED.get_or_init(|| {
        // SAFETY: the function lives as long as the process: this library is never unloaded.
        unsafe { libc::atexit(at_exit) };
        // SAFETY: as above; it only stores a flag.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        driver.cuInit(0)
    });
    outcome.map(|()| driver)
}

/// The driver, with a context for this thread: its current one, or else the primary one of its device.
#[inline]
pub(crate) fn bind() -> Outcome<&'static Driver> {
    let driver = started()?;
    let mut context = 0;
    driver.cuCtxGetCurrent(Out::to(&mut context))?;
    if context == 0 {
        driver.cuCtxSetCurrent(primary(thread::device())?)?;
    }
    thread::set_bound(true);
    Ok(driver)
}

/// Like [`bind`], but takes it for granted if the thread was bound before: for launches, which ask again if the driver
/// says that there is no context.
#[inline]
pub(crate) fn bound() -> Outcome<&'static Driver> {
    if thread::bound() { loaded() } else { bind() }
}

/// How many devices there are.
///
/// # Errors
/// Those of the driver's start; that there is none.
pub(crate) fn device_count() -> Outcome<i32> {
    let mut count = 0;
    started()?.cuDeviceGetCount(Out::to(&mut count))?;
    if count == 0 { Err(Error::NO_DEVICE) } else { Ok(count) }
}

/// Refuses ordinals that no device has.
pub(crate) fn check_device(device: i32) -> Outcome {
    let is_one = (0..device_count()?).contains(&device);
    if is_one { Ok(()) } else { Err(Error::INVALID_DEVICE) }
}

static PRIMARY: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// The primary context of a device, retained once a process.
pub(crate) fn primary(device: i32) -> Outcome<usize> {
    check_device(device)?;
    let index = usize::try_from(device).map_err(|_| Error::INVALID_DEVICE)?;
    let mut contexts = PRIMARY.lock().map_err(|_| Error::UNKNOWN)?;
    if contexts.len() <= index {
        contexts.resize(index + 1, 0);
    }
    if contexts[index] == 0 {
        contexts[index] = retain(device)?;
    }
    Ok(contexts[index])
}

#[cold]
fn retain(device: i32) -> Outcome<usize> {
    let mut context = 0;
    started()?.cuDevicePrimaryCtxRetain(Out::to(&mut context), device)?;
    Ok(context)
}

/// Forgets the primary context of a device that was reset.
pub(crate) fn forget_primary(device: i32) {
    let Ok(mut contexts) = PRIMARY.lock() else { return };
    if let Some(context) = usize::try_from(device).ok().and_then(|index| contexts.get_mut(index)) {
        *context = 0;
    }
}
