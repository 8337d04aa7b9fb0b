//! Streams beyond the base: attributes, values to write and to wait for, host functions, measured times.

/// Puts these rows behind those before, and hands all to the next macro.
macro_rules! streams {
    ({ $($before:tt)* } $next:ident $($more:ident)*) => {
        $next! { {
        $($before)*

            /// Sets an attribute of a stream.
            81 post StreamSetAttribute stream_set_attribute ["cuStreamSetAttribute"] since 11000
            {
                /// The stream.
                in stream: StreamId,
                /// `CUstreamAttrID`.
                in attribute: u32,
                /// `CUstreamAttrValue`, its first 32 bytes.
                in value: [u64; 4],
            };

            /// An attribute of a stream.
            82 sync StreamGetAttribute stream_get_attribute ["cuStreamGetAttribute"] since 11000
            {
                /// The stream.
                in stream: StreamId,
                /// `CUstreamAttrID`.
                in attribute: u32,
            }
            reply StreamGetAttributeReply {
                /// `CUstreamAttrValue`, its first 32 bytes.
                value: [u64; 4],
            };

            /// Gives a stream the attributes of another.
            83 post StreamCopyAttributes stream_copy_attributes ["cuStreamCopyAttributes"] since 11000
            {
                /// The stream that changes.
                in dst: StreamId,
                /// The other.
                in src: StreamId,
            };

            /// Writes a value to memory, in stream order.
            84 post StreamWriteValue stream_write_value ["cuStreamWriteValue64_v2", "cuStreamWriteValue32_v2"] since 11070
            {
                /// The stream.
                in stream: StreamId,
                /// Where.
                in at: DevicePtr,
                /// The value.
                in value: u64,
                /// `CUstreamWriteValue_flags`.
                in flags: u32,
                /// 32 or 64.
                in bits: u32,
            };

            /// Makes later work of a stream wait for a value in memory.
            85 post StreamWaitValue stream_wait_value ["cuStreamWaitValue64_v2", "cuStreamWaitValue32_v2"] since 11070
            {
                /// The stream.
                in stream: StreamId,
                /// Where.
                in at: DevicePtr,
                /// The value.
                in value: u64,
                /// `CUstreamWaitValue_flags`.
                in flags: u32,
                /// 32 or 64.
                in bits: u32,
            };

            /// Names the fence word that announces a host function, and the two words of the arena through which its token goes out and its acknowledgement comes back. Once a session.
            86 sync HostFunctionSetup host_function_setup [] since 0
            {
                /// The fence word: its value is how many were announced.
                in index: u32,
                /// 16 bytes: the token of the announced function, then how many the client has run.
                in mailbox: ArenaRef,
            }
            reply HostFunctionSetupReply {};

            /// Has the client run a function, in stream order; the stream goes on when the client has acknowledged it.
            87 post LaunchHostFunction launch_host_function ["cuLaunchHostFunc", "cuStreamAddCallback"] since 5000
            {
                /// The stream.
                in stream: StreamId,
                /// What the client knows the function by.
                in token: u64,
            };

            /// Time between two events.
            88 sync EventElapsed event_elapsed ["cuEventElapsedTime_v2", "cuEventElapsedTime"] since 2000
            {
                /// The earlier event.
                in start: EventId,
                /// The later event.
                in end: EventId,
            }
            reply EventElapsedReply {
                /// The bits of a 32-bit float.
                milliseconds_bits: u32,
            };

            /// Whether work of a stream failed: for a client that waits long for a fence.
            89 sync FenceStatus fence_status [] since 0
            {
                /// The stream.
                in stream: StreamId,
            }
            reply FenceStatusReply {
                /// 0 done, 600 not yet, else the failure.
                status: u32,
            };

            /// What kernels printed since the last time, once the work posted before is done.
            90 sync OutputTake output_take [] since 0
            {
                /// Where it goes.
                out text: ArenaRef,
                /// The context.
                in context: ContextId,
            }
            reply OutputTakeReply {
                /// How much of it was written; ask again while the block was filled.
                bytes: u32,
            };
        } $($more)* }
    };
}

pub(super) use streams;
