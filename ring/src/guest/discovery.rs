//! Which PCI functions of this machine may hold a region, as sysfs says.

use super::{GuestConfig, GuestError};
use crate::os::map_error::MapError;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Vendor and device that QEMU gives an ivshmem function.
const VENDOR: &str = "0x1af4";
const DEVICE: &str = "0x1110";
/// The same, as people write it.
pub const DEVICE_NAME: &str = "1af4:1110";
/// The kernel's driver that hands a function's interrupts to a program.
const VFIO: &str = "vfio-pci";
/// Command register of the configuration space: offset, and the bit for memory access.
const COMMAND: u64 = 4;
const COMMAND_MEMORY: u16 = 2;

/// A PCI function of that vendor and device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its address: domain, bus, device, function.
    pub address: String,
    /// Its folder in sysfs.
    pub folder: PathBuf,
    /// The driver bound to it, if any.
    pub driver: Option<String>,
    /// Whether somebody has enabled it.
    pub enabled: bool,
    /// Whether its memory answers, as its command register says: firmware may have turned it on, which nobody counts.
    pub answers: bool,
    /// Bytes of BAR 2.
    pub region_bytes: u64,
}

impl Function {
    /// The function in this folder, if it is one.
    fn read(folder: &Path) -> Option<Self> {
        let text = |name: &str| {
            let text = std::fs::read_to_string(folder.join(name)).ok()?;
            Some(text.trim().to_owned())
        };
        if text("vendor")? != VENDOR || text("device")? != DEVICE {
            return None;
        }
        let driver = std::fs::read_link(folder.join("driver")).ok();
        let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
        let enabled = text("enable").is_some_and(|count| count != "0");
        Some(Self {
            // Folders under `devices` are links; their own name is the address.
            address: name(folder)?,
            driver: driver.as_deref().and_then(name),
            enabled,
            answers: memory_is_on(folder).unwrap_or(enabled),
            region_bytes: std::fs::metadata(folder.join("resource2")).map_or(0, |file| file.len()),
            folder: folder.to_owned(),
        })
    }

    /// Bound to vfio-pci.
    pub fn is_vfio(&self) -> bool {
        self.driver.as_deref() == Some(VFIO)
    }

    /// Turns its memory on, unless it is on: sysfs counts enables, and an unneeded one would never be taken back.
    pub(super) fn enable(&self) -> Result<(), GuestError> {
        if self.enabled {
            return Ok(());
        }
        let path = self.folder.join("enable");
        let failed = |source: io::Error| GuestError::NotEnabled {
            name: self.address.clone(),
            path: path.clone(),
            source,
        };
        std::fs::write(&path, "1").map_err(failed)
    }

    /// Binds it to vfio-pci and says what became of it. One that has a driver keeps that; without the module nothing happens.
    pub(super) fn bind(&self, sysfs: &Path) -> Result<Option<Self>, GuestError> {
        let write = |path: PathBuf, text: &str| {
            let failed = |e| MapError::system(path.display().to_string(), "write", e);
            std::fs::write(&path, text).map_err(failed)
        };
        if self.driver.is_none() {
            write(self.folder.join("driver_override"), VFIO)?;
            write(sysfs.join("bus/pci/drivers_probe"), &self.address)?;
        }
        Ok(self.again())
    }

    /// The function as it is now.
    pub(super) fn again(&self) -> Option<Self> {
        Self::read(&self.folder)
    }

    /// Takes back one [`Function::enable`] of a function that was not enabled.
    pub(super) fn disable(&self) {
        // It stays enabled then, which hurts nobody.
        let _ = std::fs::write(self.folder.join("enable"), "0");
    }
}

/// The bit of the command register that lets memory answer; `None` where the configuration space cannot be read.
fn memory_is_on(folder: &Path) -> Option<bool> {
    let file = std::fs::File::open(folder.join("config")).ok()?;
    let mut command = [0; 2];
    file.read_exact_at(&mut command, COMMAND).ok()?;
    Some(u16::from_le_bytes(command) & COMMAND_MEMORY != 0)
}

