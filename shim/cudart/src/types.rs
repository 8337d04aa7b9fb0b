//! Structures that programs, the runtime and the driver share, as CUDA 13's public headers lay them out.

/// Counts in three dimensions.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Dim3 {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) z: u32,
}

impl Dim3 {
    /// Whether every dimension is from 1 to its limit.
    #[inline]
    pub(crate) fn is_within(self, limit: Dim3) -> bool {
        let fits = |value: u32, limit: u32| value != 0 && value <= limit;
        fits(self.x, limit.x) & fits(self.y, limit.y) & fits(self.z, limit.z)
    }

    /// The product of all three.
    #[inline]
    pub(crate) fn volume(self) -> u64 {
        // Three numbers of at most 1024, where it is asked.
        u64::from(self.x) * u64::from(self.y) * u64::from(self.z)
    }
}

/// `cudaExtent`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extent {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) depth: usize,
}

/// `cudaPos`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Position {
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) z: usize,
}

/// `cudaPitchedPtr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PitchedPtr {
    pub(crate) ptr: usize,
    pub(crate) pitch: usize,
    pub(crate) xsize: usize,
    pub(crate) ysize: usize,
}

/// `cudaMemLocation`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Location {
    pub(crate) kind: i32,
    pub(crate) id: i32,
}

/// `cudaLaunchConfig_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LaunchConfig {
    pub(crate) grid: Dim3,
    pub(crate) block: Dim3,
    pub(crate) shared_bytes: usize,
    pub(crate) stream: usize,
    pub(crate) attributes: usize,
    pub(crate) attribute_count: u32,
}

/// `CUlaunchConfig`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DriverLaunchConfig {
    pub(crate) grid: Dim3,
    pub(crate) block: Dim3,
    pub(crate) shared_bytes: u32,
    pub(crate) stream: usize,
    pub(crate) attributes: usize,
    pub(crate) attribute_count: u32,
}

/// One side of `CUDA_MEMCPY2D`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Side2D {
    pub(crate) x_bytes: usize,
    pub(crate) y: usize,
    pub(crate) kind: u32,
    pub(crate) host: usize,
    pub(crate) device: u64,
    pub(crate) array: usize,
    pub(crate) pitch: usize,
}

/// `CUDA_MEMCPY2D_v2`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Copy2D {
    pub(crate) src: Side2D,
    pub(crate) dst: Side2D,
    pub(crate) width_bytes: usize,
    pub(crate) height: usize,
}

/// One side of `CUDA_MEMCPY3D` and `CUDA_MEMCPY3D_PEER`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Side3D {
    pub(crate) x_bytes: usize,
    pub(crate) y: usize,
    pub(crate) z: usize,
    pub(crate) level: usize,
    pub(crate) kind: u32,
    pub(crate) host: usize,
    pub(crate) device: u64,
    pub(crate) array: usize,
    /// The context in copies between devices, else null.
    pub(crate) context: usize,
    pub(crate) pitch: usize,
    pub(crate) height: usize,
}

/// `CUDA_MEMCPY3D_v2` and `CUDA_MEMCPY3D_PEER_v1`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Copy3D {
    pub(crate) src: Side3D,
    pub(crate) dst: Side3D,
    pub(crate) width_bytes: usize,
    pub(crate) height: usize,
    pub(crate) depth: usize,
}

/// `cudaMemcpy3DParms`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Copy3DParameters {
    pub(crate) src_array: usize,
    pub(crate) src_position: Position,
    pub(crate) src: PitchedPtr,
    pub(crate) dst_array: usize,
    pub(crate) dst_position: Position,
    pub(crate) dst: PitchedPtr,
    pub(crate) extent: Extent,
    pub(crate) kind: u32,
}

/// `cudaMemcpy3DPeerParms`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PeerCopy3DParameters {
    pub(crate) src_array: usize,
    pub(crate) src_position: Position,
    pub(crate) src: PitchedPtr,
    pub(crate) src_device: i32,
    pub(crate) dst_array: usize,
    pub(crate) dst_position: Position,
    pub(crate) dst: PitchedPtr,
    pub(crate) dst_device: i32,
    pub(crate) extent: Extent,
}

/// `cudaKernelNodeParams`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KernelNode {
    pub(crate) function: usize,
    pub(crate) grid: Dim3,
    pub(crate) block: Dim3,
    pub(crate) shared_bytes: u32,
    pub(crate) parameters: usize,
    pub(crate) extra: usize,
}

/// `CUDA_KERNEL_NODE_PARAMS_v2`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DriverKernelNode {
    pub(crate) function: usize,
    pub(crate) grid: Dim3,
    pub(crate) block: Dim3,
    pub(crate) shared_bytes: u32,
    pub(crate) parameters: usize,
    pub(crate) extra: usize,
    pub(crate) kernel: usize,
    pub(crate) context: usize,
}

