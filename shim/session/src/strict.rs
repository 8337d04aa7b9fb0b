//! Strict mode: every post is executed when it returns, and what a device may fail at is done.
//!
//! A kernel's illegal address shows itself when the kernel runs, long after the worker has launched it. So in strict mode a
//! launch, a copy or a fill ends only with its stream, as under `CUDA_LAUNCH_BLOCKING=1`; in a stream that captures there is
//! nothing to wait for. A stream that waits for what the same thread does next never ends, there as here.

use crate::{Session, SessionError};
use ringbar_vocabulary::{Command, FenceStatus, HEADER_BYTES, Status, StreamId};
use std::time::Duration;

/// Commands that a device can fail at after it has taken them.
const EXACT: [&str; 13] = [
    "LaunchKernel",
    "LaunchKernelEx",
    "GraphLaunch",
    "LibraryCall",
    "MemcpyHtoD",
    "MemcpyDtoH",
    "MemcpyDtoD",
    "MemcpyRect",
    "MemsetD8",
    "MemsetD16",
    "MemsetD32",
    "MemsetRect",
    "MemFreeAsync",
];
/// Between two looks at a stream, the first and the longest.
const NAPS: [Duration; 2] = [Duration::from_micros(20), Duration::from_millis(1)];
/// `CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED`: the stream captures.
const CAPTURES: Status = Status(900);

/// The stream of a command whose device work can fail.
fn stream_of<C: Command>(command: &C) -> Option<StreamId> {
    if !EXACT.contains(&C::ROW.name) {
        return None;
    }
    let field = C::ROW.fields.iter().find(|field| field.ty == "StreamId")?;
    let mut bytes = Vec::with_capacity(command.encoded_len());
    command.encode(&mut bytes);
    let number = bytes.get(HEADER_BYTES + field.offset..)?.first_chunk::<4>()?;
    Some(StreamId(u32::from_le_bytes(*number)))
}

impl Session {
    /// Waits until the command posted at `position` is executed and its device work done; answers with its failure.
    #[cold]
    pub(crate) fn wait_exactly<C: Command>(
        &self,
        command: &C,
        position: u64,
    ) -> Result<(), SessionError> {
        self.wait_executed(position)?;
        match stream_of(command) {
            Some(stream) => self.wait_idle(stream),
            None => Ok(()),
        }
    }

    /// Waits until a stream has nothing to do, and answers with a failure of any post up to now.
    fn wait_idle(&self, stream: StreamId) -> Result<(), SessionError> {
        let mut nap = NAPS[0];
        loop {
            let found = match self.caller()?.call(&FenceStatus { stream }) {
                Ok(reply) if reply.status == Status::NOT_READY.0 => None,
                Ok(reply) if reply.status == 0 => Some(Ok(())),
                Ok(reply) => {
                    let status = Status(reply.status);
                    Some(Err(SessionError::Status { function: "FenceStatus", status }))
                }
                // There is nothing to wait for, or nobody to ask.
                Err(error) if matches!(error.status(), Some(CAPTURES | Status::NOT_SUPPORTED)) => {
                    Some(Ok(()))
                }
                Err(error) => Some(Err(error)),
            };
            match found {
                // A failure that the worker has latched has its command's position.
                Some(found) => return self.check().and(found),
                None => std::thread::sleep(nap),
            }
            nap = (2 * nap).min(NAPS[1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringbar_vocabulary::{DevicePtr, MemFree, MemsetD8, ROWS};

    #[test]
    fn every_command_that_is_waited_for_has_one_stream() {
        for name in EXACT {
            let row = ROWS.iter().find(|row| row.name == name);
            let streams = |row: &ringbar_vocabulary::Row| {
                row.fields.iter().filter(|field| field.ty == "StreamId").count()
            };
            assert_eq!(row.map(streams), Some(1), "{name}");
        }
    }

    #[test]
    fn the_stream_is_read_from_the_command() {
        let fill =
            MemsetD8 { dst: DevicePtr(7), count: 8, stream: StreamId(0x1234_5678), value: 9 };
        assert_eq!(stream_of(&fill), Some(StreamId(0x1234_5678)));
        assert_eq!(stream_of(&MemFree { at: DevicePtr(7) }), None);
    }
}