/// All candidates under `sysfs`, by address.
pub fn functions(sysfs: &Path) -> Vec<Function> {
    let Ok(folders) = std::fs::read_dir(sysfs.join("bus/pci/devices")) else { return Vec::new() };
    let paths = folders.filter_map(|folder| Some(folder.ok()?.path()));
    let mut found: Vec<_> = paths.filter_map(|path| Function::read(&path)).collect();
    found.sort_by(|a, b| a.address.cmp(&b.address));
    found
}

/// The candidates for `config`: all functions, or the one that it names.
pub(super) fn candidates(config: &GuestConfig) -> Result<Vec<Function>, GuestError> {
    let all = functions(&config.sysfs);
    let Some(wanted) = &config.device else {
        let sysfs = config.sysfs.join("bus/pci/devices");
        return if all.is_empty() { Err(GuestError::NoDevice { sysfs }) } else { Ok(all) };
    };
    let named = if Path::new(wanted).is_absolute() {
        Function::read(Path::new(wanted))
    } else {
        let short = format!("0000:{wanted}");
        all.iter().find(|f| f.address == *wanted || f.address == short).cloned()
    };
    let names = |all: &[Function]| {
        let names: Vec<_> = all.iter().map(|f| f.address.as_str()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    named
        .map(|function| vec![function])
        .ok_or_else(|| GuestError::NoSuch { wanted: wanted.clone(), found: names(&all) })
}

#[cfg(test)]
mod tests {
    use super::super::fake::Tree;
    use super::*;

    #[test]
    fn only_functions_of_the_device_are_found_in_order_of_address() {
        let tree = Tree::new();
        tree.function("0000:00:05.0", 8192);
        tree.function("0000:00:03.0", 4096);
        let other = tree.function("0000:00:04.0", 4096);
        std::fs::write(other.join("device"), "0x1111\n").unwrap();
        let found = functions(&tree.sysfs());
        let names: Vec<_> = found.iter().map(|f| (f.address.as_str(), f.region_bytes)).collect();
        assert_eq!(names, [("0000:00:03.0", 4096), ("0000:00:05.0", 8192)]);
        assert!(found.iter().all(|f| !f.enabled && f.driver.is_none()));
    }

    #[test]
    fn enabling_writes_the_switch_once() {
        let tree = Tree::new();
        let folder = tree.function("0000:00:03.0", 4096);
        functions(&tree.sysfs())[0].enable().unwrap();
        assert_eq!(std::fs::read_to_string(folder.join("enable")).unwrap(), "1");
        std::fs::write(folder.join("enable"), "2").unwrap();
        functions(&tree.sysfs())[0].enable().unwrap();
        assert_eq!(std::fs::read_to_string(folder.join("enable")).unwrap(), "2", "left alone");
    }

    #[test]
    fn a_function_is_named_by_address_or_folder_and_a_wrong_name_lists_what_there_is() {
        let tree = Tree::new();
        let folder = tree.function("0000:00:03.0", 4096);
        let named = |device: &str| candidates(&tree.config(Some(device)));
        for name in ["0000:00:03.0", "00:03.0", folder.to_str().unwrap()] {
            assert_eq!(named(name).unwrap()[0].address, "0000:00:03.0");
        }
        let text = named("0000:00:09.0").unwrap_err().to_string();
        assert!(text.contains("named 0000:00:09.0") && text.contains("0000:00:03.0"), "{text}");
    }

    #[test]
    fn a_machine_without_the_device_says_how_to_start_one_with_it() {
        let tree = Tree::new();
        let text = candidates(&tree.config(None)).unwrap_err().to_string();
        assert!(text.contains("-device ivshmem-doorbell"), "{text}");
    }
}
