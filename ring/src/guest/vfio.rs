//! A function that is bound to vfio-pci, opened by the one program that has it: BARs, and MSI-X interrupts as eventfds.

use super::discovery::Function;
use super::hold::{self, HolderEnd};
use super::source::Source;
use super::{GuestConfig, GuestError};
use crate::os::doorbell::EventFd;
use crate::os::vfio;
use crate::sync::{Arc, AtomicU64, Ordering};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Command register of the configuration space: offset, and the bits for memory access and bus mastering.
const COMMAND: u64 = 4;
const MEMORY_AND_MASTER: u16 = 0x2 | 0x4;
/// The eventfds that are set up at most.
const VECTORS_MAX: u32 = 32;

/// An opened function.
pub(super) struct Vfio {
    /// BAR 0.
    pub(super) registers: Source,
    /// BAR 2.
    pub(super) region: Source,
    pub(super) interrupts: Interrupts,
}

/// The interrupts of a function, for as long as it is open.
#[derive(Debug)]
pub struct Interrupts {
    /// One eventfd a vector.
    bells: Vec<EventFd>,
    /// Interrupts that were taken.
    pub(super) received: AtomicU64,
    /// Signalled when the function is to be given back by whoever has it open.
    release: Option<EventFd>,
    /// Tells of the end of a holder that has the function open.
    holder: Option<OwnedFd>,
    _open: Option<Open>,
}

/// What keeps the interrupts coming. Closed in this order.
#[derive(Debug)]
pub(super) struct Open {
    _device: Arc<OwnedFd>,
    _group: OwnedFd,
    _container: OwnedFd,
}

impl Interrupts {
    /// The eventfd of `vector`, if the function has that many.
    pub fn bell(&self, vector: u16) -> Option<&EventFd> {
        self.bells.get(usize::from(vector))
    }

    /// Interrupts taken so far, of all vectors.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// How many vectors signal.
    pub fn vectors(&self) -> usize {
        self.bells.len()
    }

    /// The eventfd that says that the function is to be unplugged, for whoever has it open.
    pub fn release(&self) -> Option<&EventFd> {
        self.release.as_ref()
    }

    /// The eventfds, by vector.
    pub(super) fn bells(&self) -> &[EventFd] {
        &self.bells
    }

    /// Eventfds of somebody else, by vector.
    pub(super) fn of(bells: Vec<EventFd>, open: Option<(Open, EventFd)>) -> Self {
        let (open, release) = open.unzip();
        Self { bells, received: AtomicU64::new(0), release, holder: None, _open: open }
    }

    /// Eventfds of a holder, by vector, and the descriptor that tells of its end.
    pub(super) fn of_holder(bells: Vec<EventFd>, life: OwnedFd) -> Self {
        Self { holder: Some(life), ..Self::of(bells, None) }
    }

    /// What became of the holder, if these are a holder's and it has ended.
    pub(super) fn holder_end(&self) -> Option<HolderEnd> {
        hold::end_of(self.holder.as_ref()?)
    }

    /// A holder's own, without any vector.
    #[cfg(test)]
    pub(super) fn releasing(release: EventFd) -> Self {
        Self { release: Some(release), ..Self::of(Vec::new(), None) }
    }
}

fn failed(
    what: impl Into<String>,
    cause: &'static str,
    advice: &'static str,
) -> impl FnOnce(io::Error) -> GuestError {
    let what = what.into();
    move |source| GuestError::Vfio { what, source, cause, advice }
}

impl Vfio {
    /// Opens the function's group and all that is needed of it.
    pub(super) fn open(function: &Function, config: &GuestConfig) -> Result<Self, GuestError> {
        let container = open(&config.dev.join("vfio/vfio"))?;
        if !vfio::version_is_known(&container) {
            let unknown = io::Error::from(io::ErrorKind::Unsupported);
            let error = failed("its version", "a kernel with another VFIO", "interrupts=no");
            return Err(error(unknown));
        }
        let group = open(&group_path(function, config)?)?;
        vfio::join(&group, &container).map_err(failed(
            "joining group and container",
            "no virtual IOMMU, or the group holds another function with a driver",
            "-device intel-iommu,intremap=on and intel_iommu=on for the guest's kernel",
        ))?;
        let what = format!("opening {}", function.address);
        let device = vfio::open_device(&group, &function.address).map_err(failed(
            what,
            "the function cannot be reset, or is not bound to vfio-pci",
            "binding it again",
        ))?;
        Self::set_up(function, Arc::new(device), group, container)
    }

