//! The device as the guest's program finds it: a folder that looks like the function's in sysfs.

use super::BareError;
use super::memory::RegisterFile;
use ringbar::guest::GuestConfig;
use ringbar::lines::SharedLines;
use ringbar::os::{EventFd, Mapping, MmioDoorbell};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use tempfile::TempDir;

/// Guest-physical addresses: BAR 0 with its doorbell register, and the trap page with the word that is loaded and the one
/// that ends a closure.
const REGISTERS: u64 = 1 << 38;
pub const DOORBELL: u64 = REGISTERS + 12;
pub const TRAP: u64 = REGISTERS + 4096;
pub const EXIT: u64 = TRAP + EXIT_OFFSET;
const EXIT_OFFSET: u64 = 64;
/// The trap page's name in `/proc/self/maps`.
const TRAP_NAME: &str = "ringbar-bare-trap";

/// The trap page of this process: all its machines have it at the same address. It stays for good, since a program that ends
/// in the middle of a store drops nothing.
pub struct Trap {
    /// The line whose first word traps when it is loaded.
    pub lines: SharedLines,
    /// Rung by a closure that is through.
    pub exit: MmioDoorbell,
}

/// The trap page, made at first.
pub fn trap() -> &'static Trap {
    static TRAP: OnceLock<Trap> = OnceLock::new();
    TRAP.get_or_init(|| {
        let (page, _) = Mapping::memfd_create(TRAP_NAME, 4096).expect("a page");
        let page = Arc::new(page);
        let exit = MmioDoorbell::new(Arc::clone(&page), EXIT_OFFSET as usize, 1);
        let lines = SharedLines::new(&page, 0, 1).expect("it begins a page");
        Trap { lines, exit: exit.expect("it lies inside of the page") }
    })
}

/// Files for BAR 0 and BAR 2.
pub struct Function {
    folder: TempDir,
    bells: Vec<EventFd>,
    _memory: OwnedFd,
}

impl Function {
    /// The function whose BAR 2 is `memory`, and whose doorbell register signals `bells`, one a vector.
    pub fn new(memory: impl AsFd, bells: Vec<EventFd>) -> Result<Self, BareError> {
        let failed = |e| BareError::system("making the function's files", e);
        let folder = tempfile::tempdir().map_err(failed)?;
        let files = files(folder.path());
        std::fs::create_dir_all(&files).map_err(failed)?;
        for (name, text) in [("vendor", "0x1af4\n"), ("device", "0x1110\n"), ("enable", "1\n")] {
            std::fs::write(files.join(name), text).map_err(failed)?;
        }
        std::fs::write(files.join("resource0"), [0; 4096]).map_err(failed)?;
        let memory = memory.as_fd().try_clone_to_owned().map_err(failed)?;
        let target = format!("/proc/self/fd/{}", memory.as_raw_fd());
        for name in ["resource2", "resource2_wc"] {
            std::os::unix::fs::symlink(&target, files.join(name)).map_err(failed)?;
        }
        Ok(Self { folder, bells, _memory: memory })
    }

    /// How a program finds it.
    pub fn config(&self) -> GuestConfig {
        let path = |name: &str| self.folder.path().join(name);
        let (sysfs, dev, run) = (path("sys"), path("dev"), path("run"));
        GuestConfig { sysfs, dev, run, ..GuestConfig::default() }
    }

    /// What stores into the doorbell register signal, by vector.
    pub fn bells(&self) -> &[EventFd] {
        &self.bells
    }

    /// The files that are registers of the guest.
    pub fn registers(&self) -> [RegisterFile; 2] {
        let bar0 = files(self.folder.path()).join("resource0");
        let bar0 = bar0.canonicalize().unwrap_or(bar0);
        let trap = format!("/memfd:{TRAP_NAME}").into();
        [RegisterFile { path: bar0, guest: REGISTERS }, RegisterFile { path: trap, guest: TRAP }]
    }
}

fn files(folder: &Path) -> PathBuf {
    folder.join("sys/bus/pci/devices/0000:00:03.0")
}
