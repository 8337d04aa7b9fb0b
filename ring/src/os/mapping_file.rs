//! What is behind a descriptor or a path that is to be mapped: which kind of file, how long, how sealed.

use super::map_error::MapError;
use super::mapping::MappingKind;
use rustix::fs::{FileType, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The largest mapping, in bytes: what pointer arithmetic can span.
pub(super) const LEN_MAX: u64 = isize::MAX as u64;

/// File system types by `statfs` magic number.
pub(super) const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;
pub(super) const SYSFS_MAGIC: u64 = 0x6265_6572;

/// Seals without which a peer could make this process die of SIGBUS.
pub(super) const SEALS_NEEDED: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);
/// Seals that forbid a writable mapping.
pub(super) const SEALS_FATAL: SealFlags = SealFlags::WRITE.union(SealFlags::FUTURE_WRITE);

/// What the kernel calls this descriptor, for error texts only.
pub(super) fn name_of(fd: BorrowedFd<'_>) -> String {
    let number = fd.as_raw_fd();
    match std::fs::read_link(format!("/proc/self/fd/{number}")) {
        Ok(path) => path.display().to_string(),
        Err(_) => format!("descriptor {number}"),
    }
}

pub(super) fn regular_kind(fd: BorrowedFd<'_>, subject: &str) -> MappingKind {
    let seals = rustix::fs::fcntl_get_seals(fd).unwrap_or(SealFlags::empty());
    if fs_magic(fd) == SYSFS_MAGIC {
        MappingKind::PciResource { write_combining: subject.ends_with("_wc") }
    } else if seals.contains(SealFlags::SHRINK) {
        MappingKind::Memfd
    } else {
        MappingKind::File
    }
}

pub(super) fn fs_magic(fd: BorrowedFd<'_>) -> u64 {
    rustix::fs::fstatfs(fd).map_or(0, |stat| stat.f_type as u64)
}

pub(super) fn checked_len(subject: &str, len: u64) -> Result<usize, MapError> {
    let too_far = || MapError::Length { subject: subject.into(), found: len, max: LEN_MAX };
    if len == 0 || len > LEN_MAX {
        return Err(too_far());
    }
    usize::try_from(len).map_err(|_| too_far())
}

pub(super) fn check_range(subject: &str, offset: u64, len: u64, size: u64) -> Result<(), MapError> {
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        _ => Err(MapError::Range { subject: subject.into(), offset, len, size }),
    }
}

pub(super) fn check_aligned(
    what: &'static str,
    found: u64,
    alignment: u64,
) -> Result<(), MapError> {
    if found.is_multiple_of(alignment) {
        return Ok(());
    }
    Err(MapError::Misaligned { what, found, alignment })
}

pub(super) fn wrong_kind(subject: &str, found: FileType) -> MapError {
    MapError::WrongKind {
        subject: subject.into(),
        found: format!("{found:?}"),
        expected: "a plain file, a DAX device or a PCI resource file",
        advice: "the path that the region's owner names",
    }
}

/// Without the right to execute where the kernel knows that flag (6.3; some systems then require it).
pub(super) fn new_memfd(name: &str) -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        other => other,
    }
}

/// Refuses everything but a memfd of ordinary pages that cannot change its size and can be mapped for writing.
pub(super) fn check_memfd(fd: BorrowedFd<'_>) -> Result<(), MapError> {
    let seals = match rustix::fs::fcntl_get_seals(fd) {
        Ok(seals) => seals,
        Err(Errno::INVAL) => return Err(MapError::NotMemfd { found: kind_name(fd) }),
        Err(e) => return Err(MapError::system(name_of(fd), "F_GET_SEALS", e)),
    };
    if !seals.contains(SEALS_NEEDED) {
        return Err(MapError::MissingSeals { found: seal_names(seals) });
    }
    if seals.intersects(SEALS_FATAL) {
        return Err(MapError::WriteSealed { found: seal_names(seals) });
    }
    if fs_magic(fd) == HUGETLBFS_MAGIC {
        return Err(MapError::HugeTlb);
    }
    Ok(())
}

