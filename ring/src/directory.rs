//! Who has which channel of a region that serves several programs (PROTOCOL.md, section 2).
//!
//! A guest asks for a channel by writing a nonce of its own into a claim word; that is a request and no more. The channel
//! is its own when the host has answered by copying the nonce into the channel's assignment word, which only the host
//! writes, and from a private table that no guest can reach. Where a socket hands channels out (memfd regions), claims are
//! not used.

use crate::layout::{CHANNELS_MAX, directory_line};
use crate::lines::{Lines, SharedLines};
use crate::sync::order;

const ASSIGNMENT: usize = 2;

/// A claimant's name for itself: random, never 0.
pub type Nonce = core::num::NonZeroU64;

fn entry(channel: usize) -> usize {
    directory_line::ENTRIES + channel
}

fn claim_line(channel: usize) -> usize {
    directory_line::CLAIMS + channel
}

/// Guest: asks for `channel`. Somebody else may ask at the same time: only [`is_assigned`] tells.
///
/// The number of a channel wraps at [`CHANNELS_MAX`].
pub fn claim(directory: &SharedLines, channel: usize, nonce: Nonce) {
    directory.store(claim_line(channel % CHANNELS_MAX), 0, nonce.get(), order!(G1, Release));
}

/// Guest: gives `channel` back, or withdraws the request for it.
pub fn give_back(directory: &SharedLines, channel: usize) {
    directory.store(claim_line(channel % CHANNELS_MAX), 0, 0, order!(G1, Release));
}

/// Guest: whether the host has given `channel` to the claimant that calls itself `nonce`.
pub fn is_assigned(directory: &SharedLines, channel: usize, nonce: Nonce) -> bool {
    directory.load(entry(channel % CHANNELS_MAX), ASSIGNMENT, order!(G2, Acquire)) == nonce.get()
}

/// Guest: the first channel that seems free, if any. It may be taken before it is claimed.
pub fn seems_free(directory: &SharedLines, channels: usize) -> Option<usize> {
    (0..channels.min(CHANNELS_MAX)).find(|&channel| {
        let assigned = directory.load(entry(channel), ASSIGNMENT, order!(G2, Acquire));
        assigned == 0 && directory.load(claim_line(channel), 0, order!(G2, Acquire)) == 0
    })
}

/// What changed in the claims of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Somebody asks for a free channel.
    Asked(Nonce),
    /// The one who has it gave it back.
    GivenBack,
    /// Another claimant wrote over the claim of the one who has it: it is not answered, the channel stays where it is.
    Contested(Nonce),
}

/// The host's own table of assignments: private, so that no guest can change who has what.
#[derive(Debug)]
pub struct Assignments {
    directory: SharedLines,
    given: Vec<Option<Nonce>>,
}

impl Assignments {
    /// All of `channels` free.
    pub fn new(directory: SharedLines, channels: usize) -> Self {
        let given = vec![None; channels.min(CHANNELS_MAX)];
        Self { directory, given }
    }

    /// Who has `channel`.
    pub fn holder(&self, channel: usize) -> Option<Nonce> {
        self.given.get(channel).copied().flatten()
    }

    /// Looks at the claim of each channel once; changes nothing.
    pub fn requests(&self) -> impl Iterator<Item = (usize, Request)> + '_ {
        self.given.iter().enumerate().filter_map(|(channel, holder)| {
            let claim = self.directory.load(claim_line(channel), 0, order!(G2, Acquire));
            let request = match (holder, Nonce::new(claim)) {
                (None, Some(nonce)) => Request::Asked(nonce),
                (Some(_), None) => Request::GivenBack,
                (Some(holder), Some(nonce)) if *holder != nonce => Request::Contested(nonce),
                _ => return None,
            };
            Some((channel, request))
        })
    }

    /// Gives `channel` to `nonce`, after its new generation was offered. `false` if it is not free or does not exist.
    pub fn assign(&mut self, channel: usize, nonce: Nonce) -> bool {
        let Some(place @ None) = self.given.get_mut(channel) else { return false };
        *place = Some(nonce);
        self.directory.store(entry(channel), ASSIGNMENT, nonce.get(), order!(G1, Release));
        true
    }

    /// Takes `channel` back, after its worker is reaped: it is free for the next claim.
    pub fn free(&mut self, channel: usize) {
        if let Some(place) = self.given.get_mut(channel) {
            *place = None;
            self.directory.store(claim_line(channel), 0, 0, order!(G1, Release));
            self.directory.store(entry(channel), ASSIGNMENT, 0, order!(G1, Release));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::HEADER_LINES;
    use crate::sync::Ordering;
    use crate::testing::heap_lines;

    fn nonce(n: u64) -> Nonce {
        Nonce::new(n).expect("not zero")
    }

    #[test]
    fn a_claim_is_only_a_request_until_the_host_answers_it() {
        let directory = heap_lines(HEADER_LINES);
        let mut host = Assignments::new(directory.clone(), 2);
        claim(&directory, 1, nonce(7));
        assert!(!is_assigned(&directory, 1, nonce(7)));
        assert_eq!(host.requests().collect::<Vec<_>>(), [(1, Request::Asked(nonce(7)))]);
        assert!(host.assign(1, nonce(7)));
        assert!(is_assigned(&directory, 1, nonce(7)));
        assert!(!is_assigned(&directory, 1, nonce(8)), "nobody else has it");
        assert_eq!(host.requests().count(), 0);
    }

    #[test]
    fn two_claimants_of_one_channel_are_told_apart() {
        let directory = heap_lines(HEADER_LINES);
        let mut host = Assignments::new(directory.clone(), 1);
        claim(&directory, 0, nonce(7));
        claim(&directory, 0, nonce(8));
        for (channel, request) in host.requests().collect::<Vec<_>>() {
            let Request::Asked(nonce) = request else { panic!("{request:?}") };
            assert!(host.assign(channel, nonce));
        }
        assert_eq!((0..2).filter(|n| is_assigned(&directory, 0, nonce(7 + n))).count(), 1);
        assert!(!host.assign(0, nonce(9)), "it is taken");
    }

    #[test]
    fn whoever_scribbles_on_claims_and_assignments_changes_nothing_at_the_host() {
        let directory = heap_lines(HEADER_LINES);
        let mut host = Assignments::new(directory.clone(), 1);
        claim(&directory, 0, nonce(7));
        host.assign(0, nonce(7));
        claim(&directory, 0, nonce(66));
        directory.store(entry(0), ASSIGNMENT, 66, Ordering::Relaxed);
        assert_eq!(host.holder(0), Some(nonce(7)));
        assert_eq!(host.requests().collect::<Vec<_>>(), [(0, Request::Contested(nonce(66)))]);
    }

    #[test]
    fn a_channel_given_back_can_be_claimed_again() {
        let directory = heap_lines(HEADER_LINES);
        let mut host = Assignments::new(directory.clone(), 2);
        assert_eq!(seems_free(&directory, 2), Some(0));
        claim(&directory, 0, nonce(7));
        assert_eq!(seems_free(&directory, 2), Some(1), "asked for, so not free");
        host.assign(0, nonce(7));
        give_back(&directory, 0);
        assert_eq!(host.requests().collect::<Vec<_>>(), [(0, Request::GivenBack)]);
        host.free(0);
        assert!(!is_assigned(&directory, 0, nonce(7)));
        assert_eq!(seems_free(&directory, 2), Some(0));
        assert!(!host.assign(5, nonce(7)), "there is no such channel");
    }
}
