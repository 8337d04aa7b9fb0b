//! A tree of files that looks like sysfs with ivshmem functions, for tests.

use super::GuestConfig;
use crate::layout::Sizes;
use crate::os::mapping::{Mapping, PeerTrust};
use crate::region::{self, Place, Terms};
use crate::sync::Arc;
use std::path::PathBuf;

/// The terms of every fake region.
pub(crate) const TERMS: Terms = Terms { vocabulary_hash: 0xfeed, features: 0 };

/// A folder of its own, gone when dropped.
pub(crate) struct Tree(tempfile::TempDir);

impl Tree {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("bus/pci/devices")).expect("room");
        Self(folder)
    }

    pub(crate) fn sysfs(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    pub(crate) fn config(&self, device: Option<&str>) -> GuestConfig {
        GuestConfig {
            device: device.map(str::to_owned),
            sysfs: self.sysfs(),
            dev: self.sysfs().join("dev"),
            run: self.sysfs().join("run"),
            ..GuestConfig::default()
        }
    }

    /// A function that is not enabled, whose BAR 2 is `bytes` zeros.
    pub(crate) fn function(&self, address: &str, bytes: u64) -> PathBuf {
        let folder = self.0.path().join("bus/pci/devices").join(address);
        std::fs::create_dir(&folder).expect("a new folder");
        let write = |name: &str, text: &[u8]| std::fs::write(folder.join(name), text).expect(name);
        write("vendor", b"0x1af4\n");
        write("device", b"0x1110\n");
        write("enable", b"0\n");
        write("resource0", &[0; 4096]);
        let bar2 = std::fs::File::create_new(folder.join("resource2")).expect("a new file");
        bar2.set_len(bytes).expect("room");
        folder
    }

    /// A function whose BAR 2 holds a region of these channels; returns the host's mapping of it too.
    pub(crate) fn region(&self, address: &str, channels: &[Sizes]) -> (Arc<Mapping>, Vec<Place>) {
        let bytes = region::region_bytes(channels).next_power_of_two();
        let folder = self.function(address, bytes);
        let mapping = Mapping::file(folder.join("resource2"), PeerTrust::Own).expect("mapped");
        let mapping = Arc::new(mapping);
        let places = region::create(&mapping, channels, TERMS).expect("a region");
        (mapping, places)
    }
}