pub(super) fn seal_names(seals: SealFlags) -> String {
    let names: Vec<_> = seals.iter_names().map(|(name, _)| name).collect();
    if names.is_empty() { "none".into() } else { names.join("|") }
}

pub(super) fn kind_name(fd: BorrowedFd<'_>) -> &'static str {
    let Ok(stat) = rustix::fs::fstat(fd) else { return "something unreadable" };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => "a plain file",
        FileType::Directory => "a directory",
        FileType::CharacterDevice => "a character device",
        FileType::Socket => "a socket",
        FileType::Fifo => "a pipe",
        _ => "another kind of descriptor",
    }
}

pub(super) fn open_rw(path: &Path) -> Result<File, MapError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::open(path, flags, Mode::empty())
        .map(File::from)
        .map_err(|e| MapError::system(path.display().to_string(), "open", e))
}

/// Gives a new file its length and its blocks, so that a full disk is an error now and not a fatal signal later.
pub(super) fn reserve(fd: &OwnedFd, subject: &str, len: u64) -> Result<(), MapError> {
    match rustix::fs::fallocate(fd, rustix::fs::FallocateFlags::empty(), 0, len) {
        Err(Errno::OPNOTSUPP) => rustix::fs::ftruncate(fd, len),
        other => other,
    }
    .map_err(|e| MapError::system(subject, "fallocate", e))
}

/// The size of a DAX device: `fstat` says 0 for every character device, sysfs knows.
pub(super) fn dax_size(subject: &str, device: u64) -> Result<u64, MapError> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    dax_size_in(subject, Path::new(&format!("/sys/dev/char/{major}:{minor}")))
}

pub(super) fn dax_size_in(subject: &str, sysfs: &Path) -> Result<u64, MapError> {
    let subsystem = std::fs::read_link(sysfs.join("subsystem")).unwrap_or_default();
    if subsystem.file_name().is_none_or(|name| name != "dax") {
        return Err(MapError::WrongKind {
            subject: subject.into(),
            found: "a character device of another kind".into(),
            expected: "a DAX device",
            advice: "/dev/dax*",
        });
    }
    let text = std::fs::read_to_string(sysfs.join("size"))
        .map_err(|e| MapError::system(subject, "reading its size in sysfs", e))?;
    text.trim().parse().map_err(|_| {
        let error = std::io::Error::new(std::io::ErrorKind::InvalidData, format!("found {text:?}"));
        MapError::system(subject, "reading its size in sysfs", error)
    })
}

/// Whether a sysfs resource file is the write-combining one; an error if it is no BAR at all.
pub(super) fn check_resource_name(path: &Path) -> Result<bool, MapError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match name.strip_prefix("resource").map(str::as_bytes) {
        Some([b'0'..=b'5']) => Ok(false),
        Some([b'0'..=b'5', b'_', b'w', b'c']) => Ok(true),
        _ => Err(MapError::WrongKind {
            subject: path.display().to_string(),
            found: format!("the name {name:?}"),
            expected: "a PCI resource file (resource0 to resource5, or one of them with _wc)",
            advice: "/sys/bus/pci/devices/<address>/resource2",
        }),
    }
}

/// Turns on memory decoding, unless it is on: sysfs counts enables, and an unneeded one would never be taken back.
pub(super) fn enable_pci_function(enable: &Path) -> Result<(), MapError> {
    let fail = |action| move |e| MapError::system(enable.display().to_string(), action, e);
    let count = std::fs::read_to_string(enable).map_err(fail("reading whether it is enabled"))?;
    if count.trim() != "0" {
        return Ok(());
    }
    std::fs::write(enable, "1").map_err(fail("enabling the PCI function"))
}
