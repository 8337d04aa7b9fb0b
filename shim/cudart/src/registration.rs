//! What the compiler's own code calls: registration at start, and launches by `<<<...>>>`.

use crate::error::{Error, Outcome};
use crate::launch::{self, Blocks};
use crate::module::{self, Binary, Wrapper};
use crate::pointer::{In, Opaque, Out, Text};
use crate::thread::{self, Configuration};
use crate::types::Dim3;
use std::panic::{UnwindSafe, catch_unwind};
use std::ptr;

/// The binary behind a handle.
fn binary(handle: In<'static, Binary>) -> Option<&'static Binary> {
    let at = ptr::with_exposed_provenance::<Binary>(handle.address());
    // SAFETY: null, or what `__cudaRegisterFatBinary` gave the compiler's code: a thing that lives for ever.
    unsafe { at.as_ref() }
}

/// Does what the compiler's code asked for with a binary; there is nobody who could be told of a failure.
fn with(handle: In<'static, Binary>, body: impl FnOnce(&'static Binary) + UnwindSafe) {
    let _ = catch_unwind(|| binary(handle).map(body));
}

raw! {
    local fn __cudaRegisterFatBinary(wrapper: In<'static, Wrapper>) -> usize {
        let binary = catch_unwind(|| Binary::register(Wrapper::image(wrapper)));
        binary.map_or(0, |binary| ptr::from_ref(binary).expose_provenance())
    }

    local fn __cudaRegisterFatBinaryEnd(_handle: In<'static, Binary>) -> () {}

    post fn __cudaUnregisterFatBinary(handle: In<'static, Binary>) -> () {
        with(handle, |binary| binary.unregister());
    }

    // The further arguments of the compiler's (thread limit, places for indices) have had no meaning since CUDA 4.
    local fn __cudaRegisterFunction(handle: In<'static, Binary>, host: Opaque, _device: Opaque, name: Text) -> () {
        with(handle, |binary| binary.add_function(host, name));
    }

    local fn __cudaRegisterVar(handle: In<'static, Binary>, host: Opaque, _device: Opaque, name: Text, _external: i32, bytes: usize) -> () {
        with(handle, |binary| binary.add_variable(host, name, bytes));
    }

    local fn __cudaRegisterManagedVar(handle: In<'static, Binary>, place: Opaque, _device: Opaque, name: Text, _external: i32, bytes: usize) -> () {
        with(handle, |binary| binary.add_managed(place, name, bytes));
    }

    /// Called before the program first reads a managed variable of this binary. Answers whether that is possible.
    sync fn __cudaInitModule(handle: In<'static, Binary>) -> u8 {
        let outcome = thread::enter(|| match binary(handle) {
            Some(binary) => binary.place_managed(),
            None => Err(Error::INVALID_VALUE),
        });
        u8::from(outcome == 0)
    }

    /// Answers 0 if the launch may go on.
    local fn __cudaPushCallConfiguration(grid: Dim3, block: Dim3, shared_bytes: usize, stream: usize) -> u32 {
        let configuration = Configuration { grid, block, shared_bytes, stream };
        (thread::enter(|| thread::push(configuration)) != 0).into()
    }
}

fn pop(
    grid: Out<'_, Dim3>,
    block: Out<'_, Dim3>,
    shared_bytes: Out<'_, usize>,
    stream: Out<'_, usize>,
) -> Outcome {
    let configuration = thread::pop()?;
    grid.set(configuration.grid)?;
    block.set(configuration.block)?;
    shared_bytes.set(configuration.shared_bytes)?;
    stream.set(configuration.stream)
}

entries! {
    local fn __cudaPopCallConfiguration(grid: Out<'_, Dim3>, block: Out<'_, Dim3>, shared_bytes: Out<'_, usize>, stream: Out<'_, usize>) {
        pop(grid, block, shared_bytes, stream)
    }

    // The handle is the host function itself: it is kept in a static by the compiler's code, which asks but once, also
    // when there is no device yet. It is looked up when the kernel is launched.
    local fn __cudaGetKernel(kernel: Out<'_, usize>, host: Opaque) {
        match module::function(host) {
            Some(_) => kernel.set(host),
            None => Err(Error::INVALID_DEVICE_FUNCTION),
        }
    }
}

streamed! {
    post fn __cudaLaunchKernel | __cudaLaunchKernel_ptsz [stream](kernel: usize, grid: Dim3, block: Dim3, parameters[kernel]: In<'_, usize>, shared_bytes: usize, stream: usize) {
        launch::launch(Blocks::Apart, kernel, (grid, block), parameters, shared_bytes, stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_was_never_pushed_cannot_be_popped() {
        let (mut dim, mut number) = (Dim3::default(), 0);
        let (dims, numbers) = (Out::to(&mut dim), Out::to(&mut number));
        assert_eq!(pop(dims, dims, numbers, numbers), Err(Error::MISSING_CONFIGURATION));
    }
}
