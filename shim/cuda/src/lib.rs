//! `libcuda.so.1` for programs whose GPU is elsewhere.
