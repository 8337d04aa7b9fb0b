//! The device of a region, opened: its directory, its bulk memory, its doorbell.

use super::discovery::{self, Function};
use super::source::Source;
use super::vfio::{Interrupts, Vfio};
use super::{Bulk, GuestConfig, GuestError};
use crate::layout::PAGE_BYTES;
use crate::os::mapping::Mapping;
use crate::region::Directory;
use crate::sync::Arc;
use std::path::{Path, PathBuf};

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
    /// Registers of the function, to ring doorbells; `None` without a function.
    pub registers: Option<Arc<Mapping>>,
    /// Interrupts, if this program got them.
    pub interrupts: Option<Arc<Interrupts>>,
    /// What was tried and did not work, and what is done instead.
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
        let candidates = discovery::candidates(config)?;
        let named = config.device.is_some();
        let mut good = Vec::new();
        let mut bad = Vec::new();
        for function in candidates {
            match Self::of_function(&function, config) {
                Ok(device) => good.push(device),
                Err(error) => bad.push((function, error)),
            }
        }
        if good.len() > 1 {
            let found = good.into_iter().map(|device| device.name).collect();
            return Err(GuestError::Several { found });
        }
        if let Some(device) = good.pop() {
            return Ok(device);
        }
        match bad.pop() {
            Some((_, error)) if named || bad.is_empty() => Err(error),
            last => Err(not_ringbar(bad.into_iter().chain(last))),
        }
    }

    /// A DAX device or file without any function: nobody can be rung.
    fn of_file(path: &Path) -> Result<Self, GuestError> {
        let source = Source::open(path)?;
        let name = path.display().to_string();
        let directory = directory_of(&name, &source)?;
        Ok(Self {
            name,
            function: None,
            control: source.clone(),
            bulk: source,
            registers: None,
            interrupts: None,
            notes: vec!["no PCI function, so no doorbells: both sides poll".to_owned()],
            directory,
        })
    }

    fn of_function(function: &Function, config: &GuestConfig) -> Result<Self, GuestError> {
        let mut notes = Vec::new();
        if function.is_vfio() && config.interrupts {
            match Vfio::open(function, config) {
                Ok(vfio) => return Self::of_vfio(function, vfio, config),
                Err(error) => notes.push(format!("no interrupts, polling instead: {error}")),
            }
        }
        function.enable()?;
        let control = Source::open(&function.folder.join("resource2"))?;
        let registers = Source::open(&function.folder.join("resource0"))?;
        let registers = registers.map(0, REGISTER_BYTES.min(registers.bytes))?;
        let bulk = bulk_of(function, &control, config, &mut notes)?;
        let mut device = Self {
            name: function.address.clone(),
            directory: directory_of(&function.address, &control)?,
            function: Some(function.clone()),
            control,
            bulk,
            registers: Some(Arc::new(registers)),
            interrupts: None,
            notes,
        };
        device.use_memory(config)?;
        Ok(device)
    }

    fn of_vfio(function: &Function, vfio: Vfio, config: &GuestConfig) -> Result<Self, GuestError> {
        let registers = vfio.registers.map(0, REGISTER_BYTES.min(vfio.registers.bytes))?;
        let mut device = Self {
            name: function.address.clone(),
            directory: directory_of(&function.address, &vfio.region)?,
            function: Some(function.clone()),
            control: vfio.region.clone(),
            bulk: vfio.region,
            registers: Some(Arc::new(registers)),
            interrupts: Some(Arc::new(vfio.interrupts)),
            notes: Vec::new(),
        };
        device.use_memory(config)?;
        Ok(device)
    }

    /// Takes the bytes from a DAX device or file instead, which must be the same region.
    fn use_memory(&mut self, config: &GuestConfig) -> Result<(), GuestError> {
        let Some(path) = &config.memory else { return Ok(()) };
        let source = Source::open(path)?;
        self.directory = directory_of(&path.display().to_string(), &source)?;
        self.control = source.clone();
        self.bulk = source;
        Ok(())
    }

    /// The function's folder in sysfs: gone once it is unplugged.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        self.function.as_ref().map(|function| function.folder.clone())
    }
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

fn directory_of(name: &str, source: &Source) -> Result<Directory, GuestError> {
    let page = Arc::new(source.map(0, PAGE_BYTES as u64)?);
    Directory::inspect(&page, source.bytes).map_err(|error| GuestError::region(name, error))
}

fn not_ringbar(bad: impl Iterator<Item = (Function, GuestError)>) -> GuestError {
    let each = bad.map(|(function, error)| match error {
        // These already begin with the function's address.
        error @ (GuestError::Region { .. } | GuestError::WrongSize { .. }) => error.to_string(),
        error => format!("{}: {error}", function.address),
    });
    GuestError::NotRingbar { found: each.collect::<Vec<_>>().join("; ") }
}
