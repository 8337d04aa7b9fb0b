//! The transport `ring`: a session with a worker process, started here or reached over a socket.

use super::error::ReplayError;
use super::link::{Link, Road, Traffic};
use crate::embedded::Embedded;
use ringbar::client::PinnedBlock;
use ringbar::guest::GuestConfig;
use ringbar::layout::Sizes;
use ringbar_session::{Session, SessionCaller, SessionConfig};
use ringbar_vocabulary::{DevicePtr, HostAlloc, HostFree, PostCommand, StreamId, SyncCommand};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Largest posted copy to the host that lands in pinned memory; larger ones are waited for.
const LANDING_BYTES_MAX: u64 = 4 << 20;

/// A session, and the daemon if it was started for this replay.
pub struct RingRoad {
    session: Session,
    _daemon: Option<Embedded>,
}

impl RingRoad {
    /// Starts a daemon in this process, whose worker process is `program` (this program if `None`), and attaches to it.
    pub fn start(
        program: Option<&Path>,
        device: crate::device::Device,
    ) -> Result<Self, ReplayError> {
        let daemon = Embedded::start(|config| {
            config.device = device;
            if let Some(program) = program {
                config.worker_program = PathBuf::from(program);
            }
        });
        let daemon = daemon.map_err(|error| ReplayError::Start(error.to_string()))?;
        let session = Session::connect(daemon.socket(), config())?;
        Ok(Self { session, _daemon: Some(daemon) })
    }

    /// Attaches to a daemon that runs already.
    pub fn connect(socket: &Path) -> Result<Self, ReplayError> {
        Ok(Self { session: Session::connect(socket, config())?, _daemon: None })
    }

    /// Attaches to the executor of this virtual machine's host, and says what memory the calls go through.
    pub fn connect_guest() -> Result<Self, ReplayError> {
        let guest = GuestConfig::from_env().map_err(ringbar_session::SessionError::from)?;
        let session = Session::connect_guest(&guest, config())?;
        if let Some(attached) = session.attached() {
            let waits = if attached.interrupts { "interrupts" } else { "polling" };
            let (control, bulk) = (attached.control, attached.bulk);
            eprintln!("over {} by {waits}: control {control}, bulk {bulk}", attached.device.name);
        }
        Ok(Self { session, _daemon: None })
    }

    /// Uses a session that exists already, for a worker in this process.
    #[cfg(test)]
    pub fn over(session: Session) -> Self {
        Self { session, _daemon: None }
    }
}

fn config() -> SessionConfig {
    let name = format!("replay {}", std::process::id());
    SessionConfig { name, sizes: Sizes::default(), ..SessionConfig::default() }
}

impl Road for RingRoad {
    type Link = RingLink;

    fn link(&self) -> Result<RingLink, ReplayError> {
        let caller = self.session.caller()?;
        Ok(RingLink {
            caller,
            session: self.session.clone(),
            pinned: HashMap::new(),
            landing: None,
        })
    }

    fn traffic(&self) -> Traffic {
        let counters = self.session.client().counters();
        Traffic {
            worker_bells: counters.client_bells,
            client_bells: counters.worker_bells,
            messages: counters.commands_submitted,
            full_waits: counters.full_waits,
        }
    }

    fn has_worker(&self) -> bool {
        true
    }
}

impl Drop for RingRoad {
    fn drop(&mut self) {
        self.session.close();
    }
}

/// One thread's end of the session.
pub struct RingLink {
    session: Session,
    caller: SessionCaller,
    pinned: HashMap<u32, PinnedBlock>,
    /// Where posted copies to the host land.
    landing: Option<PinnedBlock>,
}

impl RingLink {
    fn landing(&mut self, bytes: u64) -> Result<PinnedBlock, ReplayError> {
        match self.landing {
            Some(block) if block.len >= bytes => Ok(block),
            old => {
                let client = self.session.client();
                if let Some(old) = old {
                    client.unpin(old.address).map_err(ringbar_session::SessionError::from)?;
                }
                let block = client.pin(bytes.next_power_of_two(), 4096);
                Ok(*self.landing.insert(block.map_err(ringbar_session::SessionError::from)?))
            }
        }
    }
}

impl Link for RingLink {
    #[inline(always)]
    fn post<C: PostCommand>(&mut self, command: &C) -> Result<(), ReplayError> {
        self.session.post(command)?;
        Ok(())
    }

    fn post_and_wait<C: PostCommand>(&mut self, command: &C) -> Result<(), ReplayError> {
        let position = self.session.post(command)?;
        Ok(self.session.wait_executed(position)?)
    }

    fn call<C: SyncCommand>(&mut self, command: &C) -> Result<C::Reply, ReplayError> {
        Ok(self.caller.call(command)?)
    }

    fn htod(&mut self, dst: DevicePtr, bytes: &[u8], stream: StreamId) -> Result<(), ReplayError> {
        Ok(self.session.memcpy_htod(dst, bytes, stream)?)
    }

    fn dtoh(
        &mut self,
        into: &mut [u8],
        src: DevicePtr,
        stream: StreamId,
    ) -> Result<(), ReplayError> {
        Ok(self.session.memcpy_dtoh(into, src, stream)?)
    }

    fn dtoh_posted(
        &mut self,
        into: &mut [u8],
        src: DevicePtr,
        stream: StreamId,
    ) -> Result<(), ReplayError> {
        let bytes = into.len() as u64;
        if bytes == 0 || bytes > LANDING_BYTES_MAX {
            return self.dtoh(into, src, stream);
        }
        let block = self.landing(bytes)?;
        self.session.memcpy_dtoh_pinned((&block, 0, bytes), src, stream)?;
        Ok(())
    }

    fn synchronise(&mut self, stream: StreamId) -> Result<(), ReplayError> {
        Ok(self.session.synchronise(stream)?)
    }

    fn create_stream(&mut self, stream: StreamId) -> Result<(), ReplayError> {
        self.session.create_stream_as(stream, 0, 0)?;
        Ok(())
    }

    fn destroy_stream(&mut self, stream: StreamId) -> Result<(), ReplayError> {
        self.session.destroy_stream(stream)?;
        Ok(())
    }

    fn pin(&mut self, block: u32, bytes: u64) -> Result<(), ReplayError> {
        let pinned = self.session.client().pin(bytes, 4096);
        let pinned = pinned.map_err(ringbar_session::SessionError::from)?;
        self.pinned.insert(block, pinned);
        let block = ringbar_vocabulary::ArenaRef { addr: pinned.address, len: bytes };
        self.post(&HostAlloc { block, flags: 0 })
    }

    fn unpin(&mut self, block: u32) -> Result<(), ReplayError> {
        let Some(pinned) = self.pinned.remove(&block) else { return Ok(()) };
        let block = ringbar_vocabulary::ArenaRef { addr: pinned.address, len: pinned.len };
        self.post(&HostFree { block })?;
        let unpinned = self.session.client().unpin(pinned.address);
        unpinned.map_err(ringbar_session::SessionError::from)?;
        Ok(())
    }

    #[inline(always)]
    fn full_waits(&self) -> u64 {
        self.session.client().full_waits()
    }
}
