//! The device of a region, opened: its directory, its bulk memory, its doorbell.

use super::discovery::Function;
use super::source::Source;
use super::vfio::{Interrupts, Vfio};
use super::{Bulk, GuestConfig, GuestError, Waiting, hold, look};
use crate::directory::{self, Nonce};
use crate::layout::PAGE_BYTES;
use crate::os::doorbell::{Doorbell, EventFd, EventFdDoorbell, MmioDoorbell, NoDoorbell};
use crate::os::mapping::Mapping;
use crate::region::Directory;
use crate::sync::Arc;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Bytes of the register BAR that are mapped: a page holds all of them.
const REGISTER_BYTES: u64 = PAGE_BYTES as u64;

/// A region that was found, checked by its directory, and is open. Cheap to clone.
#[derive(Clone)]
pub struct Device {
    /// The function's address, or the path of a DAX device or file.
    pub name: String,
    /// The function, if there is one.
    pub function: Option<Function>,
    /// Where control words are mapped from.
    pub control: Source,
    /// Where the arena is mapped from.
    pub bulk: Source,
    /// How the host is rung.
    pub bells: Bells,
    /// Interrupts, if this program got them.
    pub interrupts: Option<Arc<Interrupts>>,
    /// Why this program polls, although the function is bound to vfio-pci and interrupts were wanted.
    pub no_interrupts: Option<Arc<NoInterrupts>>,
    /// The holder of the function's interrupts, whether this program uses them or not: what its end does concerns all.
    pub(super) holder: Option<Arc<Interrupts>>,
    /// What else is done otherwise than it might be.
    pub notes: Vec<String>,
    /// The region's directory.
    pub directory: Directory,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Device {
    /// Finds the region that `config` names, or the only one there is, and opens it.
    ///
    /// # Errors
    /// [`GuestError`] for no device, several, one that holds no region, a wrong size, no permission, one that is not
    /// enabled and cannot be.
    pub fn find(config: &GuestConfig) -> Result<Self, GuestError> {
        if let Some(path) = config.bare_file() {
            return Self::of_file(path);
        }
        Self::of_function(&look::the_one(config)?, config)
    }

    /// What [`Device::find`] would open: the function's address, or the path of a DAX device or file that holds a region.
    /// Nothing is opened that others would notice.
    ///
    /// # Errors
    /// As [`Device::find`], as far as looking tells.
    pub fn locate(config: &GuestConfig) -> Result<String, GuestError> {
        match config.bare_file() {
            Some(path) => Self::of_file(path).map(|device| device.name),
            None => look::the_one(config).map(|function| function.address),
        }
    }

    /// A DAX device or file without any function: nobody can be rung.
    fn of_file(path: &Path) -> Result<Self, GuestError> {
        let mut device = Self::of_source(path.display().to_string(), Source::open(path)?)?;
        device.notes.push("no PCI function, so no doorbells: both sides poll".to_owned());
        Ok(device)
    }

    /// A region from a descriptor of the caller's: how users of other monitors attach.
    ///
    /// `memory` holds the region from its first byte (a memfd, a file, a DAX device). `host` are the doorbells that the
    /// host waits for, `own` the ones that it rings, by vector; none at all if both sides poll. They are the eventfds that
    /// the monitor connects to the guest's doorbell register and interrupts.
    ///
    /// # Errors
    /// If the memory cannot be mapped or holds no region.
    pub fn from_parts(
        name: &str,
        memory: OwnedFd,
        host: Vec<EventFd>,
        own: Vec<EventFd>,
    ) -> Result<Self, GuestError> {
        let mut device = Self::of_source(name.to_owned(), Source::of(name, memory)?)?;
        if !host.is_empty() {
            device.bells = Bells::EventFds(host.into());
        }
        if !own.is_empty() {
            device.interrupts = Some(Arc::new(Interrupts::of(own, None)));
        }
        Ok(device)
    }

    fn of_source(name: String, source: Source) -> Result<Self, GuestError> {
        let directory = directory_of(&name, &source)?;
        let (control, bulk) = (source.clone(), source);
        let (function, bells, notes) = (None, Bells::None, Vec::new());
        let (interrupts, no_interrupts) = (None, None);
        Ok(Self {
            name,
            function,
            control,
            bulk,
            bells,
            interrupts,
            no_interrupts,
            holder: None,
            notes,
            directory,
        })
    }

    fn of_function(function: &Function, config: &GuestConfig) -> Result<Self, GuestError> {
        let (mut holder, mut refused) = (None, None);
        if function.is_vfio() {
            match (hold::from_holder(&function.address, config), config.waiting) {
                (Ok(Some(shared)), _) => holder = Some(Arc::new(shared)),
                (Err(error), _) => refused = Some(NoInterrupts::Failed(error)),
                (Ok(None), Waiting::Polling) => {}
                (Ok(None), Waiting::Held) => refused = Some(NoInterrupts::NotHeld),
                (Ok(None), Waiting::Alone) if others_run(function) => {
                    refused = Some(NoInterrupts::OthersRun);
                }
                (Ok(None), Waiting::Alone) => match Vfio::open(function, config) {
                    Ok(vfio) => return Self::of_vfio(function, vfio, config),
                    Err(error) => refused = Some(NoInterrupts::Failed(error)),
                },
            }
        }
        let wanted = config.waiting != Waiting::Polling;
        let refused = refused.map(Arc::new);
        let (no_interrupts, unwatched) = if wanted { (refused, None) } else { (None, refused) };
        let unwatched =
            unwatched.map(|why| format!("the end of `ringbar vm hold` goes unseen: {why}"));
        let mut notes: Vec<_> = unwatched.into_iter().collect();
        let opened = Opened::by_files(function, config, &mut notes)?;
        let interrupts = holder.clone().filter(|_| wanted);
        let device = Self::of_opened(function, opened, interrupts, notes, config)?;
        Ok(Self { no_interrupts, holder, ..device })
    }

    /// Through VFIO, alone: the kernel then refuses other programs the function's memory. It must, since it turns the
    /// memory off for a moment when the owner ends.
    fn of_vfio(function: &Function, vfio: Vfio, config: &GuestConfig) -> Result<Self, GuestError> {
        let opened = Opened::by_vfio(function, &vfio)?;
        let notes = vec![ALONE.to_owned()];
        Self::of_opened(function, opened, Some(Arc::new(vfio.interrupts)), notes, config)
    }

    fn of_opened(
        function: &Function,
        opened: Opened,
        interrupts: Option<Arc<Interrupts>>,
        notes: Vec<String>,
        config: &GuestConfig,
    ) -> Result<Self, GuestError> {
        let mut device = Self {
            name: function.address.clone(),
            function: Some(function.clone()),
            control: opened.control,
            bulk: opened.bulk,
            bells: Bells::Registers(Arc::new(opened.registers)),
            interrupts,
            no_interrupts: None,
            holder: None,
            notes,
            directory: opened.directory,
        };
        device.use_memory(config)?;
        Ok(device)
    }

    /// Takes the bytes from a DAX device or file instead, which must be the same region.
    fn use_memory(&mut self, config: &GuestConfig) -> Result<(), GuestError> {
        let Some(path) = &config.memory else { return Ok(()) };
        let source = Source::open(path)?;
        let directory = directory_of(&path.display().to_string(), &source)?;
        if let Some(differs) = difference(&self.directory, &directory) {
            let (path, function) = (path.clone(), self.name.clone());
            return Err(GuestError::OtherMemory { path, function, differs });
        }
        self.directory = directory;
        self.control = source.clone();
        self.bulk = source;
        Ok(())
    }

    /// MSI-X vectors that the function must have for its region: as many as the host rings.
    pub fn vectors(&self) -> usize {
        directory::doorbells(&self.directory.lines).into()
    }

    /// The function's folder in sysfs: gone once it is unplugged.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        self.function.as_ref().map(|function| function.folder.clone())
    }
}

