//! The few calls of the kernel's VFIO interface that a user-space driver of one PCI function needs: an unsafe island.
//!
//! A group belongs to one process at a time; opening it again is `EBUSY`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `_IO(';', 100 + n)`.
const fn request(number: u64) -> libc::Ioctl {
    (0x3b00 + 100 + number) as libc::Ioctl
}

const GET_API_VERSION: libc::Ioctl = request(0);
const SET_IOMMU: libc::Ioctl = request(2);
const GROUP_SET_CONTAINER: libc::Ioctl = request(4);
const GROUP_GET_DEVICE_FD: libc::Ioctl = request(6);
const DEVICE_GET_REGION_INFO: libc::Ioctl = request(8);
const DEVICE_GET_IRQ_INFO: libc::Ioctl = request(9);
const DEVICE_SET_IRQS: libc::Ioctl = request(10);

const TYPE1_V2_IOMMU: libc::c_ulong = 3;
const DATA_EVENTFD: u32 = 1 << 2;
const ACTION_TRIGGER: u32 = 1 << 5;

/// Regions of a PCI function: BAR n is region n.
pub const CONFIG_REGION: u32 = 7;
/// Interrupts of a PCI function.
pub const MSIX_INTERRUPTS: u32 = 2;
/// The kernel's wish to have the function back.
pub const RELEASE_REQUEST: u32 = 4;

#[repr(C)]
struct RegionInfo {
    size_of_this: u32,
    flags: u32,
    index: u32,
    capabilities: u32,
    bytes: u64,
    start: u64,
}

#[repr(C)]
struct InterruptInfo {
    size_of_this: u32,
    flags: u32,
    index: u32,
    count: u32,
}

/// Most interrupts of one kind that are set up.
const INTERRUPTS_MAX: usize = 64;

#[repr(C)]
struct SetInterrupts {
    size_of_this: u32,
    flags: u32,
    index: u32,
    start: u32,
    count: u32,
    eventfds: [i32; INTERRUPTS_MAX],
}

fn answered(answer: libc::c_int) -> io::Result<libc::c_int> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// Whether the container speaks the version that this module knows.
pub fn version_is_known(container: impl AsFd) -> bool {
    let fd = container.as_fd().as_raw_fd();
    // SAFETY: this request takes no argument and touches no memory of the process.
    unsafe { libc::ioctl(fd, GET_API_VERSION) == 0 }
}

/// Puts the group into the container, and gives the container an IOMMU.
pub fn join(group: impl AsFd, container: impl AsFd) -> io::Result<()> {
    let container = container.as_fd().as_raw_fd();
    let group = group.as_fd().as_raw_fd();
    // SAFETY: the request reads one int behind the pointer, which lives for the call.
    answered(unsafe { libc::ioctl(group, GROUP_SET_CONTAINER, &raw const container) })?;
    // SAFETY: this request takes its argument by value.
    answered(unsafe { libc::ioctl(container, SET_IOMMU, TYPE1_V2_IOMMU) })?;
    Ok(())
}

/// Opens the function with this address in the group.
pub fn open_device(group: impl AsFd, address: &str) -> io::Result<OwnedFd> {
    let name = std::ffi::CString::new(address)?;
    let group = group.as_fd().as_raw_fd();
    // SAFETY: the request reads a string that ends with a zero byte and lives for the call.
    let fd = answered(unsafe { libc::ioctl(group, GROUP_GET_DEVICE_FD, name.as_ptr()) })?;
    // SAFETY: the kernel made this descriptor for this call, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Where region `index` begins in the device's file, and its bytes.
pub fn region(device: BorrowedFd<'_>, index: u32) -> io::Result<(u64, u64)> {
    let size_of_this = size_of::<RegionInfo>() as u32;
    let mut info =
        RegionInfo { size_of_this, flags: 0, index, capabilities: 0, bytes: 0, start: 0 };
    let fd = device.as_raw_fd();
    // SAFETY: the request reads and writes at most `size_of_this` bytes of the struct, which lives for the call.
    answered(unsafe { libc::ioctl(fd, DEVICE_GET_REGION_INFO, &raw mut info) })?;
    Ok((info.start, info.bytes))
}

/// How many interrupts of this kind there are.
pub fn interrupts(device: BorrowedFd<'_>, index: u32) -> io::Result<u32> {
    let size_of_this = size_of::<InterruptInfo>() as u32;
    let mut info = InterruptInfo { size_of_this, flags: 0, index, count: 0 };
    let fd = device.as_raw_fd();
    // SAFETY: the request reads and writes at most `size_of_this` bytes of the struct, which lives for the call.
    answered(unsafe { libc::ioctl(fd, DEVICE_GET_IRQ_INFO, &raw mut info) })?;
    Ok(info.count)
}

/// Lets interrupt n of this kind signal eventfd n.
pub fn signal_by(device: BorrowedFd<'_>, index: u32, bells: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut eventfds = [-1; INTERRUPTS_MAX];
    let count = bells.len().min(INTERRUPTS_MAX);
    for (place, bell) in eventfds.iter_mut().zip(bells) {
        *place = bell.as_raw_fd();
    }
    let head = core::mem::offset_of!(SetInterrupts, eventfds);
    let set = SetInterrupts {
        size_of_this: (head + count * size_of::<i32>()) as u32,
        flags: DATA_EVENTFD | ACTION_TRIGGER,
        index,
        start: 0,
        count: count as u32,
        eventfds,
    };
    let fd = device.as_raw_fd();
    // SAFETY: the request reads `size_of_this` bytes of the struct, no more than it has, and it lives for the call.
    answered(unsafe { libc::ioctl(fd, DEVICE_SET_IRQS, &raw const set) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_that_is_no_vfio_file_is_an_error() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(!version_is_known(&file));
        assert!(region(file.as_fd(), 0).is_err());
        assert!(interrupts(file.as_fd(), MSIX_INTERRUPTS).is_err());
        assert!(signal_by(file.as_fd(), MSIX_INTERRUPTS, &[file.as_fd()]).is_err());
        assert!(join(&file, &file).is_err());
        assert!(open_device(&file, "0000:00:03.0").is_err());
    }

    #[test]
    fn structures_are_as_long_as_the_kernel_reads_them() {
        assert_eq!(size_of::<RegionInfo>(), 32);
        assert_eq!(size_of::<InterruptInfo>(), 16);
        assert_eq!(core::mem::offset_of!(SetInterrupts, eventfds), 20);
    }
}
