//! Connections until they are a session: who is let in, what they say, and which session that opens or goes on with.

use super::process::WorkerProcess;
use super::region::Region;
use super::session::{Opening, Session, State};
use super::{CLIENT, CONTROL, Daemon, GUEST, LISTENER, WORKER, token};
use crate::failpoints::{self, Point, Side};
use crate::job::{self, Job};
use ringbar::handshake::{
    Connection, Deadline, Hello, Message, Refusal, RefusalCode, SessionToken, TransportError,
    Version, Welcome, negotiate,
};
use ringbar::layout::Sizes;
use ringbar::link::arena_address;
use ringbar::os::liveness::PeerCredentials;
use ringbar::os::{Interest, Waiter};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Connections that are accepted at one look.
pub(super) const ACCEPTS_A_LOOK: usize = 16;
/// How long nobody is accepted after accepting failed for lack of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a refused connection may stay open.
const REFUSED_LIMIT: Duration = Duration::from_millis(250);

/// A connection that has not said hello yet, or was refused before it did.
///
/// A refused one is closed when it speaks: closing a socket with an unread message would cost its client the refusal.
pub(super) struct Guest {
    connection: Connection,
    pub(super) until: Instant,
    refused: bool,
}

impl Daemon {
    pub(super) fn accept(&mut self) {
        for _ in 0..ACCEPTS_A_LOOK {
            let accepted = match &self.listener {
                Some(listener) => listener.try_accept(),
                None => return,
            };
            match accepted {
                Ok(None) => return,
                Ok(Some(connection)) => {
                    failpoints::hit(Point::DaemonAccepted);
                    self.greet(connection);
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting failed, trying again in {ACCEPT_PAUSE:?}");
                    self.waiter.remove(LISTENER);
                    self.listen_at = Some(Instant::now() + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    /// Lets a connection say hello, if its user may and there are not too many.
    fn greet(&mut self, connection: Connection) {
        let now = Instant::now();
        let limits = &self.config.limits;
        let (mut until, mut refused) = (now + limits.handshake_limit, false);
        let guests_max = 2 * limits.handshakes_max;
        if let Err(refusal) = self.admit(&connection, now) {
            self.refuse(&connection, refusal);
            if self.guests.len() >= guests_max {
                return;
            }
            (until, refused) = (now + REFUSED_LIMIT, true);
        }
        failpoints::hit(Point::DaemonAdmitted);
        let number = self.next_number();
        self.watch(connection.socket().clone(), token(number, GUEST), Interest::Readable);
        self.guests.insert(number, Guest { connection, until, refused });
    }

    fn admit(&mut self, connection: &Connection, now: Instant) -> Result<(), Refusal> {
        check_user(connection)?;
        if let Err(wait) = self.rate.take(now) {
            let limit = self.config.limits.connections_per_s;
            return Err(busy(&format!("found more than {limit} connections a second"), wait));
        }
        let limit = self.config.limits.handshakes_max;
        if self.guests.values().filter(|guest| !guest.refused).count() >= limit {
            let text =
                format!("found {limit} connections that have not said hello, expected fewer");
            return Err(busy(&text, self.config.limits.handshake_limit));
        }
        Ok(())
    }

    /// Tells a connection why it is refused.
    pub(super) fn refuse(&mut self, connection: &Connection, refusal: Refusal) {
        self.counts.refused += 1;
        tracing::warn!(%refusal, "a client was refused");
        let now = Deadline::after(Duration::ZERO);
        // Best effort: the client may be gone.
        let _ = connection.send(&Message::Refused(refusal), &[], now);
    }

    /// A connection has something to say, or is gone.
    pub(super) fn hear(&mut self, number: u64) {
        let Some(guest) = self.guests.get(&number) else { return };
        if guest.refused {
            // Whatever it is, it is taken: see `Guest`.
            drop(guest.connection.receive_now());
            drop(self.dismiss(number));
            return;
        }
        let heard = match guest.connection.receive_now() {
            Ok(None) => return,
            Ok(Some(received)) => match received.message {
                Message::Hello(hello) => Ok(hello),
                other => Err(Refusal::new(
                    RefusalCode::Malformed,
                    &format!("found the message {}, expected Hello", other.name()),
                )),
            },
            Err(TransportError::Malformed(wrong)) => Err(wrong.refusal()),
            Err(error) => Err(Refusal::new(RefusalCode::Malformed, &error.to_string())),
        };
        let Some(connection) = self.dismiss(number) else { return };
        let welcomed = heard.and_then(|hello| self.welcome(number, &connection, &hello));
        if let Err(refusal) = welcomed {
            self.refuse(&connection, refusal);
        }
    }

    pub(super) fn dismiss(&mut self, number: u64) -> Option<Connection> {
        self.waiter.remove(token(number, GUEST));
        self.guests.remove(&number).map(|guest| guest.connection)
    }

    /// A session for a client: a new one, or its old one in the next generation.
    fn welcome(
        &mut self,
        number: u64,
        connection: &Connection,
        hello: &Hello,
    ) -> Result<(), Refusal> {
        failpoints::hit(Point::DaemonHeard);
        let chosen = negotiate(hello, &self.capabilities)?;
        let number = match hello.resume {
            Some(resume) => self.resumable(&resume, chosen.features)?,
            None => self.open(number, hello, chosen.features)?,
        };
        let served = self.start_worker(number, connection, chosen.protocol);
        if served.is_err() {
            self.free(number);
        }
        served
    }

    fn open(&mut self, number: u64, hello: &Hello, features: u64) -> Result<u64, Refusal> {
        let limits = &self.config.limits;
        if self.sessions.len() >= limits.sessions_max {
            let text = format!("found {0} sessions, expected fewer than {0}", limits.sessions_max);
            return Err(busy(&text, Duration::from_secs(1)));
        }
        let (found, expected) =
            (ringbar::region::region_bytes(&[hello.sizes]), limits.client_memory_bytes);
        if found > expected {
            let text = format!(
                "found a channel of {found} bytes, expected at most {expected}; try: a smaller arena, or a higher --client-memory"
            );
            return Err(Refusal::new(RefusalCode::Limits, &text));
        }
        let token = SessionToken::random().map_err(|e| internal(&e))?;
        let sizes = self.with_address(hello.sizes);
        let region = Region::create(sizes, features).map_err(|e| internal(&e))?;
        let name = hello.name.as_str().to_owned();
        let opening = Opening { token, name, features, sizes, region };
        self.sessions.insert(number, Session::new(opening, Instant::now()));
        self.counts.opened += 1;
        failpoints::hit(Point::DaemonOpened);
        Ok(number)
    }

    /// Chooses where both sides map the arena, unless the client did.
    fn with_address(&self, sizes: Sizes) -> Sizes {
        let client_bytes = self.config.limits.client_memory_bytes;
        match sizes.arena_address {
            0 => Sizes { arena_address: arena_address(self.counts.opened, client_bytes), ..sizes },
            _ => sizes,
        }
    }

    /// The session with that token, if its old worker is reaped.
    fn resumable(&mut self, resume: &SessionToken, features: u64) -> Result<u64, Refusal> {
        // All of them are compared, each in constant time.
        let found = self.sessions.iter_mut().filter(|(_, session)| session.token == *resume).last();
        let (&number, session) = found.ok_or_else(|| {
            let text = "found no session with this token; likely cause: it was given up after its grace, or never was; try: a new session";
            Refusal::new(RefusalCode::UnknownSession, text)
        })?;
        if let State::Serving(worker) = &mut session.state {
            worker.kill();
            let text = "the session's old worker is not reaped yet";
            return Err(Refusal::retry_after(RefusalCode::Reaping, text, 10));
        }
        if session.features != features {
            let text = format!(
                "found the features {features:#x}, expected {:#x} as in the generation before",
                session.features
            );
            return Err(Refusal::new(RefusalCode::Features, &text));
        }
        self.counts.resumed += 1;
        failpoints::hit(Point::DaemonResumed);
        Ok(number)
    }

    /// Offers the next generation, starts its worker, and tells the client, then the worker: if this process ends between
    /// the two, the worker ends as well, and with it the last copy of the client's socket, so that the client knows at once.
    fn start_worker(
        &mut self,
        number: u64,
        connection: &Connection,
        protocol: Version,
    ) -> Result<(), Refusal> {
        let Some(session) = self.sessions.get_mut(&number) else {
            return Err(internal(&"the session is gone"));
        };
        let generation = session.offer_next();
        failpoints::hit(Point::DaemonOffered);
        let bytes = session.region.bytes();
        let job = Job {
            session: number,
            generation,
            features: session.features,
            offset: job::ONLY_CHANNEL_OFFSET,
            sizes: session.sizes,
            client: job::ClientKind::Process,
            device: self.config.device.clone(),
            options: self.config.worker.clone(),
            segment_bytes_max: self.config.limits.client_memory_bytes.saturating_sub(bytes),
        };
        let [memfd, worker_bell, client_bell] = session.region.fds();
        let fds = [memfd, worker_bell, client_bell, connection.as_fd()];
        let failpoint = failpoints::take_for(&mut self.config.failpoint, Side::Worker);
        let started = WorkerProcess::start(&self.config.worker_program, number, failpoint);
        let failed = |e| internal(&format!("no worker process: {e}"));
        let worker = started.map_err(failed)?;
        failpoints::hit(Point::DaemonSpawned);
        let welcome = Welcome {
            protocol,
            features: session.features,
            token: session.token,
            generation,
            channel: 0,
            region_bytes: bytes,
            worker_pid: worker.pid(),
        };
        // A client that is gone by now is noticed by its worker.
        let now = Deadline::after(Duration::ZERO);
        let _ = connection.send(&Message::Welcome(welcome), &session.region.fds(), now);
        failpoints::hit(Point::DaemonWelcomed);
        let worker = worker.give(&job, &fds).map_err(failed)?;
        failpoints::hit(Point::DaemonGave);
        let control = worker.control().cloned().map(|fd| (fd, CONTROL));
        let watched = [(worker.pidfd().clone(), WORKER)];
        let client = session.set_client(connection).cloned().map(|fd| (fd, CLIENT));
        tracing::info!(
            session = number,
            generation,
            client = session.client_pid,
            worker = worker.pid(),
            "serving"
        );
        session.state = State::Serving(worker);
        for (fd, part) in watched.into_iter().chain(control).chain(client) {
            self.watch(fd, token(number, part), Interest::Readable);
        }
        failpoints::hit(Point::DaemonServing);
        Ok(())
    }

    /// Drops whoever had time enough to say hello.
    pub(super) fn expire_guests(&mut self, now: Instant) {
        let late: Vec<_> =
            self.guests.iter().filter(|(_, guest)| guest.until <= now).map(|(&n, _)| n).collect();
        for number in late {
            let refused = self.guests.get(&number).is_some_and(|guest| guest.refused);
            let Some(connection) = self.dismiss(number) else { continue };
            if !refused {
                let limit = self.config.limits.handshake_limit;
                let text = format!("found no hello within {limit:?}");
                self.refuse(&connection, Refusal::new(RefusalCode::Malformed, &text));
            }
        }
    }
}

fn check_user(connection: &Connection) -> Result<(), Refusal> {
    let peer = connection.peer_credentials().map_err(|e| internal(&e))?;
    check_credentials(peer)
}

fn check_credentials(peer: PeerCredentials) -> Result<(), Refusal> {
    if peer.is_same_user() {
        return Ok(());
    }
    let expected = rustix::process::geteuid().as_raw();
    let text = format!("found user {}, expected {expected}; try: run as that user", peer.uid);
    Err(Refusal::new(RefusalCode::Credentials, &text))
}

fn busy(text: &str, wait: Duration) -> Refusal {
    let retry_after_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX).max(1);
    Refusal::retry_after(RefusalCode::Busy, text, retry_after_ms)
}

fn internal(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(RefusalCode::Internal, &error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_user_is_refused_by_name_and_the_daemons_own_is_not() {
        let uid = rustix::process::geteuid().as_raw();
        let own = PeerCredentials { pid: 1, uid, gid: 0 };
        assert!(check_credentials(own).is_ok());
        let refusal = check_credentials(PeerCredentials { uid: uid + 1, ..own }).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::Credentials);
        assert!(refusal.to_string().contains(&format!("found user {}", uid + 1)), "{refusal}");
    }
}
