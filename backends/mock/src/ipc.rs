//! Memory that several processes have: each has bytes of its own, which it makes one with the others' between two
//! operations, through a file in memory that a handle names.
//!
//! That is what a device promises, too: who reads what another writes must wait for it, and every wait ends with an
//! operation (an event, a fence), before which the bytes are exchanged. Only what was changed is written, so processes that
//! change different bytes at once do not disturb each other.
//!
//! Events between processes are not offered: the device says so (`IPC_EVENT_SUPPORTED` is 0).

use crate::gpu::MockGpu;
use crate::heap::Owner;
use crate::pool::DEVICE_BASE;
use ringbar_backend::Context;
use ringbar_vocabulary::*;
use rustix::fs::MemfdFlags;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};

/// A handle's first word.
const MAGIC: u64 = u64::from_le_bytes(*b"RBMOCKM1");
/// The name of the files; nothing else is ever opened.
const NAME: &str = "ringbar-mock-memory";
/// `CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS`.
const LAZY_PEER_ACCESS: u32 = 1;
/// Changes are looked for in pieces of so many bytes.
const PIECE_BYTES: usize = 4096;

/// What a handle says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Name {
    process: u64,
    file: u64,
    inode: u64,
    bytes: u64,
    device: u64,
}

impl Name {
    fn to_words(self) -> [u64; 8] {
        let Self { process, file, inode, bytes, device } = self;
        [MAGIC, process, file, inode, bytes, device, 0, 0]
    }

    fn from_words(words: [u64; 8]) -> Option<Self> {
        let [MAGIC, process, file, inode, bytes, device, 0, 0] = words else { return None };
        Some(Self { process, file, inode, bytes, device })
    }

    /// The file that is named, if it is one of those that hold such memory.
    fn open(self) -> io::Result<File> {
        let refused = || io::Error::from(io::ErrorKind::NotFound);
        let path = format!("/proc/{}/fd/{}", self.process, self.file);
        let target = std::fs::read_link(&path)?;
        let expected = format!("/memfd:{NAME}");
        if !target.to_str().is_some_and(|target| target.starts_with(&expected)) {
            return Err(refused());
        }
        let file = File::options().read(true).write(true).open(path)?;
        let found = file.metadata()?;
        if found.ino() == self.inode && found.len() == self.bytes {
            Ok(file)
        } else {
            Err(refused())
        }
    }
}

/// A part of device memory that other processes have too.
pub(crate) struct Shared {
    start: usize,
    file: File,
    name: Name,
    /// The bytes after the latest exchange.
    agreed: Box<[u8]>,
}

impl Shared {
    /// A part that this process gives out.
    fn export(range: Range<usize>, bytes: &[u8], device: u32) -> io::Result<Self> {
        let file = File::from(rustix::fs::memfd_create(NAME, MemfdFlags::CLOEXEC)?);
        file.write_all_at(bytes, 0)?;
        let name = Name {
            process: std::process::id().into(),
            file: file.as_raw_fd() as u64,
            inode: file.metadata()?.ino(),
            bytes: bytes.len() as u64,
            device: device.into(),
        };
        Ok(Self { start: range.start, file, name, agreed: bytes.into() })
    }

    /// A part that another process gave out, for bytes here that are zeros.
    fn import(start: usize, file: File, name: Name) -> Self {
        Self { start, file, name, agreed: vec![0; name.bytes as usize].into() }
    }

    pub(crate) fn range(&self) -> Range<usize> {
        self.start..self.start + self.agreed.len()
    }

    /// Makes `ours` and the file one.
    pub(crate) fn exchange(&mut self, ours: &mut [u8]) -> io::Result<()> {
        let mut theirs = vec![0; PIECE_BYTES];
        for (at, (ours, agreed)) in
            ours.chunks_mut(PIECE_BYTES).zip(self.agreed.chunks_mut(PIECE_BYTES)).enumerate()
        {
            let offset = (at * PIECE_BYTES) as u64;
            if ours != agreed {
                write_changes(&self.file, offset, ours, agreed)?;
            }
            let theirs = &mut theirs[..ours.len()];
            self.file.read_exact_at(theirs, offset)?;
            ours.copy_from_slice(theirs);
            agreed.copy_from_slice(theirs);
        }
        Ok(())
    }
}

/// Writes the runs of bytes in which `ours` is not what was agreed on.
fn write_changes(file: &File, offset: u64, ours: &[u8], agreed: &[u8]) -> io::Result<()> {
    let mut at = 0;
    while at < ours.len() {
        let same = ours[at..].iter().zip(&agreed[at..]).take_while(|(a, b)| a == b).count();
        let start = at + same;
        let changed = ours[start..].iter().zip(&agreed[start..]).take_while(|(a, b)| a != b);
        let end = start + changed.count();
        file.write_all_at(&ours[start..end], offset + start as u64)?;
        at = end.max(start + 1);
    }
    Ok(())
}

/// Memory of another process that is open here.
pub(crate) struct Opened {
    pub(crate) at: DevicePtr,
    context: u32,
    name: Name,
    /// How often it was opened and not closed.
    times: u64,
}

fn offset_of(at: DevicePtr) -> usize {
    at.0.wrapping_sub(DEVICE_BASE) as usize
}

