//! Libraries of kernels that a program loads itself.

use crate::driver;
use crate::pointer::Out;

entries! {
    fn cudaLibraryLoadData(library: Out<'_, usize>, code: usize, jit: usize, jit_values: usize, jit_count: u32, options: usize, values: usize, count: u32) {
        driver::bind()?.cuLibraryLoadData(library.present()?, code, jit, jit_values, jit_count, options, values, count)
    }

    fn cudaLibraryLoadFromFile(library: Out<'_, usize>, path: usize, jit: usize, jit_values: usize, jit_count: u32, options: usize, values: usize, count: u32) {
        driver::bind()?.cuLibraryLoadFromFile(library.present()?, path, jit, jit_values, jit_count, options, values, count)
    }
}

passed! {
    fn cudaLibraryUnload(library: usize) = cuLibraryUnload;
    fn cudaLibraryGetKernel(kernel: Out<'_, usize>, library: usize, name: usize) = cuLibraryGetKernel;
    fn cudaLibraryGetKernelCount(count: Out<'_, u32>, library: usize) = cuLibraryGetKernelCount;
    fn cudaLibraryEnumerateKernels(kernels: usize, count: u32, library: usize) = cuLibraryEnumerateKernels;
    fn cudaLibraryGetGlobal(at: Out<'_, u64>, bytes: Out<'_, usize>, library: usize, name: usize) = cuLibraryGetGlobal;
    fn cudaLibraryGetManaged(at: Out<'_, u64>, bytes: Out<'_, usize>, library: usize, name: usize) = cuLibraryGetManaged;
    fn cudaLibraryGetUnifiedFunction(function: Out<'_, usize>, library: usize, name: usize) = cuLibraryGetUnifiedFunction;
}

entries! {
    fn cudaKernelSetAttributeForDevice(kernel: usize, attribute: u32, value: i32, device: i32) {
        let driver = driver::bind()?;
        driver.cuKernelSetAttribute(attribute, value, crate::module::kernel(kernel)?, device)
    }
}
