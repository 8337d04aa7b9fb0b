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
            "unbind the driver, then `ringbar vm hold --bind`, which enables it first".to_owned()
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
    /// The function is not bound to vfio-pci.
    #[error(
        "{name} is not bound to vfio-pci, but to {}; likely cause: nobody bound it, the module is not loaded, or another driver has \
         the function; try: modprobe vfio-pci, unbind what has it, then `ringbar vm hold --bind` as root",
        driver.as_deref().unwrap_or("no driver")
    )]
    NotBound {
        /// The function.
        name: String,
        /// What it is bound to.
        driver: Option<String>,
    },
    /// Programs have channels of the function, which opening it through VFIO would take from them.
    #[error(
        "{name}: programs of this VM have channels of it, and opening VFIO would take their memory away for a moment; it \
         did not come free within {waited:?}; likely cause: they were started before `ringbar vm hold`; try: end them, then start it (what \
         ended programs still have is given back once the host's daemon runs)"
    )]
    ProgramsRun {
        /// The function.
        name: String,
        /// How long was waited for their end.
        waited: Duration,
    },
    /// Another program has the function through VFIO, alone.
    #[error(
        "{name}: the kernel refuses to map it: {source}; likely cause: another program of this VM has the function through \
         VFIO, alone; try: wait until it ends, or start it without interrupts=alone, and `ringbar vm hold` at boot for the \
         interrupts of all"
    )]
    HeldByVfio {
        /// The function.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel maps no device for programs.
    #[error(
        "{name}: the kernel refuses to map it: {source}; likely cause: it is locked down (see /sys/kernel/security/lockdown), as \
         with Secure Boot, and leaves VFIO as the only way; try: bind the function to vfio-pci and run one program at a time with \
         RINGBAR_VM={name},interrupts=alone and without `ringbar vm hold`, or turn Secure Boot off"
    )]
    LockedDown {
        /// The function.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something could not be mapped.
    #[error("{0}")]
    Map(#[from] MapError),
    /// The region is not one to attach to.
    #[error(
        "{name}: {}",
        complete(
            source,
            "it is of another build than this program",
            "connect it to `ringbar serve --vm`, and the same build on both sides"
        )
    )]
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
        if *daemon_lives {
            "again, or read the daemon's log"
        } else {
            "start it with the same --socket, --size and --channels; if its log says that the VM's holder ended, unplug the device \
             and plug it in again, or restart the VM"
        }
    )]
    NoAnswer {
        /// How long was waited.
        waited: Duration,
        /// Whether the daemon's heartbeat moved meanwhile.
        daemon_lives: bool,
    },
    /// The host refused the claim.
    #[error(
        "the host refused: {why}; likely cause: {}; try: again later, and read the daemon's log",
        match why {
            Refused::NoWorker => "it is out of memory or processes, or its device failed",
            Refused::TooMany => "programs of this VM start in great numbers",
            Refused::Ending => "the daemon is being restarted",
            Refused::Unknown(_) => "it is of another version",
        }
    )]
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
    /// Descriptors that the process with the function's interrupts sent did not arrive.
    #[error(
        "`ringbar vm hold` at {}: its interrupts were lost on their way; likely cause: this process has too many files open; \
         try: a higher limit (ulimit -n)",
        path.display()
    )]
    LostDescriptors {
        /// Its socket.
        path: PathBuf,
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
         [,interrupts=yes|alone|no][,patience=TIME][,silence=TIME]; likely cause: a slip in RINGBAR_VM, or in the argument of `ringbar vm`; \
         try: auto, or nothing at all"
    )]
    Setting {
        /// The part that was not understood.
        found: String,
    },
    /// The channel could not be attached to.
    #[error("{}", complete(.0, "the host took it back meanwhile", "again"))]
    Channel(#[from] ChannelError),
}

/// An error with cause and advice, where it does not say them itself.
fn complete(error: &dyn std::error::Error, cause: &str, advice: &str) -> String {
    let mut text = error.to_string();
    for (word, more) in [("likely cause: ", cause), ("try: ", advice)] {
        if !text.contains(word) {
            text = format!("{text}; {word}{more}");
        }
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<GuestError> {
        let io = || io::Error::from_raw_os_error(libc::EACCES);
        let (name, path) = (|| "0000:00:03.0".to_owned(), || PathBuf::from("/f"));
        let region = |source| GuestError::Region { name: name(), source };
        let refused = |why| GuestError::Refused { why };
        let silent =
            |daemon_lives| GuestError::NoAnswer { waited: Duration::from_secs(1), daemon_lives };
        let features = || RegionError::Features { found: 1, expected: 2 };
        let version =
            RegionError::Version { found_major: 2, found_minor: 0, ours_major: 1, ours_minor: 0 };
        let busy = io::Error::from_raw_os_error(libc::EBUSY);
        vec![
            GuestError::NoDevice { sysfs: path() },
            GuestError::NoSuch { wanted: name(), found: name() },
            GuestError::NotRingbar { found: name() },
            GuestError::Several { found: vec![name()] },
            GuestError::WrongSize { name: name(), found: 1, expected: 2 },
            GuestError::NoPermission { path: path(), source: io() },
            GuestError::NotEnabled { name: name(), path: path(), source: io() },
            GuestError::NotEnabled { name: name(), path: path(), source: busy },
            GuestError::NotBound { name: name(), driver: None },
            GuestError::ProgramsRun { name: name(), waited: Duration::ZERO },
            GuestError::HeldByVfio { name: name(), source: io() },
            GuestError::LockedDown { name: name(), source: io() },
            GuestError::Map(MapError::system("f", "mmap", io())),
            region(features()),
            region(version),
            region(RegionError::NoChannel { found: 0, channels: 1 }),
            GuestError::AllTaken { channels: 3, waited: Duration::ZERO },
            silent(true),
            silent(false),
            refused(Refused::NoWorker),
            refused(Refused::TooMany),
            refused(Refused::Ending),
            refused(Refused::Unknown(9)),
            GuestError::Vfio { what: name(), source: io(), cause: "a", advice: "b" },
            GuestError::Holder { path: path(), found: name() },
            GuestError::LostDescriptors { path: path() },
            GuestError::OtherMemory { path: path(), function: name(), differs: "d" },
            GuestError::Setting { found: name() },
            GuestError::Channel(ChannelError::Closed),
            GuestError::Channel(features().into()),
        ]
    }

    #[test]
    fn every_error_says_a_likely_cause_and_what_to_try_once_each() {
        for error in all() {
            let text = error.to_string();
            for word in ["likely cause: ", "try: "] {
                assert_eq!(text.matches(word).count(), 1, "{text}");
            }
        }
    }
}