    fn set_up(
        function: &Function,
        device: Arc<OwnedFd>,
        group: OwnedFd,
        container: OwnedFd,
    ) -> Result<Self, GuestError> {
        let refused =
            |what: &'static str| failed(what, "the kernel refused", "polling: interrupts=no");
        become_master(device.as_fd()).map_err(refused("the command register"))?;
        let source = |index: u32| {
            let (start, bytes) =
                vfio::region(device.as_fd(), index).map_err(refused("asking for a BAR"))?;
            let path = function.folder.join(format!("vfio BAR {index}"));
            Ok::<_, GuestError>(Source::vfio(&path, Arc::clone(&device), start, bytes))
        };
        let (registers, region) = (source(0)?, source(2)?);
        let count = vfio::interrupts(device.as_fd(), vfio::MSIX_INTERRUPTS)
            .map_err(refused("asking for interrupts"))?;
        if count == 0 {
            let none = failed(
                format!("the MSI-X vectors of {}", function.address),
                "it is an ivshmem-plain, or has vectors=0",
                "-device ivshmem-doorbell,vectors=4",
            );
            return Err(none(io::Error::other("there are none")));
        }
        let eventfd = || EventFd::new().map_err(refused("creating an eventfd"));
        let bells =
            (0..count.min(VECTORS_MAX)).map(|_| eventfd()).collect::<Result<Vec<_>, _>>()?;
        let fds: Vec<BorrowedFd<'_>> = bells.iter().map(AsFd::as_fd).collect();
        vfio::signal_by(device.as_fd(), vfio::MSIX_INTERRUPTS, &fds)
            .map_err(refused("setting up MSI-X"))?;
        let release = eventfd()?;
        // Older kernels have no such request; unplugging then waits until the program ends.
        let _ = vfio::signal_by(device.as_fd(), vfio::RELEASE_REQUEST, &[release.as_fd()]);
        let open = Open { _device: device, _group: group, _container: container };
        let interrupts = Interrupts::of(bells, Some((open, release)));
        Ok(Self { registers, region, interrupts })
    }
}

fn open(path: &Path) -> Result<OwnedFd, GuestError> {
    let file = std::fs::File::options().read(true).write(true).open(path);
    file.map(OwnedFd::from).map_err(|source| match source.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => failed(
            format!("opening {}", path.display()),
            "only root may open it",
            "`ringbar vm hold` as root, which gives interrupts to all",
        )(source),
        Some(libc::EBUSY) => failed(
            format!("opening {}", path.display()),
            "another program has the group, and a group has one owner",
            "`ringbar vm hold`, started before any program",
        )(source),
        _ => failed(
            format!("opening {}", path.display()),
            "the vfio modules are not loaded",
            "modprobe vfio-pci",
        )(source),
    })
}

/// `/dev/vfio/N` of the function's IOMMU group.
fn group_path(function: &Function, config: &GuestConfig) -> Result<PathBuf, GuestError> {
    let link = std::fs::read_link(function.folder.join("iommu_group")).map_err(failed(
        "the function's IOMMU group",
        "the VM has no virtual IOMMU",
        "-device intel-iommu,intremap=on and intel_iommu=on for the guest's kernel",
    ))?;
    let number = link.file_name().unwrap_or_default();
    Ok(config.dev.join("vfio").join(number))
}

/// Interrupts are writes of the device: they need the bus-master bit.
fn become_master(device: BorrowedFd<'_>) -> io::Result<()> {
    let (start, _) = vfio::region(device, vfio::CONFIG_REGION)?;
    let mut command = [0; 2];
    rustix::io::pread(device, &mut command, start + COMMAND)?;
    let command = u16::from_le_bytes(command) | MEMORY_AND_MASTER;
    rustix::io::pwrite(device, &command.to_le_bytes(), start + COMMAND)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Device, NoInterrupts, Waiting, fake::Tree};
    use crate::testing::small_sizes;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_function_whose_group_cannot_be_opened_is_polled_and_says_why() {
        let tree = Tree::new();
        tree.region("0000:00:03.0", &[small_sizes()]);
        let folder = tree.sysfs().join("bus/pci/devices/0000:00:03.0");
        symlink("../../drivers/vfio-pci", folder.join("driver")).unwrap();
        let mut config = tree.config(None);
        config.waiting = Waiting::Alone;
        let device = Device::find(&config).expect("the files still work");
        assert!(device.interrupts.is_none());
        let why = device.no_interrupts.expect("it was wanted").to_string();
        assert!(why.contains("likely cause") && why.contains("try"), "{why}");
        config.waiting = Waiting::Polling;
        let device = Device::find(&config).expect("nobody asked for interrupts");
        assert!(device.no_interrupts.is_none());
    }

    #[test]
    fn without_a_holder_a_program_polls_and_is_told_how_to_have_interrupts() {
        let tree = Tree::new();
        tree.region("0000:00:03.0", &[small_sizes()]);
        let folder = tree.sysfs().join("bus/pci/devices/0000:00:03.0");
        symlink("../../drivers/vfio-pci", folder.join("driver")).unwrap();
        // Whoever opened the group would fail here, and say that.
        let device = Device::find(&tree.config(None)).expect("a region");
        assert!(device.interrupts.is_none());
        let why = device.no_interrupts.expect("it was wanted");
        assert!(matches!(*why, NoInterrupts::NotHeld), "{why}");
        assert!(why.to_string().contains("start `ringbar vm hold` for interrupts"), "{why}");
    }
}
