//! The other end of the old way: a process of its own that answers what the monitor sends it over a unix socket.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};

/// A mediator that sends every call back: the least that one can do.
pub struct Mediator {
    child: Child,
    socket: UnixStream,
}

impl Mediator {
    pub fn start() -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        Ok(Self { child: echo(theirs)?, socket })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// There and back.
    pub fn call(&mut self, call: u64) -> io::Result<u64> {
        let mut answer = [0; 8];
        self.socket.write_all(&call.to_le_bytes())?;
        self.socket.read_exact(&mut answer)?;
        Ok(u64::from_le_bytes(answer))
    }
}

/// A process that sends back what it reads from `socket`, until the other end is closed.
pub fn echo(socket: UnixStream) -> io::Result<Child> {
    let back = socket.try_clone()?;
    Command::new("cat").stdin(OwnedFd::from(socket)).stdout(OwnedFd::from(back)).spawn()
}

impl Drop for Mediator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
