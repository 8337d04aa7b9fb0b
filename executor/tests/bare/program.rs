//! The program of the guest: attached to the device of a real daemon before it is started on the virtual processor.

use super::BareError;
use super::function::Function;
use crate::support::device::{Monitor, VmServer};
use ringbar::link::Options;
use ringbar::os::EventFd;
use ringbar_session::{Session, SessionConfig, SessionError};
use std::time::Duration;

/// Waiting is polling: a park is a system call. Longer than anything takes here.
const SPIN: Duration = Duration::from_secs(60);

/// A monitor's connection, the device that it gives its guest, and a session of the guest's program.
pub struct Program {
    pub monitor: Monitor,
    pub function: Function,
    pub session: Session,
}

impl Program {
    /// Attaches to the server's device, as a program in any guest does; `bells` are what KVM signals in place of the host's
    /// doorbells.
    pub fn attach(server: &VmServer, bells: Option<Vec<EventFd>>) -> Result<Self, SessionError> {
        let monitor = Monitor::connect(server).expect("no other monitor is connected");
        let bells = bells.unwrap_or_else(|| monitor.to_host.clone());
        let function = Function::new(&monitor.memory, bells).expect("room for a few files");
        let options = Options { spin_max: Some(SPIN), ..Options::default() };
        let config = SessionConfig { options, ..SessionConfig::default() };
        let session = Session::connect_guest(&function.config(), config)?;
        Ok(Self { monitor, function, session })
    }
}

/// Whether a closure runs on a virtual processor here.
pub fn probe() -> Result<(), BareError> {
    let memory = tempfile::tempfile().map_err(|e| BareError::system("a file", e))?;
    let function = Function::new(&memory, Vec::new())?;
    let bare = super::Bare::new(&function)?;
    bare.run(&mut |_| Ok(0), || ()).map(drop)
}
