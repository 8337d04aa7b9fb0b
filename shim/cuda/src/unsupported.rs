//! Why functions are not supported, for whoever reads the log.

/// Beginnings of names without `cu` or `cuda`, and why what begins so is not supported, or not in every form.
const REASONS: &[(&str, &str)] = &[
    ("MemPoolExport", FILES),
    ("MemPoolImport", FILES),
    ("MemExport", FILES),
    ("MemImport", FILES),
    ("MemGetHandleForAddressRange", FILES),
    (
        "MemPoolCreate",
        "pools are of one device and of one process: memory of the host, handle types and usage are not offered",
    ),
    ("MemCreate", "memory of the host and memory that can be exported are not offered"),
    (
        "Ipc",
        "in a virtual machine there are no handles between processes: the driver would open them for any other one too",
    ),
    ("ImportExternal", EXTERNAL),
    ("ExternalMemory", EXTERNAL),
    ("DestroyExternal", EXTERNAL),
    ("SignalExternal", EXTERNAL),
    ("WaitExternal", EXTERNAL),
    ("GraphAddExternal", EXTERNAL),
    ("GraphExternal", EXTERNAL),
    ("GraphExecExternal", EXTERNAL),
    ("GL", GRAPHICS),
    ("EGL", GRAPHICS),
    ("Graphics", GRAPHICS),
    ("GraphAddNode", NODES),
    ("GraphAddDependencies", NODES),
    ("GraphRemoveDependencies", NODES),
    ("StreamBeginCaptureToGraph", NODES),
    ("StreamUpdateCaptureDependencies", NODES),
    ("LinkAdd", "logs are those of the whole link: their buffers are given to cuLinkCreate"),
    ("Multicast", "memory of a team of devices is not offered (attribute 132 is 0)"),
    ("MemBatchDecompress", "decompression on the device is not offered (attribute 136 is 0)"),
    ("Checkpoint", "the state is that of the executor's process, not of the program's"),
    ("Coredump", "the file would be the executor's, not the program's"),
    ("Logs", "the driver's log is the executor's"),
];

const FILES: &str = "a file descriptor of the executor's process cannot be the program's: share memory by cuIpcGetMemHandle";
const EXTERNAL: &str =
    "what it names is of the program's own process, and the device is another one's";
const GRAPHICS: &str = "graphics are of the program's own process, and the device is another one's";
const NODES: &str = "this kind of node, or data of edges other than the default, is not offered";

/// Why a function is not supported.
pub(crate) fn reason(function: &str) -> &'static str {
    let bare = bare(function);
    let found = REASONS.iter().find(|(beginning, _)| bare.starts_with(beginning));
    found.map_or("not implemented", |(_, reason)| reason)
}

fn bare(function: &str) -> &str {
    let bare = function.strip_prefix("cuda").or_else(|| function.strip_prefix("cu"));
    bare.unwrap_or(function)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exports::EXPORTS;

    #[test]
    fn every_reason_is_of_a_function_that_there_is() {
        for (beginning, _) in REASONS {
            let known = EXPORTS.iter().any(|export| bare(export.name).starts_with(beginning));
            assert!(known, "{beginning}");
        }
    }

    #[test]
    fn driver_and_runtime_are_told_the_same_and_what_is_not_said_is_not_implemented() {
        assert_eq!(reason("cudaMemPoolExportPointer"), reason("cuMemPoolExportPointer"));
        assert!(reason("cuMemPoolExportPointer").contains("cuIpcGetMemHandle"));
        assert_eq!(reason("cuParamSetv"), "not implemented");
    }
}
