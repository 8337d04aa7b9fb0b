//! Unix sockets: one message a call, polled or blocking, and 32 messages a call.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};

use super::{WORDS, queue};
use crate::candidate::{Candidate, Identity, Measure};
use crate::error::BenchError;
use crate::side::{BATCH, Receive, ReceiveBatch, Transmit, TransmitBatch};
use crate::spin::{Stalled, spin_until};

pub(super) fn candidates() -> Vec<Candidate> {
    let stream_polling = || open(SocketType::STREAM, true);
    let mut all = queue("unix socket", "stream, polling", stream_polling);
    all.extend(queue("unix socket", "stream, blocking", || open(SocketType::STREAM, false)));
    all.extend(queue("unix socket", "seqpacket, polling", || open(SocketType::SEQPACKET, true)));
    let batches = Identity::new("unix socket", "stream, 32 a write, polling", Measure::Batch32);
    all.push(Candidate::batch32(batches, stream_polling));
    all
}

fn open(kind: SocketType, polling: bool) -> Result<(End, End), BenchError> {
    let (left, right) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
        .map_err(BenchError::errno("creating a socket pair"))?;
    Ok((End { socket: left, polling }, End { socket: right, polling }))
}

struct End {
    socket: OwnedFd,
    polling: bool,
}

impl End {
    fn send_all(&self, mut bytes: &[u8]) -> Result<(), Stalled> {
        let flags = if self.polling { SendFlags::DONTWAIT } else { SendFlags::empty() };
        while !bytes.is_empty() {
            let sent = retry(|| send(&self.socket, bytes, flags | SendFlags::NOSIGNAL))?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    fn receive_all(&self, bytes: &mut [u8]) -> Result<(), Stalled> {
        let flags = if self.polling { RecvFlags::DONTWAIT } else { RecvFlags::empty() };
        let mut filled = 0;
        while filled < bytes.len() {
            let received =
                retry(|| recv(&self.socket, &mut bytes[filled..], flags).map(|got| got.0))?;
            filled += if received == 0 { return Err(Stalled) } else { received };
        }
        Ok(())
    }
}

/// Repeats a call while the kernel says "not yet"; any other answer means that the other end is gone.
#[inline(always)]
fn retry(mut call: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Stalled> {
    spin_until(|| match call() {
        Err(Errno::AGAIN | Errno::INTR) => None,
        answer => Some(answer),
    })?
    .map_err(|_| Stalled)
}

impl Transmit<WORDS> for End {
    fn send(&mut self, words: &[u64; WORDS]) -> Result<(), Stalled> {
        self.send_all(bytemuck::bytes_of(words))
    }
}

impl Receive<WORDS> for End {
    fn receive(&mut self, take: impl FnOnce(&[u64; WORDS])) -> Result<(), Stalled> {
        let mut words = [0; WORDS];
        self.receive_all(bytemuck::bytes_of_mut(&mut words))?;
        take(&words);
        Ok(())
    }
}

impl TransmitBatch<WORDS> for End {
    fn send_batch(&mut self, mut next_words: impl FnMut() -> [u64; WORDS]) -> Result<(), Stalled> {
        let messages: [[u64; WORDS]; BATCH] = std::array::from_fn(|_| next_words());
        self.send_all(bytemuck::bytes_of(&messages))
    }
}

impl ReceiveBatch<WORDS> for End {
    fn receive_batch(&mut self, take: impl FnMut(&[u64; WORDS])) -> Result<(), Stalled> {
        let mut messages = [[0; WORDS]; BATCH];
        self.receive_all(bytemuck::bytes_of_mut(&mut messages))?;
        messages.iter().for_each(take);
        Ok(())
    }
}
