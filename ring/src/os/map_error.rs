//! The one error of [`Mapping`](super::Mapping): what was found, what was expected, the likely cause, what to try.

use std::io;

/// Why memory could not be mapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// A length of zero, or one that no address space holds.
    #[error(
        "{subject}: found a length of {found} bytes, expected 1 to {max}; likely cause: an empty file or a size that \
         was not filled in; try: give the region a size before it is mapped"
    )]
    Length {
        /// What was to be mapped.
        subject: String,
        /// The length found, in bytes.
        found: u64,
        /// The largest length accepted, in bytes.
        max: u64,
    },

    /// A system call failed.
    #[error("{subject}: {action} failed: {source}; likely cause: {cause}; try: {advice}")]
    System {
        /// What was to be mapped.
        subject: String,
        /// What was being done to it.
        action: &'static str,
        /// The kernel's answer.
        source: io::Error,
        /// The most likely reason.
        cause: &'static str,
        /// What usually helps.
        advice: &'static str,
    },

    /// The allocator had no memory for a heap region.
    #[error(
        "heap: found no {len} bytes free; likely cause: memory is used up; try: a smaller region"
    )]
    OutOfMemory {
        /// Bytes asked for.
        len: usize,
    },

    /// A descriptor that should be a memfd is something else.
    #[error(
        "found {found}, expected a memfd; likely cause: descriptors were passed in another order than agreed; try: \
         compare the versions of the two sides"
    )]
    NotMemfd {
        /// The kind of file it is.
        found: &'static str,
    },

    /// A memfd that its owner could still shrink.
    #[error(
        "found a memfd with the seals {found}, expected at least SHRINK and GROW; likely cause: the other side did \
         not seal it; try: F_ADD_SEALS before passing it on, since touching memory behind a shrunk end is fatal"
    )]
    MissingSeals {
        /// The seals it has.
        found: String,
    },

    /// A memfd that nobody can map for writing any more.
    #[error(
        "found a memfd with the seals {found}, expected neither WRITE nor FUTURE_WRITE; likely cause: the other side \
         sealed it too far; try: seal only SHRINK, GROW and SEAL"
    )]
    WriteSealed {
        /// The seals it has.
        found: String,
    },

    /// A memfd on hugetlbfs: safe only among friends.
    #[error(
        "found a memfd of reserved huge pages, expected one of ordinary memory; likely cause: MFD_HUGETLB; try: \
         ordinary pages with the huge page hint, because after a punched hole a missing huge page is a fatal signal"
    )]
    HugeTlb,

    /// A file that its other users could shorten while it is mapped.
    #[error(
        "{subject}: found a plain file, expected a sealed memfd or a device for a peer that is not trusted; likely \
         cause: a file region offered to strangers; try: a memfd, since whoever may write a file may also truncate it, \
         and touching the lost part is fatal"
    )]
    Shrinkable {
        /// What was to be mapped.
        subject: String,
    },

    /// A path that leads to something that holds no region.
    #[error(
        "{subject}: found {found}, expected {expected}; likely cause: a wrong path; try: {advice}"
    )]
    WrongKind {
        /// What was to be mapped.
        subject: String,
        /// The kind of file it is.
        found: String,
        /// The kind of file that fits.
        expected: &'static str,
        /// What usually helps.
        advice: &'static str,
    },

    /// Bytes outside what there is.
    #[error(
        "{subject}: found a range of {len} bytes at offset {offset}, expected it inside {size} bytes; likely cause: \
         the two sides disagree about the layout; try: compare their versions"
    )]
    Range {
        /// What the range is in.
        subject: String,
        /// First byte asked for.
        offset: u64,
        /// Bytes asked for.
        len: u64,
        /// Bytes there are.
        size: u64,
    },

    /// A value that has to be a multiple of something.
    #[error(
        "found {what} {found:#x}, expected a multiple of {alignment:#x}; likely cause: the layout was made for \
         another page size; try: align it"
    )]
    Misaligned {
        /// Which value.
        what: &'static str,
        /// The value found.
        found: u64,
        /// What it should be a multiple of, in bytes.
        alignment: u64,
    },

    /// The address is in use in this process.
    #[error(
        "found the {len} bytes at address {address:#x} in use, expected them free; likely cause: another mapping \
         landed there first; try: map the arena before loading more libraries, or agree on another address"
    )]
    AddressTaken {
        /// Address asked for.
        address: usize,
        /// Bytes asked for.
        len: usize,
    },
}

impl MapError {
    /// A failed system call, with the usual reason for that error number.
    pub(crate) fn system(
        subject: impl Into<String>,
        action: &'static str,
        source: impl Into<io::Error>,
    ) -> Self {
        let source = source.into();
        let (cause, advice) = hints(source.raw_os_error());
        Self::System { subject: subject.into(), action, source, cause, advice }
    }
}

impl MapError {
    /// The error number, if a system call failed.
    pub(crate) fn errno(&self) -> Option<i32> {
        match self {
            Self::System { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

/// Likely cause and advice for an error number.
fn hints(errno: Option<i32>) -> (&'static str, &'static str) {
    match errno {
        Some(libc::ENOENT) => ("no such file or device", "check the path"),
        Some(libc::EACCES | libc::EPERM) => {
            ("this user may not do that", "give the user access to it, or run as its owner")
        }
        Some(libc::ENOMEM) => ("memory or address space is used up", "a smaller region"),
        Some(libc::ENODEV) => ("this kind of file cannot be mapped", "a memfd, file or device"),
        Some(libc::EMFILE | libc::ENFILE) => ("too many open files", "raise the limit (ulimit -n)"),
        Some(libc::ENOSPC | libc::EDQUOT) => ("the file system is full", "free some space"),
        Some(libc::EEXIST) => ("it exists already", "another name, or attach to the existing one"),
        Some(libc::ENOSYS) => ("this kernel is too old", "a newer kernel"),
        Some(libc::EBUSY) => (
            "a driver holds the device",
            "unbind the driver, or let its owner enable the device first",
        ),
        _ => ("the kernel refused the request", "the error number's manual page"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_call_names_subject_cause_and_advice() {
        let error =
            MapError::system("/dev/dax9.9", "open", io::Error::from_raw_os_error(libc::EACCES));
        let text = error.to_string();
        for part in ["/dev/dax9.9", "open failed", "likely cause", "try: give the user access"] {
            assert!(text.contains(part), "{text:?} lacks {part:?}");
        }
    }
}
