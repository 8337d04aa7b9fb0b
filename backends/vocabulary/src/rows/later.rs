//! Rows that came later, whatever their subject. New ones go to the end.

/// Puts these rows behind those before, and hands all to the next macro.
macro_rules! later {
    ({ $($before:tt)* } $next:ident $($more:ident)*) => {
        $next! { {
        $($before)*

            /// Encodes a tensor map: a pure function of its arguments.
            120 sync TensorMapEncode tensor_map_encode ["cuTensorMapEncodeTiled", "cuTensorMapEncodeIm2col", "cuTensorMapReplaceAddress"] since 12000
            {
                /// 0 tiled, 1 im2col, 2 replace the address.
                in kind: u32,
                /// Where the 128 bytes go.
                out map: ArenaRef,
            }
            tail
                /// All numbers as u64: data type, rank, address, sizes, strides, box, element strides, interleave, swizzle, promotion, fill; im2col: also the corners, channels and pixels; 2: the old map and the address.
                arguments
            reply TensorMapEncodeReply {};

            /// Breaks the capture that a stream takes part in: it ends with STREAM_CAPTURE_INVALIDATED, as after a call that a
            /// capture forbids. Nothing happens to a stream that does not capture.
            121 sync StreamCaptureInvalidate stream_capture_invalidate [] since 0
            {
                /// The stream.
                in stream: StreamId,
            }
            reply StreamCaptureInvalidateReply {};

            /// Makes lines of the second-level cache that persist normal ones again.
            122 sync ContextResetL2 context_reset_l2 ["cuCtxResetPersistingL2Cache"] since 11000
            {
                /// The context.
                in context: ContextId,
            }
            reply ContextResetL2Reply {};

            /// How many elements of a format a texture over memory in a row may have.
            123 sync DeviceTextureWidth device_texture_width ["cuDeviceGetTexture1DLinearMaxWidth"] since 11010
            {
                /// The device's ordinal.
                in device: u32,
                /// `CUarray_format`.
                in format: u32,
                /// Channels of an element.
                in channels: u32,
            }
            reply DeviceTextureWidthReply {
                /// How many.
                elements: u64,
            };

            /// Which node of a copied graph is the copy of a node.
            124 sync GraphNodeFindInClone graph_node_find_in_clone ["cuGraphNodeFindInClone"] since 10000
            {
                /// The node of the original.
                in node: NodeId,
                /// The copy, as `graph_clone` made it.
                in graph: GraphId,
            }
            reply GraphNodeFindInCloneReply {
                /// The copy's node.
                node: NodeId,
            };

            /// Changes the host function of a node.
            125 sync GraphSetHost graph_set_host ["cuGraphHostNodeSetParams", "cuGraphExecHostNodeSetParams"] since 10000
            {
                /// The node.
                in node: NodeId,
                /// The executable graph; 0 for the node's own graph.
                in exec: GraphExecId,
                /// What the client knows the function by.
                in token: u64,
            }
            reply GraphSetHostReply {};

            /// Changes the event that a node records or waits for.
            126 sync GraphSetEvent graph_set_event ["cuGraphEventRecordNodeSetEvent", "cuGraphEventWaitNodeSetEvent", "cuGraphExecEventRecordNodeSetEvent", "cuGraphExecEventWaitNodeSetEvent"] since 11010
            {
                /// The node.
                in node: NodeId,
                /// The executable graph; 0 for the node's own graph.
                in exec: GraphExecId,
                /// The event.
                in event: EventId,
                /// 1 for a node that waits, 0 for one that records.
                in wait: u32,
            }
            reply GraphSetEventReply {};

            /// Changes the graph inside a node of an executable graph into another of the same shape.
            127 sync GraphSetChild graph_set_child ["cuGraphExecChildGraphNodeSetParams"] since 11010
            {
                /// The node.
                in node: NodeId,
                /// The executable graph.
                in exec: GraphExecId,
                /// The graph that is copied.
                in child: GraphId,
            }
            reply GraphSetChildReply {};

            /// What a memset node fills.
            128 sync GraphMemsetParams graph_memset_params ["cuGraphMemsetNodeGetParams"] since 10000
            {
                /// The node.
                in node: NodeId,
            }
            reply GraphMemsetParamsReply {
                /// The first byte.
                dst: DevicePtr,
                /// Bytes from row to row.
                pitch: u64,
                /// Values of a row.
                width: u64,
                /// Rows.
                height: u64,
                /// The value.
                value: u32,
                /// 1, 2 or 4.
                element_bytes: u32,
            };

            /// What a copy node copies, as `graph_add_memcpy` takes it. An end in pinned memory is told by its address.
            129 sync GraphMemcpyParams graph_memcpy_params ["cuGraphMemcpyNodeGetParams"] since 10000
            {
                /// The node.
                in node: NodeId,
                /// Where 9 words go: address, pitch and slice of the destination, of the source; bytes of a row, rows, slices.
                out copy: ArenaRef,
            }
            reply GraphMemcpyParamsReply {};

            /// What a node refers to.
            130 sync GraphNodeObject graph_node_object ["cuGraphHostNodeGetParams", "cuGraphEventRecordNodeGetEvent", "cuGraphEventWaitNodeGetEvent", "cuGraphChildGraphNodeGetGraph"] since 10000
            {
                /// The node.
                in node: NodeId,
                /// The kind that it must have: `CUgraphNodeType` of a host function, a graph, or an event.
                in kind: u32,
                /// A number for the graph inside a node of that kind, if it has none yet; else 0.
                in graph: GraphId,
            }
            reply GraphNodeObjectReply {
                /// The token of its host function, the number of its event, or the number of the graph inside it.
                object: u64,
            };

            /// A failure of a posted command by its number among all, the first being 0, as far as they are remembered.
            131 sync FailureStatus failure_status [] since 0
            {
                /// The number.
                in number: u64,
            }
            reply FailureStatusReply {
                /// The command's position.
                position: u64,
                /// Its status; 0 if there are not so many failures, or that one is no longer remembered.
                status: u32,
            };

            /// Loads an image that this client has sent before, if it is still kept: then the module is loaded as by
            /// `module_load`. If not, nothing has happened, and the client sends the image.
            132 sync ModuleLoadKnown module_load_known [] since 0
            {
                /// The context it belongs to.
                in context: ContextId,
                /// A number not in use.
                in module: ModuleId,
                /// BLAKE3 of the whole image, its bytes in order as little-endian numbers.
                in hash: [u64; 4],
            }
            reply ModuleLoadKnownReply {
                /// 1 if the image was kept and is loaded, 0 if it is not known.
                known: u32,
            };

            /// Whether a node of an executable graph is enabled: a disabled one is passed over at a launch.
            133 sync GraphNodeEnabled graph_node_enabled ["cuGraphNodeGetEnabled", "cuGraphNodeSetEnabled"] since 11060
            {
                /// The node: a kernel, a copy or a fill.
                in node: NodeId,
                /// The executable graph.
                in exec: GraphExecId,
                /// 1 to set it, 0 to ask.
                in set: u32,
                /// 1 to enable, 0 to disable.
                in enabled: u32,
            }
            reply GraphNodeEnabledReply {
                /// 1 if it is enabled now.
                enabled: u32,
            };

            /// An attribute of a kernel node.
            134 sync GraphKernelAttribute graph_kernel_attribute ["cuGraphKernelNodeGetAttribute", "cuGraphKernelNodeSetAttribute"] since 11000
            {
                /// The node.
                in node: NodeId,
                /// `CUkernelNodeAttrID`.
                in attribute: u32,
                /// 1 to set it, 0 to ask.
                in set: u32,
                /// `CUkernelNodeAttrValue`, its first 32 bytes.
                in value: [u64; 4],
            }
            reply GraphKernelAttributeReply {
                /// The value now, its first 32 bytes.
                value: [u64; 4],
            };

            /// Gives a kernel node the attributes of another.
            135 sync GraphKernelCopyAttributes graph_kernel_copy_attributes ["cuGraphKernelNodeCopyAttributes"] since 11000
            {
                /// The node that changes.
                in dst: NodeId,
                /// The other.
                in src: NodeId,
            }
            reply GraphKernelCopyAttributesReply {};

            /// Whether an event's latest record is complete, asked of the device: for events that graphs record, of whose records
            /// a client does not know.
            136 sync EventStatus event_status [] since 0
            {
                /// The event.
                in event: EventId,
            }
            reply EventStatusReply {
                /// 0 complete or never recorded, 600 not yet, else the failure.
                status: u32,
            };

            /// Makes device memory reachable for other clients of the device, by a handle of 64 bytes.
            137 sync IpcMemoryHandle ipc_memory_handle ["cuIpcGetMemHandle"] since 4010
            {
                /// An address of `mem_alloc`'s.
                in at: DevicePtr,
                /// Where the handle goes.
                out handle: ArenaRef,
            }
            reply IpcMemoryHandleReply {};

            /// Maps memory of another client. Opening it again answers the same address; it is mapped until it was closed as
            /// often.
            138 sync IpcMemoryOpen ipc_memory_open ["cuIpcOpenMemHandle_v2", "cuIpcOpenMemHandle"] since 4010
            {
                /// The context it is mapped in.
                in context: ContextId,
                /// `CUipcMem_flags`.
                in flags: u32,
                /// The handle, its bytes in order as little-endian numbers.
                in handle: [u64; 8],
            }
            reply IpcMemoryOpenReply {
                /// The address that the handle was made for, as it is here.
                at: DevicePtr,
                /// The first byte of what is mapped.
                base: DevicePtr,
                /// How many bytes are mapped.
                bytes: u64,
            };

            /// Ends the use of memory of another client, once all work posted before is done.
            139 sync IpcMemoryClose ipc_memory_close ["cuIpcCloseMemHandle"] since 4010
            {
                /// The address that `ipc_memory_open` answered.
                in at: DevicePtr,
            }
            reply IpcMemoryCloseReply {};

            /// Makes an event that was created for it reachable for other clients, by a handle of 64 bytes.
            140 sync IpcEventHandle ipc_event_handle ["cuIpcGetEventHandle"] since 4010
            {
                /// The event.
                in event: EventId,
                /// Where the handle goes.
                out handle: ArenaRef,
            }
            reply IpcEventHandleReply {};

            /// Opens an event of another client under a number that this client chose.
            141 sync IpcEventOpen ipc_event_open ["cuIpcOpenEventHandle"] since 4010
            {
                /// The context it belongs to here.
                in context: ContextId,
                /// A number not in use.
                in event: EventId,
                /// The handle, its bytes in order as little-endian numbers.
                in handle: [u64; 8],
            }
            reply IpcEventOpenReply {};

            /// Makes later work of a stream part of a graph that exists, behind some of its nodes. The capture ends with that
            /// graph's number.
            142 sync StreamBeginCaptureToGraph stream_begin_capture_to_graph ["cuStreamBeginCaptureToGraph"] since 12030
            {
                /// The stream.
                in stream: StreamId,
                /// The graph.
                in graph: GraphId,
                /// `CUstreamCaptureMode`.
                in mode: u32,
            }
            tail
                /// Numbers of the nodes that the first captured one depends on, 8 bytes each.
                nodes
            reply StreamBeginCaptureToGraphReply {};

            /// Adds an allocation of device memory to a graph. Its address is the same for every launch.
            143 sync GraphAddMemAlloc graph_add_mem_alloc ["cuGraphAddMemAllocNode"] since 11040
            {
                /// The graph.
                in graph: GraphId,
                /// The ordinal of the device that has the memory.
                in device: u32,
                /// Size in bytes, above 0.
                in bytes: u64,
                /// A bit for each device that reaches it besides: bit n is device n.
                in reached_by: u64,
            }
            tail
                /// Numbers of the nodes it depends on, 8 bytes each.
                nodes
            reply GraphAddMemAllocReply {
                /// The node's number.
                node: NodeId,
                /// The memory's first byte.
                at: DevicePtr,
            };

            /// Adds the end of memory that a graph allocates to a graph.
            144 sync GraphAddMemFree graph_add_mem_free ["cuGraphAddMemFreeNode"] since 11040
            {
                /// The graph.
                in graph: GraphId,
                /// The memory's first byte.
                in at: DevicePtr,
            }
            tail
                /// Numbers of the nodes it depends on, 8 bytes each.
                nodes
            reply GraphAddMemFreeReply {
                /// The node's number.
                node: NodeId,
            };

            /// What a node allocates or ends.
            145 sync GraphMemoryParams graph_memory_params ["cuGraphMemAllocNodeGetParams", "cuGraphMemFreeNodeGetParams"] since 11040
            {
                /// The node.
                in node: NodeId,
                /// The kind that it must have: `CUgraphNodeType`.
                in kind: u32,
            }
            reply GraphMemoryParamsReply {
                /// The memory's first byte.
                at: DevicePtr,
                /// Of an allocation: its size in bytes.
                bytes: u64,
                /// Of an allocation: a bit for each device that reaches it besides.
                reached_by: u64,
                /// Of an allocation: the ordinal of the device that has it.
                device: u32,
            };

            /// How much memory a device has for graphs; the most that it had can be set back to 0.
            146 sync DeviceGraphMemory device_graph_memory ["cuDeviceGetGraphMemAttribute", "cuDeviceSetGraphMemAttribute"] since 11040
            {
                /// The device's ordinal.
                in device: u32,
                /// `CUgraphMem_attribute`.
                in attribute: u32,
                /// 1 to set it, 0 to ask.
                in set: u32,
                /// What it is set to.
                in value: u64,
            }
            reply DeviceGraphMemoryReply {
                /// The value now, in bytes.
                value: u64,
            };

            /// Gives unused memory for graphs back to a device.
            147 sync DeviceGraphMemoryTrim device_graph_memory_trim ["cuDeviceGraphMemTrim"] since 11040
            {
                /// The device's ordinal.
                in device: u32,
            }
            reply DeviceGraphMemoryTrimReply {};

            /// Loads a module as `module_load` does, with options of the just-in-time compiler and its logs.
            148 sync ModuleCompile module_compile ["cuModuleLoadDataEx"] since 2010
            {
                /// The context it belongs to.
                in context: ContextId,
                /// A number not in use; it stays so if the compiler fails.
                in module: ModuleId,
                /// How many options there are, at most [`crate::JIT_OPTIONS_MAX`].
                in count: u32,
                /// Room for what the compiler says, in bytes, at most [`crate::JIT_LOG_MAX_BYTES`]; 0 for none.
                in info_bytes: u32,
                /// Room for its errors, in the same way.
                in error_bytes: u32,
                /// 16 bytes an option: `CUjit_option`, one of [`crate::JIT_OPTIONS`], and its value, two words. Behind them
                /// the places for both logs, which are written as text with a terminating zero.
                out block: ArenaRef,
            }
            tail
                /// The whole image.
                image
            reply ModuleCompileReply {
                /// How loading ended; what follows is told in any case.
                status: u32,
                /// Bytes of the first log that the compiler wrote, by its own count.
                info_bytes: u32,
                /// Bytes of the log of errors.
                error_bytes: u32,
                /// Milliseconds that it took, the bits of a float, if the option asks for them.
                wall_time_bits: u32,
                /// Threads of a block that it compiled for, if the option says how many are wanted.
                block_threads: u32,
            };

            /// Sets the flags of a live context.
            149 sync ContextSetFlags context_set_flags ["cuCtxSetFlags", "cuDevicePrimaryCtxSetFlags_v2"] since 11000
            {
                /// The context.
                in context: ContextId,
                /// `CU_CTX_*`.
                in flags: u32,
            }
            reply ContextSetFlagsReply {};

            /// Creates a CUDA array under a number that the client chose.
            150 sync ArrayCreate array_create ["cuArrayCreate_v2", "cuArray3DCreate_v2"] since 3020
            {
                /// The context it belongs to.
                in context: ContextId,
                /// A number not in use, not 0.
                in array: ArrayId,
                /// Elements of a row; rows, 0 for one dimension; slices or layers, 0 for none.
                in extent: [u64; 3],
                /// `CUarray_format`.
                in format: u32,
                /// Channels of an element: 1, 2 or 4.
                in channels: u32,
                /// `CUDA_ARRAY3D_*`.
                in flags: u32,
            }
            reply ArrayCreateReply {};

            /// Destroys an array, once all work posted before is done.
            151 post ArrayDestroy array_destroy ["cuArrayDestroy"] since 2000
            {
                /// The array.
                in array: ArrayId,
            };

            /// Copies a box of bytes from or to arrays, in stream order. The corner of an end that is an array says what lies
            /// before the box there: bytes in a row, rows, slices.
            152 post MemcpyArray memcpy_array ["cuMemcpyHtoAAsync_v2", "cuMemcpyAtoHAsync_v2", "cuMemcpyHtoA_v2", "cuMemcpyAtoH_v2", "cuMemcpyDtoA_v2", "cuMemcpyAtoD_v2", "cuMemcpyAtoA_v2"] since 3020
            {
                /// Where the bytes go.
                in dst: Corner,
                /// Where the bytes come from.
                in src: Corner,
                /// The array they go to; [`ArrayId::NONE`] if it is none.
                in dst_array: ArrayId,
                /// The array they come from, in the same way. One end is an array.
                in src_array: ArrayId,
                /// Bytes of a row.
                in width_bytes: u64,
                /// Rows of a slice.
                in height: u64,
                /// Slices.
                in depth: u64,
                /// The stream.
                in stream: StreamId,
                /// Bit 0: `dst` is an arena address; bit 1: `src` is one. Not both.
                in host: u32,
            };

            /// Creates a texture object: by what kernels read elements of an array or of memory, and how.
            153 sync TextureCreate texture_create ["cuTexObjectCreate"] since 5000
            {
                /// The context it belongs to.
                in context: ContextId,
                /// `CUresourcetype`: 0 an array, 2 memory in a row, 3 memory in rows.
                in kind: u32,
                /// The array; [`ArrayId::NONE`] for memory.
                in array: ArrayId,
                /// `CUarray_format` of memory.
                in format: u32,
                /// Channels of an element of memory.
                in channels: u32,
                /// The memory's first byte.
                in at: DevicePtr,
                /// Of memory in a row its bytes; of memory in rows elements of a row, rows, and bytes from row to row.
                in size: [u64; 3],
                /// `CUaddress_mode` of each dimension.
                in address_modes: [u32; 3],
                /// `CUfilter_mode`.
                in filter: u32,
                /// `CU_TRSF_*`.
                in flags: u32,
                /// Most anisotropy.
                in anisotropy: u32,
                /// `CUfilter_mode` between levels of detail.
                in mipmap_filter: u32,
                /// Bias, least and greatest level of detail, the bits of floats.
                in mipmap: [u32; 3],
                /// What lies beyond the edges, the bits of floats.
                in border: [u32; 4],
                /// 1 if the array is read as the rest says, 0 if as it is.
                in has_view: u32,
                /// `CUresourceViewFormat`.
                in view_format: u32,
                /// First and last level of detail, first and last layer.
                in view_ranges: [u32; 4],
                /// Width, height, depth.
                in view_size: [u64; 3],
            }
            reply TextureCreateReply {
                /// The value by which kernels know it.
                texture: u64,
            };

            /// Destroys a texture object.
            154 post TextureDestroy texture_destroy ["cuTexObjectDestroy"] since 5000
            {
                /// The context it belongs to.
                in context: ContextId,
                /// Its value.
                in texture: u64,
            };

            /// Creates a surface object: by what kernels read and write elements of an array.
            155 sync SurfaceCreate surface_create ["cuSurfObjectCreate"] since 5000
            {
                /// The context it belongs to.
                in context: ContextId,
                /// The array.
                in array: ArrayId,
            }
            reply SurfaceCreateReply {
                /// The value by which kernels know it.
                surface: u64,
            };

            /// Destroys a surface object.
            156 post SurfaceDestroy surface_destroy ["cuSurfObjectDestroy"] since 5000
            {
                /// The context it belongs to.
                in context: ContextId,
                /// Its value.
                in surface: u64,
            };

            /// Links images and texts to one image. Nothing stays of it: the client keeps what it gave and what it got.
            157 sync Link link ["cuLinkAddData_v2", "cuLinkAddFile_v2", "cuLinkComplete"] since 5050
            {
                /// The context whose device it is for.
                in context: ContextId,
                /// Not 0: the inputs are only taken, as `cuLinkAddData` does, and nothing is made of them.
                in check: u32,
                /// How many options of the whole link there are, at most [`crate::JIT_OPTIONS_MAX`].
                in count: u32,
                /// Room for what the linker says, in bytes, at most [`crate::JIT_LOG_MAX_BYTES`]; 0 for none.
                in info_bytes: u32,
                /// Room for its errors, in the same way.
                in error_bytes: u32,
                /// The options and the places for both logs, as for `module_compile`; all behind them is for the image.
                out block: ArenaRef,
            }
            tail
                /// The inputs one behind the other, each as [`crate::LinkInput`] has it.
                inputs
            reply LinkReply {
                /// How it ended; what follows is told in any case.
                status: u32,
                /// Bytes of the first log that were written.
                info_bytes: u32,
                /// Bytes of the log of errors.
                error_bytes: u32,
                /// Milliseconds that it took, the bits of a float, if the option asks for them.
                wall_time_bits: u32,
                /// Threads of a block that it compiled for, if the option says how many are wanted.
                block_threads: u32,
                /// Bytes of the image, which is in its place if there is room for all of it.
                image_bytes: u64,
            };
        } $($more)* }
    };
}

pub(super) use later;
