//! One socket message a call: requests and answers are datagrams of a unix `SOCK_SEQPACKET` socket. Posted calls are not
//! answered; they wait only while the socket's buffer is full.

use super::wire::{ANSWER_BYTES_MAX, Answer};
use super::{Carrier, Traffic};
use crate::replay::error::ReplayError;
use ringbar::handshake::Connection;
use rustix::io::{Errno, ioctl_fionbio, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags};
use std::sync::Arc;

/// Socket buffer asked for: room for a whole piece of a copy and more, whatever the system's default.
const SEND_BUFFER_BYTES: usize = 1 << 20;

/// Either side's end.
pub struct Socket {
    connection: Connection,
}

impl Socket {
    pub fn new(connection: &Connection) -> Result<Self, ReplayError> {
        let failed = ReplayError::io("setting up a socket");
        let fd = Arc::clone(connection.socket());
        ioctl_fionbio(&fd, false).map_err(failed)?;
        // The kernel gives what it allows; too little shows itself at the first long message.
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&fd, SEND_BUFFER_BYTES);
        Ok(Self { connection: connection.clone() })
    }

    pub fn send(&self, bytes: &[u8]) -> Result<(), ReplayError> {
        let socket = self.connection.socket();
        match retry_on_intr(|| rustix::net::send(socket, bytes, SendFlags::NOSIGNAL)) {
            Ok(_) => Ok(()),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(hung_up()),
            Err(error) => Err(ReplayError::io("sending a message")(error)),
        }
    }

    /// Waits for the next message; says how many bytes of `into` it took.
    pub fn receive(&self, into: &mut [u8]) -> Result<usize, ReplayError> {
        let socket = self.connection.socket();
        match retry_on_intr(|| rustix::net::recv(socket, &mut *into, RecvFlags::empty())) {
            Ok((0, _)) | Err(Errno::CONNRESET) => Err(hung_up()),
            Ok((bytes, _)) => Ok(bytes),
            Err(error) => Err(ReplayError::io("receiving a message")(error)),
        }
    }
}

fn hung_up() -> ReplayError {
    ReplayError::WorkerGone("it hung up".into())
}

/// The client's end.
pub struct SocketClient {
    socket: Socket,
    answer: Vec<u8>,
    traffic: Traffic,
}

impl SocketClient {
    pub fn new(connection: &Connection) -> Result<Self, ReplayError> {
        let socket = Socket::new(connection)?;
        Ok(Self { socket, answer: vec![0; ANSWER_BYTES_MAX], traffic: Traffic::default() })
    }
}

impl Carrier for SocketClient {
    fn send(&mut self, request: &[u8]) -> Result<(), ReplayError> {
        self.traffic.messages += 1;
        self.socket.send(request)
    }

    fn receive(&mut self) -> Result<Answer<'_>, ReplayError> {
        let bytes = self.socket.receive(&mut self.answer)?;
        self.traffic.messages += 1;
        Answer::split(&self.answer[..bytes]).ok_or(ReplayError::Answer { function: "socket" })
    }

    fn traffic(&self) -> Traffic {
        self.traffic
    }
}