/// `cudaMemsetParams` and `CUDA_MEMSET_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MemsetNode {
    pub(crate) dst: u64,
    pub(crate) pitch: usize,
    pub(crate) value: u32,
    pub(crate) element_bytes: u32,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// `cudaHostNodeParams` and `CUDA_HOST_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HostNode {
    pub(crate) function: usize,
    pub(crate) data: usize,
}

/// `cudaFuncAttributes`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FunctionAttributes {
    pub(crate) shared_bytes: usize,
    pub(crate) const_bytes: usize,
    pub(crate) local_bytes: usize,
    /// From `maxThreadsPerBlock` to `nonPortableClusterSizeAllowed`, in the header's order.
    pub(crate) numbers: [i32; 13],
    pub(crate) reserved: [i32; 16],
}

/// `cudaPointerAttributes`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PointerAttributes {
    pub(crate) kind: u32,
    pub(crate) device: i32,
    pub(crate) device_pointer: u64,
    pub(crate) host_pointer: u64,
    pub(crate) reserved: [u64; 8],
}

/// `cudaChannelFormatDesc`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ChannelFormat {
    pub(crate) bits: [i32; 4],
    pub(crate) kind: u32,
}

/// `CUDA_ARRAY3D_DESCRIPTOR_v2`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ArrayDescriptor {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) depth: usize,
    pub(crate) format: u32,
    pub(crate) channels: u32,
    pub(crate) flags: u32,
}

/// `cudaResourceDesc`: an array; or an address, a `cudaChannelFormatDesc` from the second word on, and bytes or width,
/// height and pitch from the fifth on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Resource {
    pub(crate) kind: u32,
    pub(crate) words: [u64; 16],
    pub(crate) flags: u32,
}

/// `CUDA_RESOURCE_DESC`: the same with format and channels in the second word, and the sizes from the third on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DriverResource {
    pub(crate) kind: u32,
    pub(crate) words: [u64; 16],
    pub(crate) flags: u32,
}

/// `cudaTextureDesc`; floats by their bits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Texture {
    pub(crate) address_modes: [u32; 3],
    pub(crate) filter: u32,
    pub(crate) read_mode: u32,
    pub(crate) srgb: i32,
    pub(crate) border: [u32; 4],
    pub(crate) normalized: i32,
    pub(crate) anisotropy: u32,
    pub(crate) mipmap_filter: u32,
    /// Bias, least and greatest level of detail.
    pub(crate) mipmap: [u32; 3],
    pub(crate) no_trilinear: i32,
    pub(crate) seamless: i32,
}

/// `CUDA_TEXTURE_DESC`; floats by their bits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DriverTexture {
    pub(crate) address_modes: [u32; 3],
    pub(crate) filter: u32,
    pub(crate) flags: u32,
    pub(crate) anisotropy: u32,
    pub(crate) mipmap_filter: u32,
    pub(crate) mipmap: [u32; 3],
    pub(crate) border: [u32; 4],
    pub(crate) reserved: [u32; 12],
}

/// `cudaResourceViewDesc` and `CUDA_RESOURCE_VIEW_DESC`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DriverView {
    pub(crate) format: u32,
    pub(crate) size: [u64; 3],
    pub(crate) ranges: [u32; 4],
    pub(crate) reserved: [u32; 16],
}

/// `cudaIpcMemHandle_t` and `cudaIpcEventHandle_t`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpcHandle {
    pub(crate) bytes: [u64; 8],
}

// The sizes that a C compiler finds in CUDA 13.0's headers.
const _: () = {
    use std::mem::size_of;
    assert!(size_of::<LaunchConfig>() == 56);
    assert!(size_of::<DriverLaunchConfig>() == 56);
    assert!(size_of::<Copy2D>() == 128);
    assert!(size_of::<Copy3D>() == 200);
    assert!(size_of::<Copy3DParameters>() == 160);
    assert!(size_of::<PeerCopy3DParameters>() == 168);
    assert!(size_of::<KernelNode>() == 56);
    assert!(size_of::<DriverKernelNode>() == 72);
    assert!(size_of::<MemsetNode>() == 40);
    assert!(size_of::<FunctionAttributes>() == 144);
    assert!(size_of::<PointerAttributes>() == 88);
    assert!(size_of::<ArrayDescriptor>() == 40);
    assert!(size_of::<Resource>() == 144);
    assert!(size_of::<DriverResource>() == 144);
    assert!(size_of::<Texture>() == 72);
    assert!(size_of::<DriverTexture>() == 104);
    assert!(size_of::<DriverView>() == 112);
};

/// Structures of the program's that are handed to the driver as they are.
macro_rules! handed_on {
    ($($name:ident),+) => {$(
        pub(crate) enum $name {}
    )+};
}

handed_on! {
    AttributeValue, EdgeData, GraphExecUpdateResultInfo, GraphInstantiateParams, MemAccessDesc, MemAllocNodeParams,
    MemPoolProps, MemPoolPtrExportData, Memcpy3DBatchOp, MemcpyAttributes
}
