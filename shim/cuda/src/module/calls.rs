//! `cuModule*`.

use super::{Module, Options, resolve};
use crate::arg::{Image, In, InOut, Out, Text};
use crate::failure::{Failure, Outcome};
use crate::session::live;
use crate::tls;
use crate::types::{CUdeviceptr, CUfunction, CUmodule};
use crate::{capturing, image};
use ringbar_vocabulary::Status;
use std::ffi::{OsStr, c_void};
use std::os::unix::ffi::OsStrExt;

/// `CU_MODULE_LAZY_LOADING`.
const LAZY: u32 = 2;
/// `CUDA_ERROR_FILE_NOT_FOUND`.
const FILE_NOT_FOUND: Status = Status(301);

/// Loads the image at an address into the current context.
fn load(place: Out<CUmodule>, address: *const c_void, options: &Options) -> Outcome {
    let place = place.required()?;
    let context = tls::current()?;
    // SAFETY: the caller of the C function vouches for a whole image.
    let image = unsafe { image::at(address) }?;
    place.set(Module::load(context, image, options)?.handle)
}

/// The bytes of an image file; text gets the zero byte that it ends with in memory.
pub(super) fn read(file: Text) -> Outcome<Vec<u8>> {
    let path = OsStr::from_bytes(file.bytes()?);
    let mut bytes = std::fs::read(path).map_err(|error| {
        tracing::warn!(file = %path.display(), %error, "a module's file cannot be read");
        Failure(FILE_NOT_FOUND)
    })?;
    bytes.push(0);
    Ok(bytes)
}

entry! {
    /// Loads a module from a file.
    sync fn cuModuleLoad(module: Out<CUmodule>, file: Text) {
        let module = module.required()?;
        let bytes = read(file)?;
        load(module, bytes.as_ptr().cast(), &Options::default())
    }

    /// Loads a module from memory.
    sync fn cuModuleLoadData(module: Out<CUmodule>, image: Image) {
        load(module, image, &Options::default())
    }

    /// Loads a module from memory, with options of the compiler; those that name symbols are not supported.
    sync fn cuModuleLoadDataEx(module: Out<CUmodule>, image: Image, count: u32, options[count]: In<u32>, values[count]: InOut<usize>) {
        load(module, image, &Options::read(count, options, values)?)
    }

    /// Loads a module from a fat binary in memory.
    sync fn cuModuleLoadFatBinary(module: Out<CUmodule>, image: Image) {
        load(module, image, &Options::default())
    }

    /// Unloads a module once all work before is done, and waits for that.
    sync fn cuModuleUnload(module: CUmodule) {
        let module = resolve(module)?;
        capturing::unsafe_call()?;
        let position = module.unload()?;
        Ok(live()?.session.wait_executed(position)?)
    }

    /// How modules are loaded: lazily.
    local fn cuModuleGetLoadingMode(mode: Out<u32>) {
        mode.set(LAZY)
    }

    /// A function of a module by name.
    sync fn cuModuleGetFunction(function: Out<CUfunction>, module: CUmodule, name: Text) {
        let function = function.required()?;
        let name = name.bytes()?;
        function.set(resolve(module)?.function(name)?.handle)
    }

    /// A variable of a module by name: first byte and size, whichever is wanted.
    sync fn cuModuleGetGlobal_v2(address: Out<CUdeviceptr>, bytes: Out<usize>, module: CUmodule, name: Text) {
        let name = name.bytes()?;
        if address.is_null() && bytes.is_null() {
            return Err(Status::INVALID_VALUE.into());
        }
        let (at, size) = resolve(module)?.global(name)?;
        address.set_if_wanted(at);
        bytes.set_if_wanted(size as usize);
        Ok(())
    }
}
