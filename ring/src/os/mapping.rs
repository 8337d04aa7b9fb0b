//! Memory that two sides can share: an unsafe island.
//!
//! A [`Mapping`] is a piece of address space with an owner. It hands out raw pointers and never a reference or a slice:
//! a peer may write any byte at any moment, and a Rust reference would promise the compiler that nobody does. All
//! access goes through atomics on those pointers, in the modules that know the layout. (That atomics hold across a trust
//! boundary is an assumption which Rust's reference leaves open; every shared-memory program rests on it.)
//!
//! # Which memory for whom
//!
//! | constructor | shared with | may a stranger have it |
//! |---|---|---|
//! | [`Mapping::heap`] | threads of this process (also under Miri) | - |
//! | [`Mapping::memfd_create`], [`Mapping::memfd_attach`] | whoever gets the descriptor | yes |
//! | [`Mapping::file`] on a plain file | whoever may open it | no, it can be truncated |
//! | [`Mapping::file`] on `/dev/dax*` | a VM, cached | yes |
//! | [`Mapping::pci_resource`] | the host, from inside a VM | yes |
//!
//! # Seals, and the one that is left out
//!
//! Touching a mapped page behind the end of a file is a fatal signal (SIGBUS), so a memfd is sealed against shrinking,
//! growing and further seals before anyone else gets it. Punching a hole (`FALLOC_FL_PUNCH_HOLE`) stays possible: the
//! only seals against it, `F_SEAL_WRITE` and `F_SEAL_FUTURE_WRITE`, also forbid every later writable mapping, and a
//! channel outlives its workers, so the next worker must be able to map it. A hole needs no seal to be harmless: it reads
//! as zeros, which no reader of the ring takes for a record, and hurts only the side that punched it. Reserved huge pages
//! (`MFD_HUGETLB`) are refused, because there a hole may find no page to come back to, which is the fatal signal again;
//! [`Mapping::advise_huge_pages`] has no such end.

use super::fault::Guard;
use super::map_error::MapError;
use super::mapping_file::{
    SEALS_NEEDED, check_aligned, check_memfd, check_range, check_resource_name, checked_len,
    dax_size, enable_pci_function, name_of, new_memfd, open_rw, regular_kind, reserve, wrong_kind,
};
use crate::sync::{AtomicU32, Ordering, fence};
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FileType, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::alloc::Layout;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

/// Alignment of every mapping, in bytes: the smallest page size in use.
pub const MAPPING_ALIGN: usize = 4096;

/// What the bytes of a [`Mapping`] are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MappingKind {
    /// Memory of this process.
    Heap,
    /// A sealed memfd.
    Memfd,
    /// A plain file.
    File,
    /// A DAX character device, mapped cached.
    DaxDevice,
    /// A PCI BAR.
    PciResource {
        /// Mapped write-combining (`resourceN_wc`) instead of uncached. What a guest really gets also depends on the
        /// host's CPU: Intel's KVM overrides the guest's choice with cached, AMD's honours it.
        write_combining: bool,
    },
}

/// Who else can reach the file behind a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerTrust {
    /// Only processes of the same owner, who would hurt themselves.
    Own,
    /// A peer that may do anything its descriptor allows, truncation included.
    Strangers,
}

/// A mapped piece of memory; unmapped on drop.
///
/// Invariants: `ptr` is valid for reads and writes of `len` bytes (volatile or atomic ones, since others may write) as
/// long as `self` lives, aligned to [`MAPPING_ALIGN`]; `0 < len <= isize::MAX`.
#[derive(Debug)]
pub struct Mapping {
    ptr: NonNull<u8>,
    len: usize,
    kind: MappingKind,
    /// Dropped before the memory is.
    guard: Option<Guard>,
    backing: Backing,
}

