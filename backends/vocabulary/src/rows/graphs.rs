//! Captures and graphs.

/// Puts these rows behind those before, and hands all to the next macro.
macro_rules! graphs {
    ({ $($before:tt)* } $next:ident $($more:ident)*) => {
        $next! { {
        $($before)*

            /// Makes later work of a stream part of a graph instead of running it.
            91 sync StreamBeginCapture stream_begin_capture ["cuStreamBeginCapture_v2"] since 10010
            {
                /// The stream.
                in stream: StreamId,
                /// `CUstreamCaptureMode`.
                in mode: u32,
            }
            reply StreamBeginCaptureReply {};

            /// Ends a capture; the graph gets a number that the client chose.
            92 sync StreamEndCapture stream_end_capture ["cuStreamEndCapture"] since 10000
            {
                /// The stream.
                in stream: StreamId,
                /// A number not in use.
                in graph: GraphId,
            }
            reply StreamEndCaptureReply {};

            /// Whether a stream is capturing, and into what.
            93 sync StreamCaptureInfo stream_capture_info ["cuStreamGetCaptureInfo_v3", "cuStreamGetCaptureInfo_v2", "cuStreamIsCapturing"] since 10000
            {
                /// The stream.
                in stream: StreamId,
                /// A number for the graph that is being captured, if it has none yet; 0 not to ask.
                in graph: GraphId,
                /// Where the numbers of the nodes go that the next one will depend on, 8 bytes each.
                out nodes: ArenaRef,
            }
            reply StreamCaptureInfoReply {
                /// The capture's number.
                id: u64,
                /// `CUstreamCaptureStatus`.
                status: u32,
                /// The graph's number.
                graph: GraphId,
                /// How many nodes there are; those without room were not written.
                nodes: u32,
            };

            /// Changes what the next captured node depends on.
            94 sync StreamCaptureDependencies stream_capture_dependencies ["cuStreamUpdateCaptureDependencies_v2", "cuStreamUpdateCaptureDependencies"] since 11030
            {
                /// The stream.
                in stream: StreamId,
                /// 0 to add, 1 to set.
                in flags: u32,
            }
            tail
                /// Node numbers, 8 bytes each.
                nodes
            reply StreamCaptureDependenciesReply {};

            /// Creates an empty graph.
            95 sync GraphCreate graph_create ["cuGraphCreate"] since 10000
            {
                /// A number not in use.
                in graph: GraphId,
            }
            reply GraphCreateReply {};

            /// Destroys a graph.
            96 post GraphDestroy graph_destroy ["cuGraphDestroy"] since 10000
            {
                /// The graph.
                in graph: GraphId,
            };

            /// Copies a graph.
            97 sync GraphClone graph_clone ["cuGraphClone"] since 10000
            {
                /// A number not in use, for the copy.
                in graph: GraphId,
                /// The graph.
                in original: GraphId,
            }
            reply GraphCloneReply {};

            /// The numbers of a graph's nodes.
            98 sync GraphNodes graph_nodes ["cuGraphGetNodes", "cuGraphGetRootNodes"] since 10000
            {
                /// The graph.
                in graph: GraphId,
                /// 1 for those only that depend on none.
                in roots: u32,
                /// Where the numbers go, 8 bytes each.
                out nodes: ArenaRef,
            }
            reply GraphNodesReply {
                /// How many there are; those without room were not written.
                count: u64,
            };

            /// Edges of a graph, or those of one of its nodes.
            99 sync GraphEdges graph_edges ["cuGraphGetEdges_v2", "cuGraphGetEdges", "cuGraphNodeGetDependencies_v2", "cuGraphNodeGetDependencies", "cuGraphNodeGetDependentNodes_v2", "cuGraphNodeGetDependentNodes"] since 10000
            {
                /// The graph, or 0 to ask for a node.
                in graph: GraphId,
                /// The node, or 0.
                in node: NodeId,
                /// For a node: 0 those it depends on, 1 those that depend on it.
                in which: u32,
                /// Where they go: 16 bytes each, from and to.
                out edges: ArenaRef,
            }
            reply GraphEdgesReply {
                /// How many there are; those without room were not written.
                count: u64,
            };

            /// Adds a kernel launch to a graph.
            100 sync GraphAddKernel graph_add_kernel ["cuGraphAddKernelNode_v2"] since 12000
            {
                /// The graph.
                in graph: GraphId,
                /// The function.
                in function: FunctionId,
                /// Blocks in x, y, z.
                in grid: [u32; 3],
                /// Threads of a block in x, y, z.
                in block: [u32; 3],
                /// Dynamic shared memory in bytes.
                in shared_bytes: u32,
                /// How many nodes it depends on.
                in dependencies: u32,
            }
            tail
                /// Node numbers, 8 bytes each; then the parameter block.
                body
            reply GraphAddKernelReply {
                /// The node's number.
                node: NodeId,
            };

            /// Adds a fill to a graph.
            101 sync GraphAddMemset graph_add_memset ["cuGraphAddMemsetNode"] since 10000
            {
                /// The graph.
                in graph: GraphId,
                /// The context.
                in context: ContextId,
                /// The first byte.
                in dst: DevicePtr,
                /// Bytes from row to row.
                in pitch: u64,
                /// Values of a row.
                in width: u64,
                /// Rows.
                in height: u64,
                /// The value.
                in value: u32,
                /// 1, 2 or 4.
                in element_bytes: u32,
            }
            tail
                /// Numbers of the nodes it depends on, 8 bytes each.
                nodes
            reply GraphAddMemsetReply {
                /// The node's number.
                node: NodeId,
            };

            /// Adds a copy between device memory or pinned memory to a graph.
            102 sync GraphAddMemcpy graph_add_memcpy ["cuGraphAddMemcpyNode"] since 10000
            {
                /// The graph.
                in graph: GraphId,
                /// The context.
                in context: ContextId,
                /// Where the bytes go.
                in dst: Corner,
                /// Where the bytes come from.
                in src: Corner,
                /// Bytes of a row.
                in width_bytes: u64,
                /// Rows of a slice.
                in height: u64,
                /// Slices.
                in depth: u64,
                /// Bit 0: `dst` is an arena address; bit 1: `src` is one.
                in host: u32,
            }
            tail
                /// Numbers of the nodes it depends on, 8 bytes each.
                nodes
            reply GraphAddMemcpyReply {
                /// The node's number.
                node: NodeId,
            };

            /// Adds a host function to a graph.
            103 sync GraphAddHost graph_add_host ["cuGraphAddHostNode"] since 10000
            {
                /// The graph.
                in graph: GraphId,
                /// What the client knows the function by.
                in token: u64,
            }
            tail
                /// Numbers of the nodes it depends on, 8 bytes each.
                nodes
            reply GraphAddHostReply {
                /// The node's number.
                node: NodeId,
            };

            /// Adds a node that does nothing to a graph.
            104 sync GraphAddEmpty graph_add_empty ["cuGraphAddEmptyNode"] since 10000
            {
                /// The graph.
                in graph: GraphId,
            }
            tail
                /// Numbers of the nodes it depends on, 8 bytes each.
                nodes
            reply GraphAddEmptyReply {
                /// The node's number.
                node: NodeId,
            };

            /// Adds the record of an event, or a wait for one, to a graph.
            105 sync GraphAddEvent graph_add_event ["cuGraphAddEventRecordNode", "cuGraphAddEventWaitNode"] since 11010
            {
                /// The graph.
                in graph: GraphId,
                /// The event.
                in event: EventId,
                /// 1 to wait, 0 to record.
                in wait: u32,
            }
            tail
                /// Numbers of the nodes it depends on, 8 bytes each.
                nodes
            reply GraphAddEventReply {
                /// The node's number.
                node: NodeId,
            };

            /// Adds a copy of a graph to a graph as one node.
            106 sync GraphAddChild graph_add_child ["cuGraphAddChildGraphNode"] since 10000
            {
                /// The graph.
                in graph: GraphId,
                /// The graph that is copied.
                in child: GraphId,
            }
            tail
                /// Numbers of the nodes it depends on, 8 bytes each.
                nodes
            reply GraphAddChildReply {
                /// The node's number.
                node: NodeId,
            };

            /// Adds edges to a graph, or removes them.
            107 sync GraphDependencies graph_dependencies ["cuGraphAddDependencies_v2", "cuGraphAddDependencies", "cuGraphRemoveDependencies_v2", "cuGraphRemoveDependencies"] since 10000
            {
                /// The graph.
                in graph: GraphId,
                /// 1 to remove, 0 to add.
                in remove: u32,
            }
            tail
                /// 16 bytes each: from and to.
                edges
            reply GraphDependenciesReply {};

            /// What a node is.
            108 sync GraphNodeType graph_node_type ["cuGraphNodeGetType"] since 10000
            {
                /// The node.
                in node: NodeId,
            }
            reply GraphNodeTypeReply {
                /// `CUgraphNodeType`.
                kind: u32,
            };

            /// Removes a node from its graph.
            109 sync GraphNodeDestroy graph_node_destroy ["cuGraphDestroyNode"] since 10000
            {
                /// The node.
                in node: NodeId,
            }
            reply GraphNodeDestroyReply {};

            /// What a kernel node launches.
            110 sync GraphKernelParams graph_kernel_params ["cuGraphKernelNodeGetParams_v2"] since 12000
            {
                /// The node.
                in node: NodeId,
                /// Where the parameter block goes.
                out params: ArenaRef,
            }
            reply GraphKernelParamsReply {
                /// The function.
                function: FunctionId,
                /// Blocks in x, y, z.
                grid: [u32; 3],
                /// Threads of a block in x, y, z.
                block: [u32; 3],
                /// Dynamic shared memory in bytes.
                shared_bytes: u32,
                /// Bytes of the parameter block; not written if there is no room.
                param_bytes: u32,
            };

            /// Changes what a kernel node launches, in its graph or in an executable one.
            111 sync GraphSetKernelParams graph_set_kernel_params ["cuGraphKernelNodeSetParams_v2", "cuGraphExecKernelNodeSetParams_v2"] since 12000
            {
                /// The node.
                in node: NodeId,
                /// The executable graph; 0 for the node's own graph.
                in exec: GraphExecId,
                /// The function.
                in function: FunctionId,
                /// Blocks in x, y, z.
                in grid: [u32; 3],
                /// Threads of a block in x, y, z.
                in block: [u32; 3],
                /// Dynamic shared memory in bytes.
                in shared_bytes: u32,
            }
            tail
                /// The parameter block.
                params
            reply GraphSetKernelParamsReply {};

            /// Changes what a memset node fills.
            112 sync GraphSetMemset graph_set_memset ["cuGraphMemsetNodeSetParams", "cuGraphExecMemsetNodeSetParams"] since 10000
            {
                /// The node.
                in node: NodeId,
                /// The executable graph; 0 for the node's own graph.
                in exec: GraphExecId,
                /// The context.
                in context: ContextId,
                /// The first byte.
                in dst: DevicePtr,
                /// Bytes from row to row.
                in pitch: u64,
                /// Values of a row.
                in width: u64,
                /// Rows.
                in height: u64,
                /// The value.
                in value: u32,
                /// 1, 2 or 4.
                in element_bytes: u32,
            }
            reply GraphSetMemsetReply {};

            /// Changes what a copy node copies.
            113 sync GraphSetMemcpy graph_set_memcpy ["cuGraphMemcpyNodeSetParams", "cuGraphExecMemcpyNodeSetParams"] since 10000
            {
                /// The node.
                in node: NodeId,
                /// The executable graph; 0 for the node's own graph.
                in exec: GraphExecId,
                /// The context.
                in context: ContextId,
                /// Where the bytes go.
                in dst: Corner,
                /// Where the bytes come from.
                in src: Corner,
                /// Bytes of a row.
                in width_bytes: u64,
                /// Rows of a slice.
                in height: u64,
                /// Slices.
                in depth: u64,
                /// Bit 0: `dst` is an arena address; bit 1: `src` is one.
                in host: u32,
            }
            reply GraphSetMemcpyReply {};

            /// Makes a graph ready to launch.
            114 sync GraphInstantiate graph_instantiate ["cuGraphInstantiateWithFlags", "cuGraphInstantiateWithParams"] since 11040
            {
                /// The graph.
                in graph: GraphId,
                /// A number not in use, not 0.
                in exec: GraphExecId,
                /// `CUgraphInstantiate_flags`.
                in flags: u64,
            }
            reply GraphInstantiateReply {
                /// The node that could not be instantiated, if one could not.
                node: NodeId,
                /// `CUgraphInstantiateResult`.
                result: u32,
            };

            /// Changes an executable graph into another of the same shape.
            115 sync GraphExecUpdate graph_exec_update ["cuGraphExecUpdate_v2"] since 12000
            {
                /// The executable graph.
                in exec: GraphExecId,
                /// The graph it shall be like.
                in graph: GraphId,
            }
            reply GraphExecUpdateReply {
                /// The node that could not be updated, if one could not.
                node: NodeId,
                /// The node before it, if an edge was the reason.
                from: NodeId,
                /// `CUgraphExecUpdateResult`.
                result: u32,
                /// The call's own status.
                status: u32,
            };

            /// Uploads an executable graph to its device.
            116 post GraphUpload graph_upload ["cuGraphUpload"] since 11010
            {
                /// The executable graph.
                in exec: GraphExecId,
                /// The stream.
                in stream: StreamId,
            };

            /// Launches an executable graph, in stream order.
            117 post GraphLaunch graph_launch ["cuGraphLaunch"] since 10000
            {
                /// The executable graph.
                in exec: GraphExecId,
                /// The stream.
                in stream: StreamId,
            };

            /// Destroys an executable graph.
            118 post GraphExecDestroy graph_exec_destroy ["cuGraphExecDestroy"] since 10000
            {
                /// The executable graph.
                in exec: GraphExecId,
            };

            /// A description of a graph in the DOT language. Nothing is written if the block is too small.
            119 sync GraphDot graph_dot ["cuGraphDebugDotPrint"] since 11030
            {
                /// The graph.
                in graph: GraphId,
                /// `CUgraphDebugDot_flags`.
                in flags: u32,
                /// Where it goes.
                out text: ArenaRef,
            }
            reply GraphDotReply {
                /// How long it is.
                bytes: u64,
            };
        } $($more)* }
    };
}

pub(super) use graphs;
