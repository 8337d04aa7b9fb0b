//! Kernel images as CUDA programs carry them.

#![forbid(unsafe_code)]
