//! Two processes of one host meet: the short road from a socket to a channel.
//!
//! [`host`] is the executor's half and [`join`] the client's. Both only put [`handshake`](crate::handshake) and
//! [`link`] together; an executor with a policy of its own (workers in other processes, sessions that go on)
//! uses those directly.

use crate::client::Client;
use crate::error::ChannelError;
use crate::handshake::{
    Attached, Capabilities, Connection, Deadline, Hello, Message, SessionToken, TransportError,
    Version, Welcome, negotiate,
};
use crate::link::{self, MemfdChannel, Options};
use crate::os::liveness::PeerWatch;
use crate::park::FdBlock;
use crate::region::{Expect, Terms};
use crate::worker::Worker;
use std::sync::Arc;
use thiserror::Error;

/// The generation of a channel that [`host`] makes.
const GENERATION: u32 = 1;

/// Why two processes have no channel.
#[derive(Debug, Error)]
pub enum MeetError {
    /// The handshake failed, or the other side refused.
    #[error(transparent)]
    Handshake(#[from] TransportError),
    /// The region is not one to attach to, or could not be made.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The client speaks another protocol or vocabulary, and was told so.
    #[error("the client was refused: {reason}")]
    Refused {
        /// What it was told.
        reason: String,
    },
    /// No random numbers.
    #[error("no session token: {0}")]
    Token(#[from] getrandom::Error),
}

/// What the executor's half has after the meeting.
pub struct Hosted {
    /// The consuming end.
    pub worker: Worker<FdBlock>,
    /// What the client said of itself; its name is made safe to print, but its own choice.
    pub hello: Hello,
    /// The socket, which tells of the client's death.
    pub connection: Connection,
    /// The channel with its descriptors.
    pub channel: MemfdChannel,
}

/// Receives a client's hello, makes a channel of the sizes that it asks for, and hands it over. Sizes are bounded by
/// [`Sizes::check`](crate::layout::Sizes::check) alone; an executor that serves strangers bounds them further.
///
/// # Errors
/// [`MeetError::Refused`] if the client speaks another vocabulary, others if it does not answer in time.
pub fn host(
    connection: Connection,
    vocabulary_hash: u64,
    options: Options,
    deadline: Deadline,
) -> Result<Hosted, MeetError> {
    let hello = connection.receive_hello(deadline)?;
    let ours = Capabilities {
        protocol: Version::OURS,
        features: link::features_here(),
        required_features: 0,
        vocabulary_hash,
    };
    let chosen = match negotiate(&hello, &ours) {
        Ok(chosen) => chosen,
        Err(refusal) => {
            let reason = refusal.to_string();
            connection.send(&Message::Refused(refusal), &[], deadline)?;
            return Err(MeetError::Refused { reason });
        }
    };
    let terms = Terms { vocabulary_hash, features: chosen.features };
    let channel = MemfdChannel::create("ringbar", hello.sizes, terms)?;
    channel.channel().offer(GENERATION);
    let welcome = Welcome {
        protocol: chosen.protocol,
        features: chosen.features,
        token: SessionToken::random()?,
        generation: GENERATION,
        channel: 0,
        region_bytes: channel.region_bytes(),
        worker_pid: std::process::id(),
    };
    connection.send(&Message::Welcome(welcome), &channel.fds(), deadline)?;
    let worker = channel.worker(GENERATION, &connection.watch()?, options)?;
    Ok(Hosted { worker, hello, connection, channel })
}

/// What the client's half has after the meeting.
pub struct Joined {
    /// The producing end.
    pub client: Client,
    /// What the executor answered.
    pub welcome: Welcome,
    /// The socket, which tells of the worker's death and carries requests.
    pub connection: Connection,
    /// The channel with its descriptors.
    pub channel: MemfdChannel,
}

/// Greets an executor and takes up the channel that it hands over, after checking all that the region says.
///
/// # Errors
/// [`MeetError::Handshake`] if it refuses or does not answer, [`MeetError::Channel`] if its region is not as it says.
pub fn join(
    connection: Connection,
    hello: &Hello,
    options: Options,
    deadline: Deadline,
) -> Result<Joined, MeetError> {
    let attached = connection.attach(hello, deadline)?;
    Ok(take_up(connection, hello.vocabulary_hash, attached, options)?)
}

/// The second half of [`join`]: takes up a channel that was handed over.
///
/// # Errors
/// If the region is not as the executor says.
pub fn take_up(
    connection: Connection,
    vocabulary_hash: u64,
    attached: Attached,
    options: Options,
) -> Result<Joined, ChannelError> {
    let welcome = attached.welcome;
    let want = Expect {
        vocabulary_hash,
        features: welcome.features,
        generation: Some(welcome.generation),
    };
    let (worker_bell, client_bell) = (attached.worker_doorbell, attached.client_doorbell);
    let index = welcome.channel as usize;
    let channel = MemfdChannel::receive(attached.region, index, want, worker_bell, client_bell)?;
    // The executor may have handed its end to a worker: the closing of that end, not the maker's death, is what counts.
    let watch = PeerWatch::of_connection(Arc::clone(connection.socket()));
    let client = channel.client(welcome.generation, watch, options)?;
    Ok(Joined { client, welcome, connection, channel })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Ticket;
    use crate::worker::Next;
    use std::time::Duration;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    #[test]
    fn two_sides_meet_and_a_call_crosses() {
        let (ours, theirs) = Connection::pair().unwrap();
        let host = std::thread::spawn(move || {
            let Hosted { mut worker, hello, .. } =
                host(ours, 7, Options::default(), soon()).unwrap();
            let completions = worker.completions().clone();
            loop {
                match worker.next().unwrap() {
                    Next::Command(record) => {
                        let (slot, position) = (record.reply_slot.unwrap(), record.position);
                        completions.reply(Ticket { slot, position }, b"answer");
                    }
                    Next::Idle => {}
                    Next::ClientGone => return hello.name.as_str().to_owned(),
                }
            }
        });
        let hello = Hello::new(7, "a test");
        let joined = join(theirs, &hello, Options::default(), soon()).unwrap();
        assert_eq!(joined.client.caller().unwrap().call(b"question").unwrap(), b"answer");
        joined.client.close();
        assert_eq!(host.join().unwrap(), "a test");
    }

    #[test]
    fn a_client_of_another_vocabulary_is_refused_on_both_sides() {
        let (ours, theirs) = Connection::pair().unwrap();
        let host = std::thread::spawn(move || host(ours, 7, Options::default(), soon()).err());
        let error = join(theirs, &Hello::new(8, "a test"), Options::default(), soon()).err();
        assert!(matches!(error, Some(MeetError::Handshake(TransportError::Refused(_)))));
        assert!(matches!(host.join().unwrap(), Some(MeetError::Refused { .. })));
    }
}
