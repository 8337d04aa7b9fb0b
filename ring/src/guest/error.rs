//! Why a program of a virtual machine has no channel: what was found, the likely cause, what to try.

use super::discovery::DEVICE_NAME;
use crate::directory::Refused;
use crate::error::ChannelError;
use crate::os::map_error::MapError;
use crate::region::RegionError;
use core::time::Duration;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// Why the region of a virtual machine could not be reached, or gave no channel.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GuestError {
    /// No such PCI function.
    #[error(
        "found no PCI function {DEVICE_NAME} under {}; likely cause: the VM was started without the device, or this is no \
         VM; try: -chardev socket,id=rb,path=SOCKET -device ivshmem-doorbell,vectors=4,chardev=rb with the socket of \
         `ringbar serve --vm`",
        sysfs.display()
    )]
    NoDevice {
        /// Where PCI functions were looked for.
        sysfs: PathBuf,
    },
    /// The function that was asked for is none.
    #[error(
        "found no PCI function {DEVICE_NAME} named {wanted}; there are: {found}; likely cause: another address since the \
         last boot; try: RINGBAR_VM= one of these, or leave it unset"
    )]
    NoSuch {
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// There are such functions, but none holds a region.
    #[error(
        "none of the PCI functions {DEVICE_NAME} holds a ringbar region: {found}; likely cause: they belong to something \
         else, or the host made its region with another version; try: connect the device to the socket of `ringbar serve --vm`"
    )]
    NotRingbar {
        /// Each function, with what is wrong with it.
        found: String,
    },
    /// Several functions hold regions.
    #[error(
        "{} PCI functions hold ringbar regions: {}; likely cause: the VM was given several; try: RINGBAR_VM= one of them",
        found.len(),
        found.join(", ")
    )]
    Several {
        /// Their addresses.
        found: Vec<String>,
    },
    /// The BAR or file is smaller than the region says.
    #[error(
        "{name}: found {found} bytes, expected at least {expected}; likely cause: the device is not connected to the whole \
         region, or a file was cut off; try: start the VM with the socket of `ringbar serve --vm`, which gives the size"
    )]
    WrongSize {
        /// What was mapped.
        name: String,
        /// Its bytes.
        found: u64,
        /// Bytes of the region.
        expected: u64,
    },
    /// This user may not open a file of the device.
    #[error(
        "{}: {source}; likely cause: only root may open it; try: the udev rule of VM.md, or run as root",
        path.display()
    )]
    NoPermission {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The function's memory is off and could not be turned on.
    #[error(
        "{name}: its memory is not enabled, and enabling it failed: {source}; likely cause: {}; try: {}",
        if is_busy(source) { "a driver without a user is bound to it" } else { "only root may enable it" },
        if is_busy(source) {
            "unbind the driver, or let one program open it through VFIO".to_owned()
        } else {
            format!("as root: echo 1 > {}, or the udev rule of VM.md", path.display())
        }
    )]
    NotEnabled {
        /// The function.
        name: String,
        /// Its `enable` file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// No function is bound to vfio-pci.
    #[error(
        "found {names} without vfio-pci; likely cause: it was not bound; try: echo vfio-pci > driver_override in its folder, \
         then its address into /sys/bus/pci/drivers_probe (see VM.md)"
    )]
    NotBound {
        /// The functions there are.
        names: String,
    },
    /// Another program has the function through VFIO, alone.
    #[error(
        "{name}: the kernel refuses to map it: {source}; the cause here: another program of this VM has the function through \
         VFIO, alone; try: wait until it ends, or start it without interrupts=alone, and `ringbar vm hold` at boot for the \
         interrupts of all"
    )]
    HeldByVfio {
        /// The function.
        name: String,
        /// What the kernel said.
        source: MapError,
    },
    /// The kernel maps no device for programs.
    #[error(
        "{name}: the kernel refuses to map it: {source}; the cause here: it is locked down (see /sys/kernel/security/lockdown), as \
         with Secure Boot, and leaves VFIO as the only way; try: bind the function to vfio-pci and run one program at a time with \
         RINGBAR_VM={name},interrupts=alone and without `ringbar vm hold`, or turn Secure Boot off"
    )]
    LockedDown {
        /// The function.
        name: String,
        /// What the kernel said.
        source: MapError,
    },
    /// Something could not be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The region is not one to attach to.
    #[error("{name}: {source}")]
    Region {
        /// What was mapped.
        name: String,
        /// What is wrong with it.
        source: RegionError,
    },
    /// Every channel is taken.
    #[error(
        "all {channels} channels of the VM are taken, and none came free within {waited:?}; likely cause: that many programs \
         of this VM run already (a program that was killed gives its channel back within seconds); try: end one of them, or \
         `ringbar serve --vm` with more channels"
    )]
    AllTaken {
        /// Channels of the region.
        channels: usize,
        /// How long was waited.
        waited: Duration,
    },
    /// Nobody answered the claim.
    #[error(
        "no answer from the host within {waited:?}{}; likely cause: {}; try: {}",
        if *daemon_lives { ", although its heart beats" } else { "" },
        if *daemon_lives { "it is overloaded" } else { "`ringbar serve --vm` does not run for this VM" },
        if *daemon_lives { "again, or read the daemon's log" } else { "start it with the VM's name; the VM need not be restarted" }
    )]
    NoAnswer {
        /// How long was waited.
        waited: Duration,
        /// Whether the daemon's heartbeat moved meanwhile.
        daemon_lives: bool,
    },
    /// The host refused the claim.
    #[error("the host refused: {why}; try: again later, and read the daemon's log")]
    Refused {
        /// Why.
        why: Refused,
    },
    /// VFIO was to be used and could not be.
    #[error("VFIO: {what}: {source}; likely cause: {cause}; try: {advice}")]
    Vfio {
        /// What was attempted.
        what: String,
        /// What the kernel said.
        source: io::Error,
        /// The usual reason.
        cause: &'static str,
        /// What usually helps.
        advice: &'static str,
    },
    /// The process that has the function's interrupts is there, and gave none.
    #[error(
        "`ringbar vm hold` at {}: {found}; likely cause: it is stopped, hangs, or is of another version; try: end it while \
         no program runs, and start it anew",
        path.display()
    )]
    Holder {
        /// Its socket.
        path: PathBuf,
        /// What it did.
        found: String,
    },
    /// What `memory=` names is something else.
    #[error(
        "{}: found another region than the one of {function} ({differs}); likely cause: it belongs to another device; try: \
         the DAX device or file over the same memory, or RINGBAR_VM without memory=",
        path.display()
    )]
    OtherMemory {
        /// What was named.
        path: PathBuf,
        /// The function that it was to stand for.
        function: String,
        /// What was compared.
        differs: &'static str,
    },
    /// A setting that makes no sense.
    #[error(
        "the setting of the region: found {found:?}, expected [ADDRESS or PATH or auto][,memory=PATH][,bulk=wc|uc]\
         [,interrupts=yes|alone|no][,patience=TIME]; likely cause: a slip in RINGBAR_VM, or in the argument of `ringbar vm`; \
         try: auto, or nothing at all"
    )]
    Setting {
        /// The part that was not understood.
        found: String,
    },
    /// The channel could not be attached to.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBUSY)
}

impl GuestError {
    /// True if this machine has no way to a host, rather than one that does not work.
    pub fn says_no_way(&self) -> bool {
        matches!(self, Self::NoDevice { .. } | Self::NotRingbar { .. })
    }

    /// A region error with the name of what was mapped; a size that does not fit is an error of its own.
    pub(super) fn region(name: &str, source: RegionError) -> Self {
        let name = name.to_owned();
        match source {
            RegionError::TooSmall { found, expected } => Self::WrongSize { name, found, expected },
            source => Self::Region { name, source },
        }
    }

    /// A file that could not be opened.
    pub(super) fn open(path: &std::path::Path, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => {
                Self::NoPermission { path: path.to_owned(), source }
            }
            _ => Self::Map(MapError::system(path.display().to_string(), "open", source)),
        }
    }
}
