//! How a client and an executor on one host meet.
//!
//! They talk over a unix `SOCK_SEQPACKET` socket, one message a datagram, file descriptors beside it (`SCM_RIGHTS`):
//!
//! ```text
//! client                                             executor
//!   Hello { protocol, features, vocabulary, sizes }  ->
//!                                                    <-  Welcome { .. } + region memfd, worker's bell, client's bell
//!                                                     or Refused { code, text, retry_after_ms }
//!   ... the ring carries everything; the socket's hang-up tells each side that the other died ...
//!   Grow { bytes }                                   ->
//!                                                    <-  Grown { segment, len } + memfd   or Refused
//!   Bye                                              ->
//! ```
//!
//! A VM has no such socket; there the directory of the region does the same job (see the protocol).
//!
//! | module | holds |
//! |---|---|
//! | [`message`] | the messages |
//! | [`wire`] | their bytes, and a strict decoder without any I/O, which is what the fuzzer drives |
//! | [`error`] | what can be wrong with them |
//! | [`text`] | short texts of a peer, safe to print |
//! | [`negotiate`](mod@negotiate) | which protocol two versions agree on |
//! | [`transport`] | sending and receiving with time limits, without ever leaking a descriptor |
//! | [`listener`] | the socket file: private, never stolen from a living executor |
//!
//! # What a hostile peer can do here
//!
//! Nothing but be dropped: every receive has a time limit, so an unfinished handshake ends; a message is decoded from a
//! private copy; every field is checked and reserved bytes must be zero, so each message has exactly one encoding;
//! descriptors in excess are closed, and so are those of a refused message; texts hold no control characters.

#![cfg(not(ringbar_loom))]
#![forbid(unsafe_code)]

pub mod error;
pub mod listener;
pub mod message;
pub mod negotiate;
pub mod text;
pub mod transport;
pub mod wire;

#[doc(inline)]
pub use error::HandshakeError;
#[doc(inline)]
pub use listener::{Listener, SocketFile};
#[doc(inline)]
pub use message::{
    Grow, Grown, Hello, Message, Refusal, RefusalCode, SessionToken, Version, Welcome,
};
#[doc(inline)]
pub use negotiate::{Capabilities, Chosen, negotiate};
#[doc(inline)]
pub use text::Text;
#[doc(inline)]
pub use transport::{Attached, Connection, Deadline, Received, TransportError};
#[doc(inline)]
pub use wire::decode;