/// How the memory is given back.
#[derive(Debug)]
enum Backing {
    Heap(Layout),
    /// Unmaps itself.
    Kernel(#[allow(dead_code)] MmapRaw),
    /// Mapped at an address of the caller's choice: memmap2 has no such call.
    Fixed,
}

// SAFETY: a Mapping is an address range, not data: it owns nothing bound to a thread, and it is unmapped exactly once.
unsafe impl Send for Mapping {}
// SAFETY: `&Mapping` gives out raw pointers and numbers only; whoever reads through them answers for the races.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        drop(self.guard.take());
        match self.backing {
            // SAFETY: `ptr` came from `alloc_zeroed` with this layout, and this is the only drop.
            Backing::Heap(layout) => unsafe { std::alloc::dealloc(self.ptr.as_ptr(), layout) },
            Backing::Kernel(_) => {}
            // SAFETY: the range was mapped by `map_at`, belongs to this Mapping alone, and no SubMapping outlives it.
            Backing::Fixed => unsafe {
                let _ = rustix::mm::munmap(self.ptr.as_ptr().cast(), self.len);
            },
        }
    }
}

/// A file to be mapped, looked at once.
struct Source<'fd> {
    fd: BorrowedFd<'fd>,
    subject: String,
    kind: MappingKind,
    size: u64,
}

impl<'fd> Source<'fd> {
    /// Finds out what `fd` is and how long.
    fn of(fd: BorrowedFd<'fd>) -> Result<Self, MapError> {
        let subject = name_of(fd);
        let stat = rustix::fs::fstat(fd).map_err(|e| MapError::system(&subject, "fstat", e))?;
        let (kind, size) = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => (regular_kind(fd, &subject), stat.st_size as u64),
            FileType::CharacterDevice => {
                (MappingKind::DaxDevice, dax_size(&subject, stat.st_rdev)?)
            }
            other => return Err(wrong_kind(&subject, other)),
        };
        Ok(Self { fd, subject, kind, size })
    }

    /// Refuses a plain file for strangers.
    fn for_peer(self, trust: PeerTrust) -> Result<Self, MapError> {
        if trust == PeerTrust::Strangers && self.kind == MappingKind::File {
            return Err(MapError::Shrinkable { subject: self.subject });
        }
        Ok(self)
    }

    /// The length as a `usize` that a mapping can have.
    fn checked_len(&self, len: u64) -> Result<usize, MapError> {
        checked_len(&self.subject, len)
    }

    /// Refuses a range outside the file or off the page grid.
    fn check_range(&self, offset: u64, len: u64) -> Result<(), MapError> {
        check_aligned("offset", offset, rustix::param::page_size() as u64)?;
        check_range(&self.subject, offset, len, self.size)
    }

    fn map_all(self) -> Result<Mapping, MapError> {
        let size = self.size;
        self.map(0, size)
    }

    fn map(self, offset: u64, len: u64) -> Result<Mapping, MapError> {
        let len = self.checked_len(len)?;
        let raw = MmapOptions::new()
            .offset(offset)
            .len(len)
            .map_raw(self.fd.as_raw_fd())
            .map_err(|e| MapError::system(&self.subject, "mmap", e))?;
        let ptr = NonNull::new(raw.as_mut_ptr())
            .ok_or_else(|| MapError::system(&self.subject, "mmap", Errno::NOMEM))?;
        Ok(Mapping { ptr, len, kind: self.kind, guard: None, backing: Backing::Kernel(raw) })
    }
}

impl Mapping {
    /// `len` zeroed bytes of this process, aligned to [`MAPPING_ALIGN`].
    pub fn heap(len: usize) -> Result<Self, MapError> {
        checked_len("heap", len as u64)?;
        // Whole pages, as the kernel's mappings are: bulk copies touch whole words.
        let layout = Layout::from_size_align(len, MAPPING_ALIGN)
            .map_err(|_| MapError::OutOfMemory { len })?
            .pad_to_align();
        // SAFETY: the layout's size was checked not to be zero.
        let ptr = unsafe { std::alloc::alloc_zeroed(layout) };
        let ptr = NonNull::new(ptr).ok_or(MapError::OutOfMemory { len })?;
        Ok(Self { ptr, len, kind: MappingKind::Heap, guard: None, backing: Backing::Heap(layout) })
    }

