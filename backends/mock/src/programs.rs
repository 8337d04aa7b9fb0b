//! The kernels of the test programs, by the names that nvcc gives them.

use crate::KernelSpec;

/// All of them.
pub(crate) fn kernels() -> Vec<KernelSpec> {
    Vec::new()
}
