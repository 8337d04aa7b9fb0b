//! `cuLibrary*` and the `cuKernel*` that are about libraries.

use super::calls::read;
use super::{Library, Options, resolve_kernel, resolve_library};
use crate::arg::{Image, In, InOut, Out, Text};
use crate::failure::Outcome;
use crate::tls;
use crate::types::{CUdeviceptr, CUfunction, CUkernel, CUlibrary, CUmodule};
use crate::{capturing, session};
use ringbar_vocabulary::Status;
use std::ffi::c_char;

/// `CU_LIBRARY_HOST_UNIVERSAL_FUNCTION_AND_DATA_TABLE`.
const HOST_TABLE: u32 = 0;
/// `CU_LIBRARY_BINARY_IS_PRESERVED`.
const PRESERVED: u32 = 1;

/// Whether the program promises to keep the image.
fn is_preserved(count: u32, options: In<u32>, values: In<usize>) -> Outcome<bool> {
    let mut preserved = false;
    for at in 0..count as usize {
        match options.at(at)? {
            PRESERVED => preserved = values.at(at)? != 0,
            HOST_TABLE => tracing::debug!("a library's table of host functions is not used"),
            _ => return Err(Status::INVALID_VALUE.into()),
        }
    }
    Ok(preserved)
}

/// Gives the library out. If the compiler is to answer, it is loaded into the current context now: later the program's
/// buffers may be gone. Without a context they stay as they are. What cannot be compiled is told in the log, and by whoever
/// uses the library, as CUDA does it.
fn give(place: Out<CUlibrary>, library: &'static Library, options: &Options) -> Outcome {
    match tls::current() {
        Ok(context) if options.wants_answers() => {
            if let Err(failure) = library.compile_in(context, options) {
                session::gate()?;
                tracing::debug!(status = %failure.0, "a library cannot be compiled");
            }
        }
        _ => {}
    }
    place.set(library.handle)
}

entry! {
    /// Makes a library of an image in memory; nothing is sent before a context uses it, or the compiler is asked for its
    /// logs.
    sync fn cuLibraryLoadData(library: Out<CUlibrary>, code: Image, jit_options[jit_count]: In<u32>, jit_values[jit_count]: InOut<usize>, jit_count: u32, options[count]: In<u32>, values[count]: In<usize>, count: u32) {
        let library = library.required()?;
        let preserved = is_preserved(count, options, values)?;
        let options = Options::read(jit_count, jit_options, jit_values)?;
        // SAFETY: the caller of the C function vouches for a whole image.
        let made = unsafe { Library::new(code, preserved, options.for_later()) }?;
        give(library, made, &options)
    }

    /// Makes a library of a file.
    sync fn cuLibraryLoadFromFile(library: Out<CUlibrary>, file: Text, jit_options[jit_count]: In<u32>, jit_values[jit_count]: InOut<usize>, jit_count: u32, options[count]: In<u32>, values[count]: In<usize>, count: u32) {
        let library = library.required()?;
        is_preserved(count, options, values)?;
        let options = Options::read(jit_count, jit_options, jit_values)?;
        let made = Library::of_bytes(read(file)?, options.for_later())?;
        give(library, made, &options)
    }

    /// Unloads a library from all contexts.
    post fn cuLibraryUnload(library: CUlibrary) {
        let library = resolve_library(library)?;
        capturing::unsafe_call()?;
        library.unload()
    }

    /// A kernel of a library by name.
    sync fn cuLibraryGetKernel(kernel: Out<CUkernel>, library: CUlibrary, name: Text) {
        let kernel = kernel.required()?;
        let name = name.bytes()?;
        kernel.set(resolve_library(library)?.kernel(name)?.handle)
    }

    /// A library's module in the current context.
    sync fn cuLibraryGetModule(module: Out<CUmodule>, library: CUlibrary) {
        let module = module.required()?;
        module.set(resolve_library(library)?.module_here()?.handle)
    }

    /// A variable of a library in the current context: first byte and size, whichever is wanted.
    sync fn cuLibraryGetGlobal(address: Out<CUdeviceptr>, bytes: Out<usize>, library: CUlibrary, name: Text) {
        let name = name.bytes()?;
        let (at, size) = resolve_library(library)?.module_here()?.global(name)?;
        address.set_if_wanted(at);
        bytes.set_if_wanted(size as usize);
        Ok(())
    }

    /// A managed variable of a library: first byte and size, whichever is wanted. Host and device use it at the same
    /// address, by turns.
    sync fn cuLibraryGetManaged(address: Out<CUdeviceptr>, bytes: Out<usize>, library: CUlibrary, name: Text) {
        let name = name.bytes()?;
        let (at, size) = resolve_library(library)?.managed(name)?;
        address.set_if_wanted(at);
        bytes.set_if_wanted(size as usize);
        Ok(())
    }

    /// A function that host and device call at one address: no library here has one, which an unknown name's answer says.
    local fn cuLibraryGetUnifiedFunction(place: Out<usize>, library: CUlibrary, name: Text) {
        place.required()?;
        name.bytes()?;
        resolve_library(library)?;
        Err(Status::INVALID_VALUE.into())
    }

    /// How many kernels a library has.
    sync fn cuLibraryGetKernelCount(count: Out<u32>, library: CUlibrary) {
        let count = count.required()?;
        count.set(resolve_library(library)?.module_here()?.count()?)
    }

    /// The first kernels of a library.
    sync fn cuLibraryEnumerateKernels(kernels[count]: Out<CUkernel>, count: u32, library: CUlibrary) {
        let kernels = kernels.required()?;
        let library = resolve_library(library)?;
        let names = library.module_here()?.names()?;
        let found: Outcome<Vec<CUkernel>> =
            names.iter().take(count as usize).map(|name| Ok(library.kernel(name)?.handle)).collect();
        kernels.set_all(found?)
    }

    /// A kernel's function in the current context.
    sync fn cuKernelGetFunction(function: Out<CUfunction>, kernel: CUkernel) {
        let function = function.required()?;
        function.set(resolve_kernel(kernel)?.function_in(tls::current()?)?.handle)
    }

    /// A kernel's library.
    local fn cuKernelGetLibrary(library: Out<CUlibrary>, kernel: CUkernel) {
        let library = library.required()?;
        library.set(resolve_kernel(kernel)?.library.handle)
    }

    /// A kernel's name.
    local fn cuKernelGetName(name: Out<*const c_char>, kernel: CUkernel) {
        let name = name.required()?;
        name.set(resolve_kernel(kernel)?.name.as_ptr())
    }
}