    /// A new memfd of `len` bytes, rounded up to whole pages, sealed against shrinking, growing and further seals, and
    /// mapped. `name` shows in `/proc/*/maps`; it need not be unique.
    pub fn memfd_create(name: &str, len: usize) -> Result<(Self, OwnedFd), MapError> {
        let page = rustix::param::page_size() as u64;
        let len = checked_len(name, len as u64)? as u64;
        let len = checked_len(name, len.next_multiple_of(page))?;
        let fd = new_memfd(name).map_err(|e| MapError::system(name, "memfd_create", e))?;
        rustix::fs::ftruncate(&fd, len as u64)
            .map_err(|e| MapError::system(name, "ftruncate", e))?;
        rustix::fs::fcntl_add_seals(&fd, SEALS_NEEDED | SealFlags::SEAL)
            .map_err(|e| MapError::system(name, "F_ADD_SEALS", e))?;
        Ok((Self::memfd_attach(&fd)?, fd))
    }

    /// Maps all of a memfd that someone passed to us.
    ///
    /// It has to be a memfd, sealed against shrinking and growing, so that no peer can make this process die by touching
    /// it. The size is the kernel's, never the peer's word. The descriptor may be closed afterwards.
    pub fn memfd_attach(fd: impl AsFd) -> Result<Self, MapError> {
        check_memfd(fd.as_fd())?;
        Source::of(fd.as_fd())?.map_all()
    }

    /// Maps all of an existing plain file or DAX device (`/dev/dax*`).
    ///
    /// For [`PeerTrust::Strangers`] a plain file is refused: whoever may write it may truncate it.
    pub fn file(path: impl AsRef<Path>, trust: PeerTrust) -> Result<Self, MapError> {
        let file = open_rw(path.as_ref())?;
        Source::of(file.as_fd())?.for_peer(trust)?.map_all()
    }

