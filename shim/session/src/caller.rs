//! Synchronous calls of one thread.

use crate::counts::RowCounters;
use crate::sink::RingSink;
use crate::{Session, SessionError};
use ringbar::client::Caller;
use ringbar_vocabulary::{DeviceFacts, DeviceFactsBlock, FactsError, ReplyBody, Row, SyncCommand};
use std::sync::Arc;

/// Bytes asked for at first; a device's facts take about 1 KiB.
const FACTS_BYTES: u64 = 4096;

/// A thread's lease of one reply slot, and its counts of calls that never leave the process.
///
/// Dropping it gives the slot back.
pub struct SessionCaller {
    session: Session,
    caller: Caller,
    local: Arc<RowCounters>,
}

impl SessionCaller {
    pub(crate) fn lease(session: &Session) -> Result<Self, SessionError> {
        let caller = session.shared.client.caller()?;
        let local = session.shared.counters.of_caller();
        Ok(Self { session: session.clone(), caller, local })
    }

    /// The session it calls on.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Calls, and waits for the reply.
    #[inline]
    pub fn call<C: SyncCommand>(&mut self, command: &C) -> Result<C::Reply, SessionError> {
        let bytes = command.encoded_len();
        if bytes > self.session.record_bytes_max() {
            return self.call_long(command);
        }
        let counters = &self.session.shared.counters;
        let reply = self.caller.call_with(
            bytes,
            |room| {
                counters.count_work(C::ROW);
                command.encode(&mut RingSink(room));
            },
            None,
        )?;
        answer::<C>(reply)
    }

    #[cold]
    fn call_long<C: SyncCommand>(&mut self, command: &C) -> Result<C::Reply, SessionError> {
        let (split, block) = self.session.split(command)?;
        let counters = &self.session.shared.counters;
        let reply = self.caller.call_with(
            split.encoded_len(),
            |room| {
                counters.count_work(C::ROW);
                split.encode(&mut RingSink(room));
            },
            None,
        );
        // An answered command does not use its arena bytes any more, and a lost worker uses nothing.
        block.cancel(&self.session.shared.client);
        answer::<C>(reply?)
    }

    /// Everything that can be asked about a device.
    pub fn device_facts(&mut self, device: u32) -> Result<DeviceFactsBlock, SessionError> {
        let mut bytes = FACTS_BYTES;
        loop {
            let session = self.session.clone();
            let block = session.answer_block(bytes)?;
            let found = self.call(&DeviceFacts { device, facts: block.place() })?.bytes;
            if found <= bytes {
                let mut facts = vec![0; found as usize];
                block.read(&mut facts)?;
                return Ok(DeviceFactsBlock::from_bytes(&facts)?);
            }
            if found > session.shared.client.staging_bytes() {
                return Err(FactsError { found: bytes as usize, expected: found }.into());
            }
            bytes = found;
        }
    }

    /// Counts a call that was answered without a command.
    #[inline(always)]
    pub fn count_local(&self, row: &Row) {
        self.local.count(row);
    }
}

impl Drop for SessionCaller {
    fn drop(&mut self) {
        self.session.shared.counters.caller_ends(&self.local);
    }
}

#[inline]
fn answer<C: SyncCommand>(reply: &[u8]) -> Result<C::Reply, SessionError> {
    let function = C::ROW.name;
    let answer =
        C::Reply::decode(reply).map_err(|error| SessionError::Reply { function, error })?;
    answer.map_err(|status| SessionError::Status { function, status })
}
