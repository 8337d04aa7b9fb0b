//! Libraries of kernels that a program loads itself.

use crate::driver;
use crate::pointer::{Image, In, InOut, Out, Text};

entries! {
    sync fn cudaLibraryLoadData(library: Out<'_, usize>, code: Image, jit[jit_count]: In<'_, u32>, jit_values[jit_count]: InOut<'_, usize>, jit_count: u32, options[count]: In<'_, u32>, values[count]: In<'_, usize>, count: u32) {
        driver::bind()?.cuLibraryLoadData(library.present()?, code, jit, jit_values, jit_count, options, values, count)
    }

    sync fn cudaLibraryLoadFromFile(library: Out<'_, usize>, path: Text, jit[jit_count]: In<'_, u32>, jit_values[jit_count]: InOut<'_, usize>, jit_count: u32, options[count]: In<'_, u32>, values[count]: In<'_, usize>, count: u32) {
        driver::bind()?.cuLibraryLoadFromFile(library.present()?, path, jit, jit_values, jit_count, options, values, count)
    }
}

passed! {
    post fn cudaLibraryUnload(library: usize) = cuLibraryUnload;
    sync fn cudaLibraryGetKernel(kernel: Out<'_, usize>, library: usize, name: Text) = cuLibraryGetKernel;
    sync fn cudaLibraryGetKernelCount(count: Out<'_, u32>, library: usize) = cuLibraryGetKernelCount;
    sync fn cudaLibraryEnumerateKernels(kernels[count]: Out<'_, usize>, count: u32, library: usize) = cuLibraryEnumerateKernels;
    sync fn cudaLibraryGetGlobal(at: Out<'_, u64>, bytes: Out<'_, usize>, library: usize, name: Text) = cuLibraryGetGlobal;
    sync fn cudaLibraryGetManaged(at: Out<'_, u64>, bytes: Out<'_, usize>, library: usize, name: Text) = cuLibraryGetManaged;
    local fn cudaLibraryGetUnifiedFunction(function: Out<'_, usize>, library: usize, name: Text) = cuLibraryGetUnifiedFunction;
}

entries! {
    sync fn cudaKernelSetAttributeForDevice(kernel: usize, attribute: u32, value: i32, device: i32) {
        let driver = driver::bind()?;
        driver.cuKernelSetAttribute(attribute, value, crate::module::kernel(kernel)?, device)
    }
}
