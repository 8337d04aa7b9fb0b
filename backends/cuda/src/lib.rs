//! The backend that executes on a real GPU, through the CUDA driver.