    /// Makes a new plain file of `len` zero bytes (mode 0600, its blocks reserved) and maps it. For processes of one
    /// owner, see [`PeerTrust::Own`]. An existing file is never replaced.
    pub fn file_create(path: impl AsRef<Path>, len: usize) -> Result<Self, MapError> {
        let path = path.as_ref();
        let subject = path.display().to_string();
        checked_len(&subject, len as u64)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| MapError::system(&subject, "open", e))?;
        let mapped =
            reserve(&fd, &subject, len as u64).and_then(|()| Source::of(fd.as_fd())?.map_all());
        if mapped.is_err() {
            // The file is ours alone and half made; a leftover would block the next attempt.
            let _ = std::fs::remove_file(path);
        }
        mapped
    }

    /// Maps a PCI BAR through its sysfs file (`/sys/bus/pci/devices/*/resource2`, or `resource2_wc` for write-combining),
    /// after enabling the function.
    ///
    /// Its length is the file's. Unmap before the function is unbound from a driver: unbinding waits for that.
    pub fn pci_resource(path: impl AsRef<Path>) -> Result<Self, MapError> {
        let path = path.as_ref();
        let write_combining = check_resource_name(path)?;
        enable_pci_function(&path.with_file_name("enable"))?;
        let file = open_rw(path)?;
        let mut source = Source::of(file.as_fd())?;
        source.kind = MappingKind::PciResource { write_combining };
        source.map_all()
    }

    /// Maps `len` bytes at `offset` (a multiple of the page size) of a memfd, file or device, anywhere.
    pub fn range(fd: impl AsFd, offset: u64, len: u64, trust: PeerTrust) -> Result<Self, MapError> {
        let source = Source::of(fd.as_fd())?.for_peer(trust)?;
        source.check_range(offset, len)?;
        source.map(offset, len)
    }

    /// Maps `len` bytes at `offset` of a memfd, file or device at exactly `address` (both multiples of the page size).
    ///
    /// Nothing that is already mapped there is ever replaced: [`MapError::AddressTaken`] instead. Kernels before 4.17
    /// take the address as a hint; there the answer is checked, with the same error.
    pub fn map_at(
        fd: impl AsFd,
        offset: u64,
        len: u64,
        address: usize,
        trust: PeerTrust,
    ) -> Result<Self, MapError> {
        let source = Source::of(fd.as_fd())?.for_peer(trust)?;
        source.check_range(offset, len)?;
        check_aligned("address", address as u64, rustix::param::page_size() as u64)?;
        let len = source.checked_len(len)?;
        let ptr = map_exactly(&source, offset, len, address)?;
        Ok(Self { ptr, len, kind: source.kind, guard: None, backing: Backing::Fixed })
    }

    /// Maps `len` bytes at `offset` of a device file whose regions the kernel described to the caller (VFIO), anywhere or
    /// at exactly `address`, where nothing that is mapped already is replaced.
    pub fn device(
        fd: impl AsFd,
        offset: u64,
        len: u64,
        address: Option<usize>,
        kind: MappingKind,
    ) -> Result<Self, MapError> {
        let subject = name_of(fd.as_fd());
        let source = Source { fd: fd.as_fd(), subject, kind, size: offset.saturating_add(len) };
        source.check_range(offset, len)?;
        let Some(address) = address else { return source.map(offset, len) };
        check_aligned("address", address as u64, rustix::param::page_size() as u64)?;
        let len = source.checked_len(len)?;
        let ptr = map_exactly(&source, offset, len, address)?;
        Ok(Self { ptr, len, kind, guard: None, backing: Backing::Fixed })
    }

    /// The same mapping, which reads as zeros once its file is taken away (a PCI function that is unplugged), where
    /// touching it would end the process.
    pub fn guarded(mut self) -> Self {
        self.guard = Guard::new(self.ptr, self.len);
        self
    }

    /// Bytes that the file, memfd or device behind `fd` holds.
    pub fn bytes_of(fd: impl AsFd) -> Result<u64, MapError> {
        Ok(Source::of(fd.as_fd())?.size)
    }

    /// First byte. Valid for `len()` bytes while `self` lives; to be accessed by atomics or bulk copies only.
    pub fn as_ptr(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    /// Bytes mapped, at least 1.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.len
    }

    /// What the bytes are.
    pub fn kind(&self) -> MappingKind {
        self.kind
    }

    /// Pointer to `len` bytes at `offset`, checked to lie inside.
    pub fn ptr_at(&self, offset: usize, len: usize) -> Result<NonNull<u8>, MapError> {
        check_range("mapping", offset as u64, len as u64, self.len as u64)?;
        // SAFETY: offset <= self.len, so the result is inside or one past the end of the same mapping.
        Ok(unsafe { self.ptr.add(offset) })
    }

    /// A checked part that keeps the whole mapped.
    pub fn subrange(self: &Arc<Self>, offset: usize, len: usize) -> Result<SubMapping, MapError> {
        let ptr = self.ptr_at(offset, len)?;
        Ok(SubMapping { mapping: Arc::clone(self), ptr, len })
    }

    /// Asks for transparent huge pages. A hint: the kernel may ignore it (see
    /// `/sys/kernel/mm/transparent_hugepage/shmem_enabled` for memfds).
    pub fn advise_huge_pages(&self) -> Result<(), MapError> {
        self.advise(Advice::LinuxHugepage)
            .map_err(|e| MapError::system("mapping", "MADV_HUGEPAGE", e))
    }

    /// Leaves the mapping out of processes that fork from this one: a copy of a client must not reach its channel.
    pub fn keep_from_children(&self) -> Result<(), MapError> {
        self.advise(Advice::LinuxDontFork)
            .map_err(|e| MapError::system("mapping", "MADV_DONTFORK", e))
    }

    /// Makes every page present and writable now, so that no page fault comes later.
    ///
    /// On kernels before 5.14 each page is read once instead, which leaves a short fault at its first write. A PCI BAR is
    /// complete when it is mapped.
    pub fn prefault(&self) -> Result<(), MapError> {
        if matches!(self.kind, MappingKind::PciResource { .. }) {
            return Ok(());
        }
        match self.advise(Advice::LinuxPopulateWrite) {
            Err(Errno::INVAL) => self.read_each_page(),
            other => {
                return other.map_err(|e| MapError::system("mapping", "MADV_POPULATE_WRITE", e));
            }
        }
        Ok(())
    }

    /// Stores `value` into a 32-bit device register at `offset` (a multiple of 4), after everything stored before.
    ///
    /// The access is one volatile store of that size, never merged or split, as a device needs it.
    pub fn store_register_u32(&self, offset: usize, value: u32) -> Result<(), MapError> {
        let register = self.check_register_u32(offset)?;
        // A full fence, since the memory announced by this store may be write-combining and is then not ordered by itself.
        fence(Ordering::SeqCst);
        // SAFETY: the four bytes are inside the mapping and aligned, and the mapping outlives the call.
        unsafe { register.write_volatile(value) };
        Ok(())
    }

    /// Checks what [`Self::store_register_u32`] needs: four bytes inside, aligned.
    pub(super) fn check_register_u32(&self, offset: usize) -> Result<NonNull<u32>, MapError> {
        check_aligned("register offset", offset as u64, 4)?;
        Ok(self.ptr_at(offset, 4)?.cast())
    }

    fn advise(&self, advice: Advice) -> Result<(), Errno> {
        if cfg!(miri) {
            return Ok(());
        }
        // SAFETY: the range belongs to this Mapping, and neither advice used here changes a byte of it.
        unsafe { rustix::mm::madvise(self.ptr.as_ptr().cast(), self.len, advice) }
    }

    fn read_each_page(&self) {
        for offset in (0..self.len.saturating_sub(3)).step_by(MAPPING_ALIGN) {
            // SAFETY: offset + 4 <= len.
            let ptr = unsafe { self.ptr.add(offset) };
            // SAFETY: page-aligned, inside the mapping, and only accessed atomically by anyone meanwhile.
            let word = unsafe { AtomicU32::from_ptr(ptr.as_ptr().cast()) };
            std::hint::black_box(word.load(Ordering::Relaxed));
        }
    }
}

