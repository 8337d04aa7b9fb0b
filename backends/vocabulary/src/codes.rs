//! Every result code of the public `cuda.h` of CUDA 13.0: its number, its name, and what the driver says about it.

use crate::Status;
use std::ffi::CStr;

/// A result code as `cuGetErrorName` and `cuGetErrorString` know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Code {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: &'static CStr,
    /// The driver's text.
    pub text: &'static CStr,
}

impl Status {
    /// What CUDA calls the code; `None` for a number that CUDA 13.0 does not know.
    pub const fn code(self) -> Option<&'static Code> {
        let mut at = 0;
        while at < CODES.len() {
            if CODES[at].number == self.0 {
                return Some(&CODES[at]);
            }
            at += 1;
        }
        None
    }
}

const fn code(number: u32, name: &'static CStr, text: &'static CStr) -> Code {
    Code { number, name, text }
}

/// All codes, sorted by number.
#[rustfmt::skip]
pub const CODES: &[Code] = &[
    code(0, c"CUDA_SUCCESS", c"no error"),
    code(1, c"CUDA_ERROR_INVALID_VALUE", c"invalid argument"),
    code(2, c"CUDA_ERROR_OUT_OF_MEMORY", c"out of memory"),
    code(3, c"CUDA_ERROR_NOT_INITIALIZED", c"initialization error"),
    code(4, c"CUDA_ERROR_DEINITIALIZED", c"driver shutting down"),
    code(5, c"CUDA_ERROR_PROFILER_DISABLED", c"profiler disabled while using external profiling tool"),
    code(6, c"CUDA_ERROR_PROFILER_NOT_INITIALIZED", c"profiler not initialized: call cudaProfilerInitialize()"),
    code(7, c"CUDA_ERROR_PROFILER_ALREADY_STARTED", c"profiler already started"),
    code(8, c"CUDA_ERROR_PROFILER_ALREADY_STOPPED", c"profiler already stopped"),
    code(34, c"CUDA_ERROR_STUB_LIBRARY", c"CUDA driver is a stub library"),
    code(36, c"CUDA_ERROR_CALL_REQUIRES_NEWER_DRIVER", c"API call is not supported in the installed CUDA driver"),
    code(46, c"CUDA_ERROR_DEVICE_UNAVAILABLE", c"CUDA-capable device(s) is/are busy or unavailable"),
    code(100, c"CUDA_ERROR_NO_DEVICE", c"no CUDA-capable device is detected"),
    code(101, c"CUDA_ERROR_INVALID_DEVICE", c"invalid device ordinal"),
    code(102, c"CUDA_ERROR_DEVICE_NOT_LICENSED", c"device doesn't have valid Grid license"),
    code(200, c"CUDA_ERROR_INVALID_IMAGE", c"device kernel image is invalid"),
    code(201, c"CUDA_ERROR_INVALID_CONTEXT", c"invalid device context"),
    code(202, c"CUDA_ERROR_CONTEXT_ALREADY_CURRENT", c"context already current"),
    code(205, c"CUDA_ERROR_MAP_FAILED", c"mapping of buffer object failed"),
    code(206, c"CUDA_ERROR_UNMAP_FAILED", c"unmapping of buffer object failed"),
    code(207, c"CUDA_ERROR_ARRAY_IS_MAPPED", c"array is mapped"),
    code(208, c"CUDA_ERROR_ALREADY_MAPPED", c"resource already mapped"),
    code(209, c"CUDA_ERROR_NO_BINARY_FOR_GPU", c"no kernel image is available for execution on the device"),
    code(210, c"CUDA_ERROR_ALREADY_ACQUIRED", c"resource already acquired"),
    code(211, c"CUDA_ERROR_NOT_MAPPED", c"resource not mapped"),
    code(212, c"CUDA_ERROR_NOT_MAPPED_AS_ARRAY", c"resource not mapped as array"),
    code(213, c"CUDA_ERROR_NOT_MAPPED_AS_POINTER", c"resource not mapped as pointer"),
    code(214, c"CUDA_ERROR_ECC_UNCORRECTABLE", c"uncorrectable ECC error encountered"),
    code(215, c"CUDA_ERROR_UNSUPPORTED_LIMIT", c"limit is not supported on this architecture"),
    code(216, c"CUDA_ERROR_CONTEXT_ALREADY_IN_USE", c"exclusive-thread device already in use by a different thread"),
    code(217, c"CUDA_ERROR_PEER_ACCESS_UNSUPPORTED", c"peer access is not supported between these two devices"),
    code(218, c"CUDA_ERROR_INVALID_PTX", c"a PTX JIT compilation failed"),
    code(219, c"CUDA_ERROR_INVALID_GRAPHICS_CONTEXT", c"invalid OpenGL or DirectX context"),
    code(220, c"CUDA_ERROR_NVLINK_UNCORRECTABLE", c"uncorrectable NVLink error detected during the execution"),
    code(221, c"CUDA_ERROR_JIT_COMPILER_NOT_FOUND", c"PTX JIT compiler library not found"),
    code(222, c"CUDA_ERROR_UNSUPPORTED_PTX_VERSION", c"the provided PTX was compiled with an unsupported toolchain."),
    code(223, c"CUDA_ERROR_JIT_COMPILATION_DISABLED", c"PTX JIT compilation was disabled"),
    code(224, c"CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY", c"the provided execution affinity is not supported"),
    code(225, c"CUDA_ERROR_UNSUPPORTED_DEVSIDE_SYNC", c"the provided PTX contains unsupported call to cudaDeviceSynchronize"),
    code(226, c"CUDA_ERROR_CONTAINED", c"Invalid access of peer GPU memory over nvlink or a hardware error"),
    code(300, c"CUDA_ERROR_INVALID_SOURCE", c"device kernel image is invalid"),
    code(301, c"CUDA_ERROR_FILE_NOT_FOUND", c"file not found"),
    code(302, c"CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND", c"shared object symbol not found"),
    code(303, c"CUDA_ERROR_SHARED_OBJECT_INIT_FAILED", c"shared object initialization failed"),
    code(304, c"CUDA_ERROR_OPERATING_SYSTEM", c"OS call failed or operation not supported on this OS"),
    code(400, c"CUDA_ERROR_INVALID_HANDLE", c"invalid resource handle"),
    code(401, c"CUDA_ERROR_ILLEGAL_STATE", c"the operation cannot be performed in the present state"),
    code(402, c"CUDA_ERROR_LOSSY_QUERY", c"attempted introspection would be semantically lossy"),
    code(500, c"CUDA_ERROR_NOT_FOUND", c"named symbol not found"),
    code(600, c"CUDA_ERROR_NOT_READY", c"device not ready"),
    code(700, c"CUDA_ERROR_ILLEGAL_ADDRESS", c"an illegal memory access was encountered"),
    code(701, c"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", c"too many resources requested for launch"),
    code(702, c"CUDA_ERROR_LAUNCH_TIMEOUT", c"the launch timed out and was terminated"),
    code(703, c"CUDA_ERROR_LAUNCH_INCOMPATIBLE_TEXTURING", c"launch uses incompatible texturing mode"),
    code(704, c"CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED", c"peer access is already enabled"),
    code(705, c"CUDA_ERROR_PEER_ACCESS_NOT_ENABLED", c"peer access has not been enabled"),
    code(708, c"CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE", c"cannot set while device is active in this process"),
    code(709, c"CUDA_ERROR_CONTEXT_IS_DESTROYED", c"context is destroyed"),
    code(710, c"CUDA_ERROR_ASSERT", c"device-side assert triggered"),
    code(711, c"CUDA_ERROR_TOO_MANY_PEERS", c"peer mapping resources exhausted"),
    code(712, c"CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED", c"part or all of the requested memory range is already mapped"),
    code(713, c"CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED", c"pointer does not correspond to a registered memory region"),
    code(714, c"CUDA_ERROR_HARDWARE_STACK_ERROR", c"hardware stack error"),
    code(715, c"CUDA_ERROR_ILLEGAL_INSTRUCTION", c"an illegal instruction was encountered"),
    code(716, c"CUDA_ERROR_MISALIGNED_ADDRESS", c"misaligned address"),
    code(717, c"CUDA_ERROR_INVALID_ADDRESS_SPACE", c"operation not supported on global/shared address space"),
    code(718, c"CUDA_ERROR_INVALID_PC", c"invalid program counter"),
    code(719, c"CUDA_ERROR_LAUNCH_FAILED", c"unspecified launch failure"),
    code(720, c"CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE", c"too many blocks in cooperative launch"),
    code(721, c"CUDA_ERROR_TENSOR_MEMORY_LEAK", c"tensor memory not completely freed"),
    code(800, c"CUDA_ERROR_NOT_PERMITTED", c"operation not permitted"),
    code(801, c"CUDA_ERROR_NOT_SUPPORTED", c"operation not supported"),
    code(802, c"CUDA_ERROR_SYSTEM_NOT_READY", c"system not yet initialized"),
    code(803, c"CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", c"system has unsupported display driver / cuda driver combination"),
    code(804, c"CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE", c"forward compatibility was attempted on non supported HW"),
    code(805, c"CUDA_ERROR_MPS_CONNECTION_FAILED", c"MPS client failed to connect to the MPS control daemon or the MPS server"),
    code(806, c"CUDA_ERROR_MPS_RPC_FAILURE", c"the remote procedural call between the MPS server and the MPS client failed"),
    code(807, c"CUDA_ERROR_MPS_SERVER_NOT_READY", c"MPS server is not ready to accept new MPS client requests"),
    code(808, c"CUDA_ERROR_MPS_MAX_CLIENTS_REACHED", c"the hardware resources required to create MPS client have been exhausted"),
    code(809, c"CUDA_ERROR_MPS_MAX_CONNECTIONS_REACHED", c"the hardware resources required to support device connections have been exhausted"),
    code(810, c"CUDA_ERROR_MPS_CLIENT_TERMINATED", c"the MPS client has been terminated by the server"),
    code(811, c"CUDA_ERROR_CDP_NOT_SUPPORTED", c"is using CUDA Dynamic Parallelism, but the current configuration, like MPS, does not support it"),
    code(812, c"CUDA_ERROR_CDP_VERSION_MISMATCH", c"unsupported interaction between different versions of CUDA Dynamic Parallelism"),
    code(900, c"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", c"operation not permitted when stream is capturing"),
    code(901, c"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", c"operation failed due to a previous error during capture"),
    code(902, c"CUDA_ERROR_STREAM_CAPTURE_MERGE", c"operation would result in a merge of separate capture sequences"),
    code(903, c"CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", c"capture was not ended in the same stream as it began"),
    code(904, c"CUDA_ERROR_STREAM_CAPTURE_UNJOINED", c"capturing stream has unjoined work"),
    code(905, c"CUDA_ERROR_STREAM_CAPTURE_ISOLATION", c"dependency created on uncaptured work in another stream"),
    code(906, c"CUDA_ERROR_STREAM_CAPTURE_IMPLICIT", c"operation would make the legacy stream depend on a capturing blocking stream"),
    code(907, c"CUDA_ERROR_CAPTURED_EVENT", c"operation not permitted on an event last recorded in a capturing stream"),
    code(908, c"CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", c"attempt to terminate a thread-local capture sequence from another thread"),
    code(909, c"CUDA_ERROR_TIMEOUT", c"wait operation timed out"),
    code(910, c"CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE", c"the graph update was not performed because it included changes which violated constraints specific to instantiated graph update"),
    code(911, c"CUDA_ERROR_EXTERNAL_DEVICE", c"an async error has occured in external entity outside of CUDA"),
    code(912, c"CUDA_ERROR_INVALID_CLUSTER_SIZE", c"a kernel launch error has occurred due to cluster misconfiguration"),
    code(913, c"CUDA_ERROR_FUNCTION_NOT_LOADED", c"the function handle is not loaded when calling an API that requires a loaded function"),
    code(914, c"CUDA_ERROR_INVALID_RESOURCE_TYPE", c"one or more resources passed in are not valid resource types for the operation"),
    code(915, c"CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION", c"one or more resources are insufficient or non-applicable for the operation"),
    code(916, c"CUDA_ERROR_KEY_ROTATION", c"an error happened during the key rotation sequence"),
    code(999, c"CUDA_ERROR_UNKNOWN", c"unknown error"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_sorted_and_every_named_status_is_one_of_them_by_that_name() {
        assert!(CODES.is_sorted_by_key(|code| code.number));
        for status in Status::NAMED {
            let code = status.code().expect("cuda.h has it");
            assert_eq!(code.name.to_str(), Ok(status.name()));
        }
    }

    #[test]
    fn a_code_without_a_constant_is_named_all_the_same() {
        assert_eq!(Status(709).name(), "CUDA_ERROR_CONTEXT_IS_DESTROYED");
        assert!(Status(709).to_string().contains("context is destroyed"));
        assert_eq!(Status(12_345).code(), None);
    }
}
