//! Files that the region's bytes come from: mapped piece by piece, so that a program maps its own channel only and each
//! piece has one memory type.

use super::GuestError;
use crate::link::keep_from_children;
use crate::os::mapping::{Mapping, MappingKind, PeerTrust};
use crate::sync::Arc;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// An open file that holds a region, or a part of a file that does.
#[derive(Clone, Debug)]
pub struct Source {
    /// What was opened.
    pub path: PathBuf,
    /// Bytes of the region's memory.
    pub bytes: u64,
    fd: Arc<OwnedFd>,
    part: Part,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    /// The file is the memory.
    Whole,
    /// A region of a VFIO device, whose file begins here.
    Vfio { start: u64 },
}

impl Source {
    /// Opens a sysfs resource file, DAX device or plain file.
    pub(super) fn open(path: &Path) -> Result<Self, GuestError> {
        let file = std::fs::File::options().read(true).write(true).open(path);
        Self::of(path, file.map_err(|e| GuestError::open(path, e))?.into())
    }

    /// Takes an open file that the region begins.
    pub(super) fn of(path: impl AsRef<Path>, fd: OwnedFd) -> Result<Self, GuestError> {
        let bytes = Mapping::bytes_of(&fd)?;
        Ok(Self { path: path.as_ref().to_owned(), bytes, fd: Arc::new(fd), part: Part::Whole })
    }

    /// Region of a VFIO device: `bytes` bytes at `start` of its descriptor.
    pub(super) fn vfio(path: &Path, fd: Arc<OwnedFd>, start: u64, bytes: u64) -> Self {
        Self { path: path.to_owned(), bytes, fd, part: Part::Vfio { start } }
    }

    /// Maps `len` bytes at `offset`, anywhere.
    ///
    /// The host is trusted not to take the memory away: it could end the whole machine.
    pub fn map(&self, offset: u64, len: u64) -> Result<Mapping, GuestError> {
        let mapped = match self.part {
            Part::Whole => Mapping::range(self.fd.as_fd(), offset, len, PeerTrust::Own),
            Part::Vfio { start } => {
                Mapping::device(self.fd.as_fd(), start + offset, len, None, VFIO_KIND)
            }
        };
        Ok(own(mapped?))
    }

    /// Maps `len` bytes at `offset` at exactly `address`.
    pub fn map_at(&self, offset: u64, len: u64, address: usize) -> Result<Mapping, GuestError> {
        let fd = self.fd.as_fd();
        let mapped = match self.part {
            Part::Whole => Mapping::map_at(fd, offset, len, address, PeerTrust::Own),
            Part::Vfio { start } => {
                Mapping::device(fd, start + offset, len, Some(address), VFIO_KIND)
            }
        };
        Ok(own(mapped?))
    }
}

/// The device may go at any time, and a copy of this process by fork shall not reach the channel.
fn own(mapping: Mapping) -> Mapping {
    keep_from_children(&mapping);
    mapping.guarded()
}

/// vfio-pci maps BARs uncached.
const VFIO_KIND: MappingKind = MappingKind::PciResource { write_combining: false };