/// A checked part of a [`Mapping`] that keeps the whole mapped.
///
/// Invariant: `ptr .. ptr + len` lies inside `mapping`.
#[derive(Clone, Debug)]
pub struct SubMapping {
    mapping: Arc<Mapping>,
    ptr: NonNull<u8>,
    len: usize,
}

// SAFETY: as for Mapping: an address range and a count of owners, nothing bound to a thread.
unsafe impl Send for SubMapping {}
// SAFETY: as for Mapping: shared access gives out raw pointers only.
unsafe impl Sync for SubMapping {}

impl SubMapping {
    /// First byte. Valid for `len()` bytes while `self` lives.
    pub fn as_ptr(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    /// Bytes in this part; may be 0.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No bytes in it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The whole.
    pub fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }
}

/// Maps at exactly `address` or not at all.
fn map_exactly(
    source: &Source<'_>,
    offset: u64,
    len: usize,
    address: usize,
) -> Result<NonNull<u8>, MapError> {
    let taken = || MapError::AddressTaken { address, len };
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let flags = MapFlags::SHARED | MapFlags::FIXED_NOREPLACE;
    let wanted = std::ptr::without_provenance_mut(address);
    // SAFETY: FIXED_NOREPLACE never replaces an existing mapping, so no memory that Rust knows of changes its meaning.
    let mapped = unsafe { rustix::mm::mmap(wanted, len, protection, flags, source.fd, offset) };
    let got = match mapped {
        Ok(got) => got,
        Err(Errno::EXIST) => return Err(taken()),
        Err(e) => return Err(MapError::system(&source.subject, "mmap at an address", e)),
    };
    if got.addr() != address {
        // SAFETY: this range was mapped just now, by an old kernel that took the address as a hint, and nobody has it.
        let _ = unsafe { rustix::mm::munmap(got, len) };
        return Err(taken());
    }
    NonNull::new(got.cast()).ok_or_else(taken)
}

#[cfg(test)]
#[path = "mapping_tests.rs"]
mod tests;
