//! What kernels print: the worker's standard output is a private file, which is read after a synchronise.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;

/// The most that is kept for a client that does not take it, in bytes.
const KEPT_BYTES_MAX: u64 = 16 << 20;

/// The file in place of the standard output.
pub struct Output {
    file: File,
    /// How much of it was taken.
    taken: u64,
}

impl Output {
    /// Puts a private file in place of this process's standard output.
    ///
    /// # Errors
    /// If the system gives no file.
    pub fn capture() -> io::Result<Self> {
        // SAFETY: the name is a string with a terminating zero.
        let fd = unsafe { libc::memfd_create(c"ringbar-output".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was made just now and belongs to nobody else.
        let file = unsafe { File::from_raw_fd(fd) };
        // Appending: so that the file can be emptied under the driver's hands.
        // SAFETY: a call on a descriptor of our own.
        let flagged = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_APPEND) };
        // SAFETY: replaces descriptor 1 of this process, which nothing else writes to.
        let replaced = unsafe { libc::dup2(file.as_raw_fd(), libc::STDOUT_FILENO) };
        if flagged < 0 || replaced < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { file, taken: 0 })
    }

    /// Takes the next bytes that were printed, at most as many as `into` holds; the number says how many.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn take(&mut self, into: &mut [u8]) -> io::Result<usize> {
        flush();
        let count = self.file.read_at(into, self.taken)?;
        self.taken += count as u64;
        if self.taken > 0 && self.taken == self.file.metadata()?.len() {
            self.empty()?;
        }
        Ok(count)
    }

    /// Forgets what a client that never takes anything has let grow.
    pub fn bound(&mut self) {
        let kept = self.file.metadata().map_or(0, |found| found.len());
        if kept > KEPT_BYTES_MAX && self.empty().is_ok() {
            tracing::warn!(kept, "printed text was dropped that nobody took");
        }
    }

    fn empty(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.taken = 0;
        Ok(())
    }
}

/// The C library keeps what was printed until its buffer is full, since a file is no terminal.
fn flush() {
    // SAFETY: a null stream means all of them.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}