/// How the host is rung.
#[derive(Clone)]
pub enum Bells {
    /// Not at all: it polls.
    None,
    /// By stores into BAR 0.
    Registers(Arc<Mapping>),
    /// By eventfds, one a vector.
    EventFds(Arc<[EventFd]>),
}

impl Bells {
    /// The doorbell of `vector`, or one that does nothing where the host has none of its `vectors` vectors.
    ///
    /// # Errors
    /// If the register lies outside of what is mapped.
    pub fn bell(&self, vectors: u16, vector: u16) -> Result<Arc<dyn Doorbell>, GuestError> {
        match self {
            Self::Registers(registers) if vectors > 0 => {
                let registers = Arc::clone(registers);
                Ok(Arc::new(MmioDoorbell::ivshmem(registers, HOST_PEER, vector)?))
            }
            Self::EventFds(bells) => match bells.get(usize::from(vector)) {
                Some(bell) => Ok(Arc::new(EventFdDoorbell(bell.clone()))),
                None => Ok(Arc::new(NoDoorbell)),
            },
            _ => Ok(Arc::new(NoDoorbell)),
        }
    }
}

/// The number by which the host is rung, on the one device of the region.
const HOST_PEER: u16 = 0;

/// Why a program of a function that is bound to vfio-pci polls, although it wanted interrupts.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NoInterrupts {
    /// Nobody hands them out.
    #[error(
        "the function is bound to vfio-pci, and `ringbar vm hold` does not run; try: start `ringbar vm hold` for interrupts, \
         once no program runs"
    )]
    NotHeld,
    /// This program was to be alone.
    #[error(
        "other programs of this VM run, and opening VFIO would take their memory away for a moment; likely cause: they were \
         started before this one, which says interrupts=alone; try: `ringbar vm hold`, started once before any program"
    )]
    OthersRun,
    /// They could not be had.
    #[error(transparent)]
    Failed(GuestError),
}

