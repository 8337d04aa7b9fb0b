//! Which commands can hold the worker's thread up in the driver, what they wait for, and what bounds that.

use ringbar_vocabulary::{Class, ROWS};
use std::fmt::Write;

/// A cause for the driver to wait inside a call.
#[derive(Clone, Copy, Debug)]
pub struct Blocking {
    /// Commands, as the vocabulary names them.
    pub commands: &'static [&'static str],
    /// What the driver waits for.
    pub waits_for: &'static str,
    /// What bounds that.
    pub bound: &'static str,
}

/// Every cause there is. All other commands return without waiting for the device.
pub const BLOCKING: &[Blocking] = &[
    Blocking {
        commands: &[
            "LaunchKernel",
            "LaunchKernelEx",
            "GraphLaunch",
            "MemcpyHtoD",
            "MemcpyDtoH",
            "MemcpyDtoD",
            "MemcpyRect",
            "MemcpyArray",
            "MemsetD8",
            "MemsetD16",
            "MemsetD32",
            "MemsetRect",
            "EventRecord",
            "Fence",
            "StreamWaitEvent",
            "StreamWriteValue",
            "StreamWaitValue",
            "LaunchHostFunction",
        ],
        waits_for: "room in the stream's hardware queue, which holds about 1,000 operations",
        bound: "the oldest operation of that queue",
    },
    Blocking {
        commands: &["LaunchKernel", "LaunchKernelEx", "FunctionLookup", "FunctionGetAttribute"],
        waits_for: "the function's code to be loaded, at its first use; the driver may wait for work under way",
        bound: "milliseconds, and what was posted before",
    },
    Blocking {
        commands: &[
            "MemFree",
            "ArrayDestroy",
            "TextureDestroy",
            "SurfaceDestroy",
            "ModuleUnload",
            "GraphExecDestroy",
            "PoolDestroy",
            "MemUnmap",
            "IpcMemoryClose",
        ],
        waits_for: "work that may use what is freed",
        bound: "what was posted before",
    },
    Blocking {
        commands: &["ContextDestroy", "PrimaryContextReset"],
        waits_for: "all work of the worker",
        bound: "what was posted before; its answers wait too",
    },
    Blocking {
        commands: &["ModuleLoad", "ModuleLoadKnown", "ModuleCompile", "Link"],
        waits_for: "PTX to be compiled",
        bound: "seconds for a large text; the image has 1 GiB at most",
    },
    Blocking {
        commands: &[
            "MemcpyHtoD",
            "MemcpyDtoH",
            "MemcpyRect",
            "MemcpyArray",
            "HostFree",
            "StreamDestroy",
            "StreamBeginCapture",
        ],
        waits_for: "the stream, where 4,096 other streams have copies of staged memory under way",
        bound: "what was posted to that stream before",
    },
    Blocking {
        commands: &["MemoryDigest"],
        waits_for: "the context to be idle; for tests",
        bound: "what was posted before",
    },
    Blocking {
        commands: &[
            "MemAlloc",
            "MemAllocPitch",
            "ArrayCreate",
            "TextureCreate",
            "SurfaceCreate",
            "MemAllocAsync",
            "PhysicalCreate",
            "PoolTrim",
            "ContextSetLimit",
        ],
        waits_for: "the driver to make or give back memory; when the device is full, for freed memory of its pools",
        bound: "milliseconds, and what was posted before",
    },
    Blocking {
        commands: &[
            "HostAlloc",
            "MemcpyHtoD",
            "MemcpyDtoH",
            "MemcpyRect",
            "MemcpyArray",
            "GraphAddMemcpy",
            "GraphSetMemcpy",
        ],
        waits_for: "a part of the arena to be registered, at its first use",
        bound: "256 MiB at once of a first arena, else the segment: about 0.1 s a GiB",
    },
    Blocking {
        commands: &["GraphInstantiate", "GraphExecUpdate", "GraphUpload"],
        waits_for: "the driver's own work",
        bound: "the graph's size: milliseconds for thousands of nodes",
    },
    Blocking {
        commands: &["Init", "ContextCreate", "PrimaryContextRetain"],
        waits_for: "the driver to start, or to make a context",
        bound: "some hundred milliseconds a device",
    },
];

/// The list as a page.
pub fn blocking_markdown() -> String {
    let mut page = String::from(
        "# What can hold up the worker of a client on a real GPU\n\n\
         Written from `backends/cuda/src/blocking.rs` by `RINGBAR_WRITE_PAGES=1 cargo test -p ringbar-cuda --lib blocking`.\n\n\
         Each client has a worker process of its own, so nothing here holds up another client. Within a client the commands of \
         all threads and streams go through one thread of the worker: while the driver waits in one of the calls below, posted \
         commands of the other threads wait in the ring, and their synchronous calls wait for their answer. The worker never \
         waits for the device on behalf of a caller otherwise: synchronisation is a fence that the device writes and that the \
         client reads by itself, and host functions run in the client while their stream stalls alone. \
         A command that is inside the driver for 10 s is told of: in the log, by `ringbar status` and by `ringbar run --stats`, with \
         its name. After `--command-timeout` of `ringbar serve` and `ringbar run`, an hour by default, its worker is ended, and \
         every call of its client answers SYSTEM_NOT_READY. The bound is that long because these waits end with the program's own work: a \
         free behind a kernel of ten minutes is in order, and NVIDIA's own library would wait as long. What the driver does by \
         itself takes seconds, so an hour means that the device or the driver hangs, or that the program waits for itself: a \
         free behind a stream that waits for a value which the program was to write after the free. Programs with single kernels \
         of more than an hour say `--command-timeout never`. Device work has no bound of its own by default \
         (`--device-timeout`): a kernel may run for days while its program sleeps.\n\n\
         In the client a copy of pageable memory waits where the staging area stands still and the arena has no room: an \
         hour at most, then it fails with OUT_OF_MEMORY.\n\n\
         | command | class | waits for | bounded by |\n|---|---|---|---|\n",
    );
    for cause in BLOCKING {
        for name in cause.commands {
            let class =
                ROWS.iter().find(|row| row.name == *name).map_or("?", |row| match row.class {
                    Class::Post => "post",
                    Class::Sync => "sync",
                    Class::Local => "local",
                });
            let Blocking { waits_for, bound, .. } = cause;
            // Writing to a string does not fail.
            let _ = writeln!(page, "| {name} | {class} | {waits_for} | {bound} |");
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shim/BLOCKING.md");

    #[test]
    fn every_command_on_the_list_exists_and_reaches_the_worker() {
        for name in BLOCKING.iter().flat_map(|cause| cause.commands) {
            let row = ROWS.iter().find(|row| row.name == *name);
            assert!(row.is_some_and(|row| row.class != Class::Local), "{name}");
        }
    }

    #[test]
    fn the_page_is_up_to_date() {
        if std::env::var_os("RINGBAR_WRITE_PAGES").is_some() {
            std::fs::write(PAGE, blocking_markdown()).unwrap();
        }
        let found = std::fs::read_to_string(PAGE).unwrap_or_default();
        assert_eq!(found, blocking_markdown(), "run it with RINGBAR_WRITE_PAGES=1");
    }
}
