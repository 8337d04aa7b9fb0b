//! Functions of the program that a stream runs when it gets there.
//!
//! The worker announces a function by writing its token into a mailbox in the arena and counting a fence word up; one
//! thread of this process sees the word, runs the function and writes the count into the mailbox; then the stream goes
//! on. So functions run one at a time, in the order in which the worker announced them, and never on a thread that the
//! worker needs.

use crate::session::Shared;
use crate::signals::without_signals;
use crate::{Session, SessionError};
use ringbar::client::{Health, PinnedBlock};
use ringbar::error::ChannelError;
use ringbar_vocabulary::{ArenaRef, HostFunctionSetup};
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// What a stream may have run.
pub type HostFunction = Arc<dyn Fn() + Send + Sync>;

/// What the worker knows a host function by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostFunctionToken(pub u64);

/// Bytes of the mailbox: the token of the announced function, then how many were run.
const MAILBOX_BYTES: u64 = 16;
/// How long the thread waits before it looks whether anybody still needs it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Default)]
pub(crate) struct HostFunctions {
    table: Mutex<Table>,
    registered: Condvar,
}

#[derive(Default)]
struct Table {
    functions: HashMap<u64, Entry>,
    last_token: u64,
    started: bool,
}

struct Entry {
    function: HostFunction,
    /// Gone after it ran once.
    once: bool,
}

impl HostFunctions {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The announced function; `None` for a token that no honest worker announces.
    fn take(&self, token: u64) -> Option<HostFunction> {
        let mut table = self.table();
        let entry = table.functions.get(&token)?;
        let function = Arc::clone(&entry.function);
        if entry.once {
            table.functions.remove(&token);
        }
        Some(function)
    }

    /// Blocks, for a while, until some function is registered: as long as none is, nothing needs to be watched for.
    fn any(&self) -> bool {
        let table = self.table();
        let waited =
            self.registered.wait_timeout_while(table, LOOK_EVERY, |t| t.functions.is_empty());
        !waited.unwrap_or_else(PoisonError::into_inner).0.functions.is_empty()
    }
}

impl Session {
    /// Makes a function known to the worker under a token for `LaunchHostFunction` and the nodes of graphs. With `once`
    /// it is forgotten after it ran; otherwise it stays until [`Session::forget_host_function`].
    pub fn register_host_function(
        &self,
        function: HostFunction,
        once: bool,
    ) -> Result<HostFunctionToken, SessionError> {
        let functions = &self.shared.host_functions;
        let mut table = functions.table();
        if !table.started {
            self.start_host_functions()?;
            table.started = true;
        }
        table.last_token += 1;
        let token = table.last_token;
        table.functions.insert(token, Entry { function, once });
        functions.registered.notify_all();
        Ok(HostFunctionToken(token))
    }

    /// A function will not be announced any more. `false` if the token is not known.
    pub fn forget_host_function(&self, token: HostFunctionToken) -> bool {
        self.shared.host_functions.table().functions.remove(&token.0).is_some()
    }

    /// Tells the worker of the mailbox and starts the thread. Once a session.
    fn start_host_functions(&self) -> Result<(), SessionError> {
        let index = self.shared.fences.keep(&self.shared.client)?;
        let block = self.shared.client.pin(MAILBOX_BYTES, 64)?;
        self.write_pinned(&block, 0, &[0; MAILBOX_BYTES as usize])?;
        let mailbox = ArenaRef { addr: block.address, len: MAILBOX_BYTES };
        self.caller()?.call(&HostFunctionSetup { index, mailbox })?;
        let runner = Runner { shared: Arc::downgrade(&self.shared), index, block, run: 0 };
        let thread = std::thread::Builder::new().name("ringbar-host-functions".into());
        let started = without_signals(|| thread.spawn(move || runner.run()));
        let failed = |e| ChannelError::io("starting the thread of host functions", e);
        started.map(drop).map_err(|e| failed(e).into())
    }
}

/// The thread that runs host functions. It ends with the session.
struct Runner {
    shared: Weak<Shared>,
    index: u32,
    block: PinnedBlock,
    /// How many announcements were served.
    run: u64,
}

impl Runner {
    fn run(mut self) {
        while let Some(shared) = self.shared.upgrade() {
            let session = Session { shared };
            match self.serve(&session) {
                Ok(()) => {}
                Err(error) => {
                    tracing::debug!(%error, "no more host functions");
                    return;
                }
            }
        }
    }

    /// Serves one announcement, or waits for one for a while.
    fn serve(&mut self, session: &Session) -> Result<(), SessionError> {
        // A watcher of the fence makes the worker ring its bell, so nobody watches without need.
        if !session.shared.host_functions.any() {
            return match session.shared.client.health() {
                Health::Ended(error) => Err(error.into()),
                _ => Ok(()),
            };
        }
        let next = self.run + 1;
        match session.shared.client.wait_fence(self.index, next, Some(LOOK_EVERY)) {
            Ok(()) => {}
            Err(ChannelError::Deadline { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let mut token = [0; 8];
        session.read_pinned(&self.block, 0, &mut token)?;
        let token = u64::from_le_bytes(token);
        match session.shared.host_functions.take(token) {
            Some(function) => function(),
            None => tracing::warn!(token, "the worker announced a host function that is not known"),
        }
        self.run = next;
        session.write_pinned(&self.block, 8, &next.to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_that_runs_once_is_forgotten_and_another_is_not() {
        let functions = HostFunctions::default();
        for (token, once) in [(1, true), (2, false)] {
            let entry = Entry { function: Arc::new(|| ()), once };
            functions.table().functions.insert(token, entry);
        }
        assert!(functions.take(1).is_some() && functions.take(2).is_some());
        assert!(functions.take(1).is_none(), "it ran");
        assert!(functions.take(2).is_some() && functions.any());
    }
}
