//! The only unsafe code of these tests: what KVM is told about this process.

use super::BareError;
use super::memory::Memory;
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{IoEventAddress, VmFd};
use memmap2::MmapMut;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd};
use vmm_sys_util::eventfd::EventFd;

/// Lets the guest see this process's memory, and its page tables.
pub fn add_memory(vm: &VmFd, memory: &Memory, tables: &MmapMut) -> Result<(), BareError> {
    let place = (tables.as_ptr().addr() as u64, memory.root(), tables.len() as u64);
    let slots = memory.slots.iter().map(|slot| (slot.host, slot.guest, slot.bytes));
    for (slot, (userspace_addr, guest_phys_addr, memory_size)) in slots.chain([place]).enumerate() {
        let slot = slot as u32;
        let region = kvm_userspace_memory_region {
            slot,
            flags: 0,
            guest_phys_addr,
            memory_size,
            userspace_addr,
        };
        // SAFETY: KVM only notes the addresses. They are accessed by the guest alone, which runs code of this process under
        // the rules of that code: what it may access there, its thread may access here, since that thread waits meanwhile,
        // and every page has the rights that it has here. The page tables are nobody else's. What this process unmaps, KVM
        // lets go of by itself.
        let added = unsafe { vm.set_user_memory_region(region) };
        added.map_err(|source| BareError::Kvm { what: "adding memory", source })?;
    }
    Ok(())
}

/// Makes a store of `value` at `address` a signal of `bell`.
pub fn doorbell(
    vm: &VmFd,
    bell: &ringbar::os::EventFd,
    address: u64,
    value: u32,
) -> Result<(), BareError> {
    let fd = bell.as_fd().try_clone_to_owned();
    let fd = fd.map_err(|e| BareError::system("a doorbell", e))?.into_raw_fd();
    // SAFETY: a descriptor that nobody else has.
    let bell = unsafe { EventFd::from_raw_fd(fd) };
    vm.register_ioevent(&bell, &IoEventAddress::Mmio(address), value)
        .map_err(|source| BareError::Kvm { what: "connecting a doorbell", source })
}

/// Where the thread-local data of this thread lies: on x86-64, glibc's name of a thread is its thread pointer.
pub fn thread_pointer() -> u64 {
    // SAFETY: has no conditions.
    unsafe { libc::pthread_self() }
}