impl MockGpu {
    pub(crate) fn ipc_memory_handle(
        &mut self,
        cx: &mut Context<'_>,
        command: IpcMemoryHandle,
    ) -> Result<IpcMemoryHandleReply, Status> {
        self.ready()?;
        let IpcMemoryHandle { at, handle } = command;
        cx.check_arena(handle)?;
        let place = handle.part(0, 64).ok_or(Status::INVALID_VALUE)?;
        let words = self.engine.quiet(|pool, space| {
            let heap = space.heap_at(at).ok_or(Status::INVALID_VALUE)?;
            let Some(Owner::Context(_)) = heap.owner(at) else { return Err(Status::INVALID_VALUE) };
            let range = offset_of(at)..offset_of(at) + heap.bytes(at) as usize;
            if let Some(known) = pool.shared_at(range.start) {
                return Ok(known.name.to_words());
            }
            let device = space.device_at(at).ok_or(Status::INVALID_VALUE)?;
            let shared = Shared::export(range.clone(), pool.get(range), device).map_err(|error| {
                tracing::warn!(%error, "no file for shared memory; a limit on files (ulimit -n)?");
                Status::OUT_OF_MEMORY
            })?;
            let words = shared.name.to_words();
            pool.share(shared);
            Ok(words)
        })?;
        let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        cx.write_arena(place, &bytes)?;
        Ok(IpcMemoryHandleReply {})
    }

    pub(crate) fn ipc_memory_open(
        &mut self,
        _cx: &mut Context<'_>,
        command: IpcMemoryOpen,
    ) -> Result<IpcMemoryOpenReply, Status> {
        let IpcMemoryOpen { context, flags, handle } = command;
        self.context(context)?;
        if flags != LAZY_PEER_ACCESS {
            return Err(Status::INVALID_VALUE);
        }
        let name = Name::from_words(handle).ok_or(Status::INVALID_VALUE)?;
        if name.process == u64::from(std::process::id()) {
            // Whoever made a handle has the memory already, and cannot open it.
            return Err(Status::INVALID_CONTEXT);
        }
        let known = |opened: &&mut Opened| opened.name == name && opened.context == context.0;
        if let Some(opened) = self.opened.iter_mut().find(known) {
            opened.times += 1;
            let at = opened.at;
            return Ok(IpcMemoryOpenReply { at, base: at, bytes: name.bytes });
        }
        let device = u32::try_from(name.device).map_err(|_| Status::INVALID_VALUE)?;
        let file = name.open().map_err(|error| {
            tracing::warn!(%error, "no process has given this memory out, or it has ended");
            Status::INVALID_VALUE
        })?;
        let at = self.engine.quiet(|pool, space| {
            let at = space.heap(device)?.alloc(name.bytes, Owner::Import(context.0))?;
            let start = offset_of(at);
            pool.fill(start..start + name.bytes as usize, &[0]);
            pool.share(Shared::import(start, file, name));
            Ok(at)
        })?;
        self.opened.push(Opened { at, context: context.0, name, times: 1 });
        Ok(IpcMemoryOpenReply { at, base: at, bytes: name.bytes })
    }

    pub(crate) fn ipc_memory_close(
        &mut self,
        _cx: &mut Context<'_>,
        command: IpcMemoryClose,
    ) -> Result<IpcMemoryCloseReply, Status> {
        self.ready()?;
        let found = self.opened.iter().position(|opened| opened.at == command.at);
        let found = found.ok_or(Status::INVALID_VALUE)?;
        self.opened[found].times -= 1;
        if self.opened[found].times == 0 {
            self.opened.swap_remove(found);
            self.engine.free(command.at)?;
        }
        Ok(IpcMemoryCloseReply {})
    }

    /// A context ends with what was opened in it.
    pub(crate) fn close_all_of(&mut self, context: u32) -> Result<(), Status> {
        let of_context = |opened: &Opened| opened.context == context;
        let gone: Vec<_> = self.opened.extract_if(.., |opened| of_context(opened)).collect();
        gone.into_iter().try_for_each(|opened| self.engine.free(opened.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_change_different_bytes_both_see_both() {
        let mut ours = vec![0; 10_000];
        let mut export = Shared::export(0..10_000, &ours, 0).expect("a file");
        let file = export.name.open().expect("this process has it");
        let mut import = Shared::import(0, file, export.name);
        let mut theirs = vec![0; 10_000];
        (ours[0], ours[5000], theirs[1], theirs[9999]) = (1, 2, 3, 4);
        export.exchange(&mut ours).expect("an exchange");
        import.exchange(&mut theirs).expect("an exchange");
        export.exchange(&mut ours).expect("an exchange");
        assert_eq!((ours[0], ours[1], ours[5000], ours[9999]), (1, 3, 2, 4));
        assert_eq!(ours, theirs);
    }

    #[test]
    fn only_files_of_such_memory_are_opened() {
        let export = Shared::export(0..64, &[0; 64], 0).expect("a file");
        let name = export.name;
        assert_eq!(Name::from_words(name.to_words()), Some(name));
        assert!(Name { inode: name.inode + 1, ..name }.open().is_err());
        let other = tempfile();
        assert!(Name { file: other.as_raw_fd() as u64, ..name }.open().is_err());
        assert_eq!(Name::from_words([0; 8]), None);
    }

    /// A file of another kind that is open in this process.
    fn tempfile() -> File {
        File::open("/proc/self/exe").expect("this program")
    }
}
