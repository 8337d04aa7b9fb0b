//! How a program of a virtual machine comes to a channel: it asks, and asks again until it is answered.

use super::GuestError;
use super::device::Bells;
use crate::directory::{self, CLAIMS_VECTOR, Nonce};
use crate::lines::SharedLines;
use crate::os::doorbell::Doorbell;
use crate::region::Directory;
use crate::sync::Arc;
use core::time::Duration;
use std::time::Instant;

/// Time between two looks at the answer.
const LOOK: Duration = Duration::from_millis(1);
/// Time between two doorbells: a monitor drops those that come before it is ready.
const RING_AGAIN: Duration = Duration::from_millis(50);

/// A channel that is this program's, given back when dropped.
pub(super) struct Lease {
    directory: SharedLines,
    bell: Arc<dyn Doorbell>,
    pub(super) channel: usize,
    pub(super) nonce: Nonce,
}

impl Lease {
    /// Still this program's, as the host says.
    pub(super) fn holds(&self) -> bool {
        directory::is_assigned(&self.directory, self.channel, self.nonce)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        directory::give_back(&self.directory, self.channel, self.nonce);
        // The host looks by itself soon.
        let _ = self.bell.ring();
    }
}

/// One program's attempt to get a channel.
struct Claim<'d> {
    directory: &'d Directory,
    bell: Arc<dyn Doorbell>,
    nonce: Nonce,
    end: Instant,
    begun: Instant,
    /// The daemon's heartbeat at the beginning.
    beat: u64,
}

/// Asks for a channel until one is assigned, or `patience` is over.
pub(super) fn claim(
    directory: &Directory,
    bells: &Bells,
    patience: Duration,
) -> Result<Lease, GuestError> {
    let lines = &directory.lines;
    let bell = bells.bell(directory::doorbells(lines), CLAIMS_VECTOR)?;
    let begun = Instant::now();
    let beat = directory::heartbeat(lines);
    let claim = Claim { directory, bell, nonce: nonce(), end: begun + patience, begun, beat };
    claim.run()
}

fn nonce() -> Nonce {
    let random = getrandom::u64().unwrap_or_else(|_| {
        // Only needs to differ between the programs of one machine.
        let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        u64::from(std::process::id()) << 32 ^ time.map_or(0, |time| time.as_nanos() as u64)
    });
    Nonce::new(random).unwrap_or(Nonce::MIN)
}

/// What became of one request.
enum Answer {
    Assigned,
    /// Somebody else has the channel.
    Lost,
    Refused(directory::Refused),
    Silence,
}

impl Claim<'_> {
    fn run(mut self) -> Result<Lease, GuestError> {
        let lines = &self.directory.lines;
        loop {
            let Some(channel) = directory::seems_free(lines, self.directory.channels) else {
                self.pause_or(|| self.all_taken())?;
                continue;
            };
            directory::claim(lines, channel, self.nonce);
            match self.answer(channel) {
                Answer::Assigned => return Ok(self.lease(channel)),
                Answer::Lost => self.pause_or(|| self.all_taken())?,
                // A daemon that ends may have a successor.
                Answer::Refused(
                    why @ (directory::Refused::TooMany | directory::Refused::Ending),
                ) => {
                    self.pause_or(|| GuestError::Refused { why })?;
                    self.nonce = nonce();
                }
                Answer::Refused(why) => return Err(GuestError::Refused { why }),
                Answer::Silence => {
                    directory::give_back(lines, channel, self.nonce);
                    return Err(self.no_answer());
                }
            }
        }
    }

    fn answer(&self, channel: usize) -> Answer {
        let lines = &self.directory.lines;
        let mut ring_at = Instant::now();
        loop {
            match directory::assigned(lines, channel) {
                Some(nonce) if nonce == self.nonce => return Answer::Assigned,
                Some(_) => return Answer::Lost,
                None => {}
            }
            if let Some(why) = directory::refusal(lines, channel, self.nonce) {
                return Answer::Refused(why);
            }
            let mine = directory::claimant(lines, channel) == Some(self.nonce);
            // Assigned between the two looks, and overwritten since: the next look says to whom.
            if !mine && directory::assigned(lines, channel).is_none() {
                return Answer::Lost;
            }
            let now = Instant::now();
            if now >= self.end {
                return Answer::Silence;
            }
            if now >= ring_at {
                ring_at = now + RING_AGAIN;
                // A doorbell that cannot be rung costs time only.
                let _ = self.bell.ring();
            }
            std::thread::sleep(LOOK);
        }
    }

    fn lease(&self, channel: usize) -> Lease {
        let directory = self.directory.lines.clone();
        Lease { directory, bell: Arc::clone(&self.bell), channel, nonce: self.nonce }
    }

    fn pause_or(&self, error: impl FnOnce() -> GuestError) -> Result<(), GuestError> {
        if Instant::now() >= self.end {
            return Err(error());
        }
        std::thread::sleep(LOOK);
        Ok(())
    }

    fn all_taken(&self) -> GuestError {
        if !self.daemon_lives() {
            return self.no_answer();
        }
        GuestError::AllTaken { channels: self.directory.channels, waited: self.begun.elapsed() }
    }

    fn no_answer(&self) -> GuestError {
        GuestError::NoAnswer { waited: self.begun.elapsed(), daemon_lives: self.daemon_lives() }
    }

    fn daemon_lives(&self) -> bool {
        directory::heartbeat(&self.directory.lines) != self.beat
    }
}
