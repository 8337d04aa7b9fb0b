//! Whether a program of a virtual machine goes out to the executor of its host.

use super::environment::DEVICE_VARIABLE;
use crate::device::CudaSettings;
use ringbar::guest::{Device, GuestConfig, GuestError};

/// Where the executor is that a program without further options gets.
#[derive(Debug)]
pub enum WayOut {
    /// On the host, through this PCI function or file, which the libraries find by themselves.
    Host(String),
    /// On this machine: it has no way out.
    None,
    /// On this machine, which has a GPU: there may be a way out, which could not be looked at.
    Unknown(GuestError),
}

impl WayOut {
    /// As `RINGBAR_VM` and PCI functions say.
    ///
    /// # Errors
    /// [`GuestError`] if there is a way out that does not work.
    pub fn find() -> Result<Self, GuestError> {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let asked_for = set(DEVICE_VARIABLE);
        Self::decide(&GuestConfig::from_env()?, asked_for, || CudaSettings::find().is_ok())
    }

    fn decide(
        config: &GuestConfig,
        asked_for: bool,
        has_gpu: impl FnOnce() -> bool,
    ) -> Result<Self, GuestError> {
        match Device::locate(config) {
            Ok(name) => Ok(Self::Host(name)),
            Err(error) if asked_for => Err(error),
            Err(error) if error.says_no_way() => Ok(Self::None),
            // Somebody else's function must not keep programs from the GPU that this machine has.
            Err(error) if has_gpu() => Ok(Self::Unknown(error)),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringbar::layout::Sizes;
    use ringbar::os::{Mapping, PeerTrust};
    use ringbar::region::{self, Terms};
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    fn function(sysfs: &Path, address: &str, bytes: u64) -> PathBuf {
        let folder = sysfs.join("bus/pci/devices").join(address);
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in [("vendor", "0x1af4\n"), ("device", "0x1110\n"), ("enable", "1\n")] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let memory = folder.join("resource2");
        std::fs::File::create_new(&memory).unwrap().set_len(bytes).unwrap();
        memory
    }

    fn decide(sysfs: &Path, asked_for: bool, has_gpu: bool) -> Result<WayOut, GuestError> {
        let config = GuestConfig { sysfs: sysfs.to_owned(), ..GuestConfig::default() };
        WayOut::decide(&config, asked_for, || has_gpu)
    }

    #[test]
    fn somebody_elses_function_takes_no_program_away_from_the_executor_of_this_machine() {
        let sysfs = tempfile::tempdir().unwrap();
        function(sysfs.path(), "0000:00:03.0", 1 << 16);
        assert!(matches!(decide(sysfs.path(), false, false), Ok(WayOut::None)));
        let error = decide(sysfs.path(), true, true).unwrap_err();
        assert!(matches!(error, GuestError::NotRingbar { .. }), "it was asked for: {error}");
    }

    #[test]
    fn a_function_with_a_region_is_the_way_out_and_is_named() {
        let sysfs = tempfile::tempdir().unwrap();
        function(sysfs.path(), "0000:00:03.0", 1 << 16);
        let channels = [Sizes { arena_bytes: 1 << 16, ..Sizes::default() }];
        let bytes = region::region_bytes(&channels);
        let memory = function(sysfs.path(), "0000:00:05.0", bytes);
        let mapping = Arc::new(Mapping::file(memory, PeerTrust::Own).unwrap());
        region::create(&mapping, &channels, Terms { vocabulary_hash: 1, features: 0 }).unwrap();
        let way = decide(sysfs.path(), false, true).unwrap();
        assert!(matches!(&way, WayOut::Host(name) if name == "0000:00:05.0"), "{way:?}");
    }

    #[test]
    fn a_function_that_cannot_be_looked_at_is_an_error_unless_this_machine_has_a_gpu() {
        let sysfs = tempfile::tempdir().unwrap();
        let memory = function(sysfs.path(), "0000:00:03.0", 1 << 16);
        std::fs::remove_file(memory).unwrap();
        assert!(matches!(decide(sysfs.path(), false, false), Err(GuestError::Map(_))));
        assert!(matches!(decide(sysfs.path(), false, true), Ok(WayOut::Unknown(_))));
        assert!(decide(sysfs.path(), true, true).is_err(), "it was asked for");
    }
}
