//! Cache lines of atomics that two threads or two processes share.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::ops::Deref;
use std::os::fd::AsRawFd;

use memmap2::MmapRaw;
use ringbar::sync::AtomicU64;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::error::BenchError;

/// One cache line of eight words.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Line {
    /// Its words.
    pub words: [AtomicU64; 8],
}

/// Asks for exclusive ownership of a line that is about to be written.
#[inline(always)]
pub fn prefetch_write(line: &Line) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads and writes nothing as far as the program can tell, and cannot fault.
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) line, options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// Asks for a line that is about to be read.
#[inline(always)]
pub fn prefetch_read(line: &Line) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prefetcht0 [{}]", in(reg) line, options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// A memfd mapped as cache lines, zero at first; the same memory for threads and for processes.
#[derive(Debug)]
pub struct SharedLines {
    // The file stays open: the second process opens it through this process's descriptor.
    file: File,
    map: MmapRaw,
    lines: usize,
}

impl SharedLines {
    /// Creates and maps `lines` lines.
    ///
    /// # Errors
    /// [`BenchError::Io`] with the kernel's answer.
    pub fn create(lines: usize) -> Result<Self, BenchError> {
        let memfd = memfd_create(c"ringbar-benches", MemfdFlags::CLOEXEC)
            .map_err(BenchError::errno("creating a memfd"))?;
        let file = File::from(memfd);
        file.set_len((lines * size_of::<Line>()) as u64)
            .map_err(BenchError::io("sizing a memfd"))?;
        Self::map(file, lines)
    }

    /// Maps the lines that another process created, by the path that [`SharedLines::path`] named there.
    ///
    /// # Errors
    /// [`BenchError::Io`] with the kernel's answer.
    pub fn open(path: &str, lines: usize) -> Result<Self, BenchError> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        Self::map(file.map_err(BenchError::io("opening the first process's memfd"))?, lines)
    }

    fn map(file: File, lines: usize) -> Result<Self, BenchError> {
        let map = MmapRaw::map_raw(&file).map_err(BenchError::io("mapping a memfd"))?;
        assert!(map.len() >= lines * size_of::<Line>(), "the memfd is smaller than its lines");
        Ok(Self { file, map, lines })
    }

    /// Where another process of this user finds the lines while this value lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }
}

impl Deref for SharedLines {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        // SAFETY: the mapping is page-aligned, at least `lines` lines long (checked in `map`), lives as long as `self`,
        // and is only ever accessed as these atomics, by this process and by the other; any bytes are valid atomics.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast::<Line>(), self.lines) }
    }
}

#[cfg(test)]
mod tests {
    use ringbar::sync::Ordering;

    use super::*;

    #[test]
    fn a_second_mapping_shows_the_same_words() {
        let first = SharedLines::create(3).unwrap();
        let second = SharedLines::open(&first.path(), 3).unwrap();
        first[2].words[7].store(42, Ordering::Release);
        assert_eq!(second[2].words[7].load(Ordering::Acquire), 42);
    }
}
