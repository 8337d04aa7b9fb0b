//! Copies of bytes and of rectangles.

use crate::driver::{self, Driver};
use crate::error::{Error, Outcome};
use crate::pointer::In;
use crate::stream;
use crate::types::{Copy2D, Memcpy3DBatchOp, MemcpyAttributes, Side2D};

/// `cudaMemcpyKind`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    HostToHost,
    HostToDevice,
    DeviceToHost,
    DeviceToDevice,
    Default,
}

/// `CU_MEMORYTYPE_HOST`.
pub(crate) const HOST: u32 = 1;
/// `CU_MEMORYTYPE_DEVICE`.
pub(crate) const DEVICE: u32 = 2;
/// `CU_MEMORYTYPE_UNIFIED`: the driver finds out.
pub(crate) const UNIFIED: u32 = 4;

impl Kind {
    /// The direction that a program named.
    pub(crate) fn new(kind: u32) -> Outcome<Self> {
        use Kind::{Default, DeviceToDevice, DeviceToHost, HostToDevice, HostToHost};
        let kinds = [HostToHost, HostToDevice, DeviceToHost, DeviceToDevice, Default];
        kinds.get(kind as usize).copied().ok_or(Error::INVALID_MEMCPY_DIRECTION)
    }

    /// The driver's memory types of the source and the destination.
    pub(crate) fn memory_types(self) -> (u32, u32) {
        match self {
            Kind::HostToHost => (HOST, HOST),
            Kind::HostToDevice => (HOST, DEVICE),
            Kind::DeviceToHost => (DEVICE, HOST),
            Kind::DeviceToDevice => (DEVICE, DEVICE),
            Kind::Default => (UNIFIED, UNIFIED),
        }
    }
}

/// Copies on a stream.
pub(crate) fn copy_on(dst: usize, src: usize, bytes: usize, kind: Kind, stream: usize) -> Outcome {
    let driver = driver::bind()?;
    if bytes == 0 {
        return Ok(());
    }
    let (to, from) = (dst as u64, src as u64);
    match kind {
        Kind::HostToDevice => driver.cuMemcpyHtoDAsync_v2(to, src, bytes, stream),
        Kind::DeviceToHost => driver.cuMemcpyDtoHAsync_v2(dst, from, bytes, stream),
        Kind::DeviceToDevice => driver.cuMemcpyDtoDAsync_v2(to, from, bytes, stream),
        Kind::HostToHost | Kind::Default => driver.cuMemcpyAsync(to, from, bytes, stream),
    }
}

/// Copies, and returns when the source may be changed and what is on the host is there.
pub(crate) fn copy(dst: usize, src: usize, bytes: usize, kind: Kind, stream: usize) -> Outcome {
    if stream != stream::DEFAULT {
        copy_on(dst, src, bytes, kind, stream)?;
        return driver::bind()?.cuStreamSynchronize(stream);
    }
    let driver = driver::bind()?;
    if bytes == 0 {
        return Ok(());
    }
    let (to, from) = (dst as u64, src as u64);
    match kind {
        Kind::HostToDevice => driver.cuMemcpyHtoD_v2(to, src, bytes),
        Kind::DeviceToHost => driver.cuMemcpyDtoH_v2(dst, from, bytes),
        Kind::DeviceToDevice => driver.cuMemcpyDtoD_v2(to, from, bytes),
        Kind::HostToHost | Kind::Default => driver.cuMemcpy(to, from, bytes),
    }
}

/// One side of a rectangle that is memory.
pub(crate) fn side(at: usize, pitch: usize, kind: u32) -> Side2D {
    // A host address is read where the type is host, a device address elsewhere.
    Side2D { kind, host: at, device: at as u64, pitch, ..Side2D::default() }
}

/// A rectangle as a program describes it.
struct Rectangle {
    dst: (usize, usize),
    src: (usize, usize),
    width: usize,
    height: usize,
    kind: u32,
}

impl Rectangle {
    /// The driver's form; none if there is nothing to copy.
    fn description(&self) -> Outcome<Option<Copy2D>> {
        let kind = Kind::new(self.kind)?;
        if self.width > self.dst.1 || self.width > self.src.1 {
            return Err(Error::INVALID_PITCH);
        }
        if self.width == 0 || self.height == 0 {
            return Ok(None);
        }
        let (from, to) = kind.memory_types();
        Ok(Some(Copy2D {
            src: side(self.src.0, self.src.1, from),
            dst: side(self.dst.0, self.dst.1, to),
            width_bytes: self.width,
            height: self.height,
        }))
    }