const ALONE: &str = "alone through VFIO: other programs of this VM are refused meanwhile; `ringbar vm hold`, started once at \
                     boot, gives interrupts to all";

/// Whether other programs have channels of the function, as far as it can be mapped at all.
pub(super) fn others_run(function: &Function) -> bool {
    let Ok(source) = Source::open(&function.folder.join("resource2")) else { return false };
    let Ok(directory) = directory_of(&function.address, &source) else { return false };
    let lines = &directory.lines;
    let taken = |channel| {
        directory::assigned(lines, channel).is_some()
            || directory::claimant(lines, channel).is_some()
    };
    function.enabled && (0..directory.channels).any(taken)
}

/// The memory of a function.
struct Opened {
    control: Source,
    bulk: Source,
    registers: Mapping,
    directory: Directory,
}

impl Opened {
    /// Through sysfs, which leaves it to other programs too.
    fn by_files(
        function: &Function,
        config: &GuestConfig,
        notes: &mut Vec<String>,
    ) -> Result<Self, GuestError> {
        function.enable()?;
        let control = Source::open(&function.folder.join("resource2"))?;
        let registers = Source::open(&function.folder.join("resource0"))?;
        let registers = registers.map(0, REGISTER_BYTES.min(registers.bytes));
        let registers = registers.map_err(|error| why_unmapped(function, config, error))?;
        let directory = directory_of(&function.address, &control)?;
        let bulk = bulk_of(function, &control, config, notes)?;
        Ok(Self { control, bulk, registers, directory })
    }

    fn by_vfio(function: &Function, vfio: &Vfio) -> Result<Self, GuestError> {
        let registers = vfio.registers.map(0, REGISTER_BYTES.min(vfio.registers.bytes))?;
        let directory = directory_of(&function.address, &vfio.region)?;
        let (control, bulk) = (vfio.region.clone(), vfio.region.clone());
        Ok(Self { control, bulk, registers, directory })
    }
}

/// The reasons of a kernel that let a function's file be opened, and does not map it.
pub(super) fn why_unmapped(
    function: &Function,
    config: &GuestConfig,
    error: GuestError,
) -> GuestError {
    let GuestError::Map(source) = error else { return error };
    let name = function.address.clone();
    let number = io::Error::from_raw_os_error;
    match source.errno() {
        // It does so with what a VFIO owner has mapped.
        Some(libc::EINVAL) if function.is_vfio() => {
            GuestError::HeldByVfio { name, source: number(libc::EINVAL) }
        }
        Some(libc::EPERM) if is_locked_down(&config.sysfs) => {
            GuestError::LockedDown { name, source: number(libc::EPERM) }
        }
        _ => GuestError::Map(source),
    }
}

/// Whether the kernel is locked down: the mode that holds is in brackets.
fn is_locked_down(sysfs: &Path) -> bool {
    let modes = std::fs::read_to_string(sysfs.join("kernel/security/lockdown"));
    modes.is_ok_and(|modes| modes.contains('[') && !modes.contains("[none]"))
}

/// The write-combining file if there is one and it may be opened, else the uncached one.
fn bulk_of(
    function: &Function,
    control: &Source,
    config: &GuestConfig,
    notes: &mut Vec<String>,
) -> Result<Source, GuestError> {
    let path = function.folder.join("resource2_wc");
    match (config.bulk, Source::open(&path)) {
        (Bulk::Uncached, _) => Ok(control.clone()),
        (_, Ok(source)) => Ok(source),
        (Bulk::WriteCombining, Err(error)) => Err(error),
        (Bulk::Auto, Err(error)) => {
            notes.push(format!("bulk data over resource2: {error}"));
            Ok(control.clone())
        }
    }
}

pub(super) fn directory_of(name: &str, source: &Source) -> Result<Directory, GuestError> {
    let page = Arc::new(source.map(0, PAGE_BYTES as u64)?);
    Directory::inspect(&page, source.bytes).map_err(|error| GuestError::region(name, error))
}

/// Looks at a word that the host may change meanwhile.
const LOOKS: usize = 100;

/// What two regions differ by; nothing for two mappings of one (or two that nobody serves or uses).
fn difference(one: &Directory, other: &Directory) -> Option<&'static str> {
    if (one.region_bytes, one.channels) != (other.region_bytes, other.channels) {
        return Some("other sizes");
    }
    let same = |word: &dyn Fn(&Directory) -> u64| (0..LOOKS).any(|_| word(one) == word(other));
    if !same(&|region| directory::heartbeat(&region.lines)) {
        return Some("another heartbeat of its host");
    }
    let channels = 0..one.channels;
    let assigned = |channel| {
        same(&move |region| directory::assigned(&region.lines, channel).map_or(0, Nonce::get))
    };
    let place = |channel| {
        let offset = |region: &Directory| region.span(channel).ok().map(|span| span.offset);
        offset(one) == offset(other)
    };
    if !channels.clone().all(place) {
        return Some("its channels lie elsewhere");
    }
    (!channels.clone().all(assigned)).then_some("other programs have its channels")
}
