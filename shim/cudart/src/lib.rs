//! `libcudart.so.13` over the driver API.