    fn copy(&self, call: impl FnOnce(&Driver, In<'_, Copy2D>) -> Outcome) -> Outcome {
        let driver = driver::bind()?;
        match self.description()? {
            Some(description) => call(driver, In::to(&description)),
            None => Ok(()),
        }
    }
}

on_default! {
    sync fn cudaMemcpy | cudaMemcpy_ptds [stream](dst: usize, src: usize, bytes: usize, kind: u32) {
        copy(dst, src, bytes, Kind::new(kind)?, stream)
    }

    sync fn cudaMemcpy2D | cudaMemcpy2D_ptds [stream](dst: usize, dst_pitch: usize, src: usize, src_pitch: usize, width: usize, height: usize, kind: u32) {
        let rectangle = Rectangle { dst: (dst, dst_pitch), src: (src, src_pitch), width, height, kind };
        rectangle.copy(|driver, copy| {
            if stream == stream::DEFAULT {
                return driver.cuMemcpy2DUnaligned_v2(copy);
            }
            driver.cuMemcpy2DAsync_v2(copy, stream)?;
            driver.cuStreamSynchronize(stream)
        })
    }
}

streamed! {
    post fn cudaMemcpyAsync | cudaMemcpyAsync_ptsz [stream](dst: usize, src: usize, bytes: usize, kind: u32, stream: usize) {
        copy_on(dst, src, bytes, Kind::new(kind)?, stream)
    }

    post fn cudaMemcpy2DAsync | cudaMemcpy2DAsync_ptsz [stream](dst: usize, dst_pitch: usize, src: usize, src_pitch: usize, width: usize, height: usize, kind: u32, stream: usize) {
        let rectangle = Rectangle { dst: (dst, dst_pitch), src: (src, src_pitch), width, height, kind };
        rectangle.copy(|driver, copy| driver.cuMemcpy2DAsync_v2(copy, stream))
    }
}

passed_streamed! {
    post fn cudaMemcpyBatchAsync | cudaMemcpyBatchAsync_ptsz [stream](dsts[count]: In<'_, u64>, srcs[count]: In<'_, u64>, sizes[count]: In<'_, usize>, count: usize, attributes[attribute_count]: In<'_, MemcpyAttributes>, indices[attribute_count]: In<'_, usize>, attribute_count: usize, stream: usize) = cuMemcpyBatchAsync_v2;
    post fn cudaMemcpy3DBatchAsync | cudaMemcpy3DBatchAsync_ptsz [stream](count: usize, list[count]: In<'_, Memcpy3DBatchOp>, flags: u64, stream: usize) = cuMemcpy3DBatchAsync_v2;
}

entries! {
    post fn cudaMemcpyPeer(dst: u64, dst_device: i32, src: u64, src_device: i32, bytes: usize) {
        let driver = driver::bind()?;
        let (to, from) = (driver::primary(dst_device)?, driver::primary(src_device)?);
        if bytes == 0 { Ok(()) } else { driver.cuMemcpyPeer(dst, to, src, from, bytes) }
    }

    // It has no second form: a program with a default stream a thread passes that one's own value.
    post fn cudaMemcpyPeerAsync(dst: u64, dst_device: i32, src: u64, src_device: i32, bytes: usize, stream: usize) {
        let driver = driver::bind()?;
        let (to, from) = (driver::primary(dst_device)?, driver::primary(src_device)?);
        if bytes == 0 { Ok(()) } else { driver.cuMemcpyPeerAsync(dst, to, src, from, bytes, stream) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direction_that_is_none_is_refused() {
        assert_eq!(Kind::new(2), Ok(Kind::DeviceToHost));
        assert_eq!(Kind::new(5), Err(Error::INVALID_MEMCPY_DIRECTION));
    }

    #[test]
    fn rows_longer_than_their_pitch_are_refused_and_empty_ones_are_nothing() {
        let rectangle =
            |width, height| Rectangle { dst: (4096, 64), src: (8192, 32), width, height, kind: 1 };
        assert_eq!(rectangle(33, 1).description().err(), Some(Error::INVALID_PITCH));
        assert!(rectangle(32, 0).description().unwrap().is_none());
        let copy = rectangle(32, 5).description().unwrap().unwrap();
        assert_eq!((copy.src.kind, copy.dst.kind), (HOST, DEVICE));
        assert_eq!((copy.src.host, copy.dst.device, copy.height), (8192, 4096, 5));
    }
}
