//! What a program of a virtual machine may say about the region it wants.

use super::GuestError;
use core::time::Duration;
use std::path::{Path, PathBuf};

/// How the bulk memory of a PCI function is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Bulk {
    /// Write-combining if the kernel offers that, else uncached.
    #[default]
    Auto,
    /// `resource2_wc`, or an error.
    WriteCombining,
    /// `resource2`.
    Uncached,
}

/// Which region, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestConfig {
    /// The PCI function (`0000:00:03.0`), a folder of sysfs, or a DAX device or file without any function; `None`: the
    /// only function that holds a region.
    pub device: Option<String>,
    /// A DAX device or file over the same memory as the function's BAR, to be mapped instead of it.
    pub memory: Option<PathBuf>,
    /// How the function's bulk memory is mapped.
    pub bulk: Bulk,
    /// Whether to wait by interrupts where the function is bound to vfio-pci and nobody else has it.
    pub interrupts: bool,
    /// How long to wait for a channel.
    pub patience: Duration,
    /// Where sysfs is mounted.
    pub sysfs: PathBuf,
    /// Where device files are.
    pub dev: PathBuf,
    /// Where the sockets of `ringbar vm hold` are.
    pub run: PathBuf,
}

impl Default for GuestConfig {
    /// The only function there is, interrupts if possible, 10 s of patience.
    fn default() -> Self {
        Self {
            device: None,
            memory: None,
            bulk: Bulk::Auto,
            interrupts: true,
            patience: Duration::from_secs(10),
            sysfs: "/sys".into(),
            dev: "/dev".into(),
            run: "/run/ringbar".into(),
        }
    }
}

/// The variable that names a region.
pub const VARIABLE: &str = "RINGBAR_VM";

impl GuestConfig {
    /// As `RINGBAR_VM` says; the default without it.
    pub fn from_env() -> Result<Self, GuestError> {
        match std::env::var(VARIABLE) {
            Ok(text) => Self::parse(&text),
            Err(_) => Ok(Self::default()),
        }
    }

    /// As a text of the form `[ADDRESS or PATH][,memory=PATH][,bulk=wc|uc][,interrupts=no]` says.
    pub fn parse(text: &str) -> Result<Self, GuestError> {
        let mut config = Self::default();
        for (index, part) in text.split(',').map(str::trim).enumerate() {
            match part.split_once('=') {
                _ if part.is_empty() => {}
                Some(("memory", path)) => config.memory = Some(path.into()),
                Some(("bulk", "wc")) => config.bulk = Bulk::WriteCombining,
                Some(("bulk", "uc")) => config.bulk = Bulk::Uncached,
                Some(("interrupts", "no")) => config.interrupts = false,
                Some(("interrupts", "yes")) => config.interrupts = true,
                None if index == 0 && part == "auto" => {}
                None if index == 0 => config.device = Some(part.to_owned()),
                _ => return Err(GuestError::Setting { found: part.to_owned() }),
            }
        }
        Ok(config)
    }

    /// The DAX device or file that is all there is, if the device that was asked for is one.
    pub(super) fn bare_file(&self) -> Option<&Path> {
        let path = Path::new(self.device.as_ref()?);
        (path.is_absolute() && !path.is_dir()).then_some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_names_function_memory_and_ways() {
        let config = GuestConfig::parse("0000:00:03.0,memory=/dev/dax0.0,interrupts=no").unwrap();
        assert_eq!(config.device.as_deref(), Some("0000:00:03.0"));
        assert_eq!(config.memory.as_deref(), Some(Path::new("/dev/dax0.0")));
        assert!(!config.interrupts);
        assert_eq!(GuestConfig::parse("bulk=uc").unwrap().bulk, Bulk::Uncached);
        assert_eq!(GuestConfig::parse("auto,bulk=wc").unwrap().device, None);
        assert_eq!(GuestConfig::parse("").unwrap(), GuestConfig::default());
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_named() {
        for text in ["a,b", "bulk=wb", "memory", "0000:00:03.0,interrupts=maybe"] {
            let result = GuestConfig::parse(text);
            if text == "memory" {
                assert!(result.is_ok(), "the first part may be any device");
                continue;
            }
            let text = result.expect_err("nonsense").to_string();
            assert!(text.contains("RINGBAR_VM: found"), "{text}");
        }
    }

    #[test]
    fn a_file_alone_is_told_from_a_function() {
        assert_eq!(
            GuestConfig::parse("/dev/dax0.0").unwrap().bare_file(),
            Some(Path::new("/dev/dax0.0"))
        );
        assert_eq!(GuestConfig::parse("0000:00:03.0").unwrap().bare_file(), None);
        assert_eq!(GuestConfig::parse("/").unwrap().bare_file(), None, "a folder is a function's");
    }
}
