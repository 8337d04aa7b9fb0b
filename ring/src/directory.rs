//! Who has which channel of a region that serves several programs (PROTOCOL.md, section 2).
//!
//! A guest asks for a channel by writing a nonce of its own into a claim word; that is a request and no more. The channel
//! is its own when the host has answered by copying the nonce into the channel's assignment word, which only the host
//! writes, and from a private table that no guest can reach. Where a socket hands channels out (memfd regions), claims are
//! not used.

#[cfg(not(ringbar_loom))]
use crate::layout::DirectoryHead;
use crate::layout::{CHANNELS_MAX, directory_line};
use crate::lines::Lines;
#[cfg(not(ringbar_loom))]
use crate::lines::SharedLines;
#[cfg(not(ringbar_loom))]
use crate::region::Place;
use crate::sync::{Ordering, order};

const ASSIGNMENT: usize = 2;
const REFUSED_NONCE: usize = 3;
const REFUSED_REASON: usize = 4;
/// Words of the directory's first line.
const HEARTBEAT: usize = 4;
const DOORBELLS: usize = 5;

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
pub fn claim<L: Lines>(directory: &L, channel: usize, nonce: Nonce) {
    directory.store(claim_line(channel % CHANNELS_MAX), 0, nonce.get(), order!(D1, Release));
}

/// Guest: gives `channel` back, or withdraws the request for it. Does nothing where the channel is neither assigned to
/// `nonce` nor asked for by it: somebody else may have it by now.
pub fn give_back<L: Lines>(directory: &L, channel: usize, nonce: Nonce) {
    let asks = claimant(directory, channel) == Some(nonce);
    if asks || is_assigned(directory, channel, nonce) {
        directory.store(claim_line(channel % CHANNELS_MAX), 0, 0, order!(D1, Release));
    }
}

/// Guest: who asked for `channel` last, as its claim word says.
pub fn claimant<L: Lines>(directory: &L, channel: usize) -> Option<Nonce> {
    Nonce::new(directory.load(claim_line(channel % CHANNELS_MAX), 0, order!(D2, Acquire)))
}

/// Guest: who has `channel`, as its assignment word says.
pub fn assigned<L: Lines>(directory: &L, channel: usize) -> Option<Nonce> {
    Nonce::new(directory.load(entry(channel % CHANNELS_MAX), ASSIGNMENT, order!(D2, Acquire)))
}

/// Guest: whether the host has given `channel` to the claimant that calls itself `nonce`.
pub fn is_assigned<L: Lines>(directory: &L, channel: usize, nonce: Nonce) -> bool {
    assigned(directory, channel) == Some(nonce)
}

/// Guest: the first channel that seems free, if any. It may be taken before it is claimed.
pub fn seems_free<L: Lines>(directory: &L, channels: usize) -> Option<usize> {
    (0..channels.min(CHANNELS_MAX)).find(|&channel| {
        assigned(directory, channel).is_none() && claimant(directory, channel).is_none()
    })
}

/// Why a host refused a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No worker could be started.
    NoWorker,
    /// Too many claims in a short time.
    TooMany,
    /// The host's daemon is ending.
    Ending,
    /// A reason that this version does not know.
    Unknown(u64),
}

impl Refused {
    fn number(self) -> u64 {
        match self {
            Self::NoWorker => 1,
            Self::TooMany => 2,
            Self::Ending => 3,
            Self::Unknown(number) => number,
        }
    }

    fn from_number(number: u64) -> Self {
        match number {
            1 => Self::NoWorker,
            2 => Self::TooMany,
            3 => Self::Ending,
            other => Self::Unknown(other),
        }
    }
}

impl core::fmt::Display for Refused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoWorker => f.write_str("no worker could be started"),
            Self::TooMany => f.write_str("too many claims in a short time"),
            Self::Ending => f.write_str("the host's daemon is ending"),
            Self::Unknown(number) => write!(f, "reason {number}"),
        }
    }
}

/// Guest: whether the host refused the claim of `nonce` for `channel`, and why.
pub fn refusal<L: Lines>(directory: &L, channel: usize, nonce: Nonce) -> Option<Refused> {
    let line = entry(channel % CHANNELS_MAX);
    let refused = directory.load(line, REFUSED_NONCE, order!(D2, Acquire)) == nonce.get();
    let reason = || directory.load(line, REFUSED_REASON, Ordering::Relaxed);
    refused.then(|| Refused::from_number(reason()))
}

/// Host: says who has `channel`, after its generation was offered. [`Assignments`] decides that.
pub fn publish_assignment<L: Lines>(directory: &L, channel: usize, holder: Option<Nonce>) {
    let nonce = holder.map_or(0, Nonce::get);
    directory.store(entry(channel % CHANNELS_MAX), ASSIGNMENT, nonce, order!(D1, Release));
}

/// Host: says why the claim of `nonce` is refused. [`Assignments::refuse`] decides that.
pub fn publish_refusal<L: Lines>(directory: &L, channel: usize, nonce: Nonce, why: Refused) {
    let line = entry(channel % CHANNELS_MAX);
    directory.store(line, REFUSED_REASON, why.number(), Ordering::Relaxed);
    directory.store(line, REFUSED_NONCE, nonce.get(), order!(D1, Release));
}

/// The host daemon's heartbeat: counts up at least every 100 ms while a daemon answers claims.
pub fn heartbeat<L: Lines>(directory: &L) -> u64 {
    directory.load(0, HEARTBEAT, Ordering::Relaxed)
}

/// Host: one beat more. A daemon that was restarted goes on counting where the one before stopped.
pub fn beat<L: Lines>(directory: &L) {
    directory.store(0, HEARTBEAT, heartbeat(directory).wrapping_add(1), Ordering::Relaxed);
}

/// Doorbell vectors of the region's device in each direction; 0 where there are no doorbells and both sides poll.
pub fn doorbells<L: Lines>(directory: &L) -> u16 {
    directory.load(0, DOORBELLS, order!(D2, Acquire)) as u16
}

/// Host: says how many doorbell vectors there are.
pub fn set_doorbells<L: Lines>(directory: &L, vectors: u16) {
    directory.store(0, DOORBELLS, vectors.into(), order!(D1, Release));
}

/// The doorbell vector that tells the host of claims.
pub const CLAIMS_VECTOR: u16 = 0;

/// The doorbell vector of `channel`, in both directions, where a device has `vectors` of them.
pub fn vector(channel: usize, vectors: u16) -> u16 {
    match vectors {
        0 | 1 => CLAIMS_VECTOR,
        more => 1 + (channel % usize::from(more - 1)) as u16,
    }
}

/// Host: the words of a directory that stay as they are for good, as the host knows them by itself: head and doorbells,
/// and where the channels lie.
#[cfg(not(ringbar_loom))]
#[derive(Clone, Debug)]
pub struct Constants {
    /// Line, word, value; the magic last.
    words: Vec<(usize, usize, u64)>,
}

#[cfg(not(ringbar_loom))]
impl Constants {
    /// Those of a region of so many bytes with channels at `places`, and so many doorbell vectors in each direction.
    pub fn new(region_bytes: u64, places: &[Place], vectors: u16) -> Self {
        let entries = places.iter().enumerate().flat_map(|(channel, place)| {
            let line = entry(channel);
            [(line, 0, place.offset), (line, 1, place.identity.channel_bytes)]
        });
        let head: [u64; 8] = bytemuck::cast(DirectoryHead::new(region_bytes, places.len()).to_le());
        let head = head.into_iter().enumerate().rev().filter_map(|(word, raw)| match word {
            HEARTBEAT => None,
            DOORBELLS => Some((0, word, vectors.into())),
            _ => Some((0, word, u64::from_le(raw))),
        });
        Self { words: entries.chain(head).collect() }
    }

    /// Line, word and value of each: where they differ, two builds do not lay out a region of these sizes alike.
    pub fn words(&self) -> &[(usize, usize, u64)] {
        &self.words
    }

    /// Writes anew what a guest wrote over, the magic last. Returns how many words that were.
    pub fn repair<L: Lines>(&self, directory: &L) -> usize {
        let differs = |&&(line, word, value): &&(usize, usize, u64)| {
            directory.load(line, word, Ordering::Relaxed) != value
        };
        let wrong = self.words.iter().filter(differs);
        wrong
            .inspect(|&&(line, word, value)| {
                directory.store(line, word, value, order!(D1, Release))
            })
            .count()
    }
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
#[cfg(not(ringbar_loom))]
#[derive(Debug)]
pub struct Assignments {
    directory: SharedLines,
    given: Vec<Option<Nonce>>,
}

#[cfg(not(ringbar_loom))]
impl Assignments {
    /// All of `channels` free.
    pub fn new(directory: SharedLines, channels: usize) -> Self {
        let given = vec![None; channels.min(CHANNELS_MAX)];
        Self { directory, given }
    }

    /// Goes on with what an earlier host process had given away, as it wrote that down outside the region: it may have ended
    /// between that and telling the claimants, so they are told anew.
    pub fn resume(directory: SharedLines, given: Vec<Option<Nonce>>) -> Self {
        let assignments = Self { directory, given };
        assignments.repair();
        assignments
    }

    /// Tells all claimants anew what they have, where something was written over it. Returns for how many channels.
    pub fn repair(&self) -> usize {
        let told = self.given.iter().enumerate();
        let wrong =
            told.filter(|(channel, holder)| assigned(&self.directory, *channel) != **holder);
        wrong
            .inspect(|(channel, holder)| publish_assignment(&self.directory, *channel, **holder))
            .count()
    }

    /// The same where nobody has claimed anything yet: takes back what seems claimed of free channels.
    pub fn restore(&self) {
        self.repair();
        let free = self.given.iter().enumerate().filter(|(_, holder)| holder.is_none());
        for (channel, _) in free {
            self.directory.store(claim_line(channel), 0, 0, order!(D1, Release));
        }
    }

    /// Who has `channel`.
    pub fn holder(&self, channel: usize) -> Option<Nonce> {
        self.given.get(channel).copied().flatten()
    }

    /// Looks at the claim of each channel once; changes nothing.
    pub fn requests(&self) -> impl Iterator<Item = (usize, Request)> + '_ {
        self.given.iter().enumerate().filter_map(|(channel, holder)| {
            let claim = self.directory.load(claim_line(channel), 0, order!(D2, Acquire));
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
        publish_assignment(&self.directory, channel, Some(nonce));
        true
    }

    /// Says that the claim of `nonce` for the free `channel` is refused, and takes the claim away.
    pub fn refuse(&self, channel: usize, nonce: Nonce, why: Refused) {
        if self.given.get(channel).is_none_or(Option::is_some) {
            return;
        }
        publish_refusal(&self.directory, channel, nonce, why);
        if claimant(&self.directory, channel) == Some(nonce) {
            self.directory.store(claim_line(channel), 0, 0, order!(D1, Release));
        }
    }

    /// Takes `channel` back, after its worker is reaped: it is free for the next claim.
    pub fn free(&mut self, channel: usize) {
        if let Some(place) = self.given.get_mut(channel) {
            *place = None;
            self.directory.store(claim_line(channel), 0, 0, order!(D1, Release));
            publish_assignment(&self.directory, channel, None);
        }
    }
}

#[cfg(all(test, not(ringbar_loom)))]
mod tests {
    use super::*;
    use crate::layout::HEADER_LINES;
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
    fn what_was_scribbled_over_the_claims_of_free_channels_is_taken_back() {
        let directory = heap_lines(HEADER_LINES);
        let mut host = Assignments::new(directory.clone(), 2);
        host.assign(1, nonce(7));
        claim(&directory, 0, nonce(66));
        (0..2).for_each(|at| directory.store(entry(at), ASSIGNMENT, 66, Ordering::Relaxed));
        assert_eq!(seems_free(&directory, 2), None);
        host.restore();
        assert_eq!(seems_free(&directory, 2), Some(0));
        assert!(is_assigned(&directory, 1, nonce(7)), "and that of a taken one is told again");
    }

    #[test]
    fn a_channel_given_back_can_be_claimed_again() {
        let directory = heap_lines(HEADER_LINES);
        let mut host = Assignments::new(directory.clone(), 2);
        assert_eq!(seems_free(&directory, 2), Some(0));
        claim(&directory, 0, nonce(7));
        assert_eq!(seems_free(&directory, 2), Some(1), "asked for, so not free");
        host.assign(0, nonce(7));
        give_back(&directory, 0, nonce(8));
        assert_eq!(host.requests().count(), 0, "it is somebody else's");
        give_back(&directory, 0, nonce(7));
        assert_eq!(host.requests().collect::<Vec<_>>(), [(0, Request::GivenBack)]);
        host.free(0);
        assert!(!is_assigned(&directory, 0, nonce(7)));
        assert_eq!(seems_free(&directory, 2), Some(0));
        assert!(!host.assign(5, nonce(7)), "there is no such channel");
    }

    #[test]
    fn a_refused_claim_is_told_to_its_claimant_alone() {
        let directory = heap_lines(HEADER_LINES);
        let mut host = Assignments::new(directory.clone(), 2);
        claim(&directory, 1, nonce(7));
        assert_eq!(refusal(&directory, 1, nonce(7)), None);
        host.refuse(1, nonce(7), Refused::TooMany);
        assert_eq!(refusal(&directory, 1, nonce(7)), Some(Refused::TooMany));
        assert_eq!(refusal(&directory, 1, nonce(8)), None);
        assert_eq!(claimant(&directory, 1), None, "it may be asked for again");
        host.assign(1, nonce(8));
        host.refuse(1, nonce(9), Refused::Ending);
        assert_eq!(refusal(&directory, 1, nonce(9)), None, "a taken channel refuses nobody");
    }

    #[test]
    fn channels_share_the_vectors_that_are_not_for_claims() {
        let of = |vectors| (0..4).map(|channel| vector(channel, vectors)).collect::<Vec<_>>();
        assert_eq!(of(0), [0; 4]);
        assert_eq!(of(1), [0; 4]);
        assert_eq!(of(2), [1; 4]);
        assert_eq!(of(4), [1, 2, 3, 1]);
        assert_eq!(of(5), [1, 2, 3, 4]);
    }

    #[test]
    fn the_daemons_heart_goes_on_where_it_stopped() {
        let directory = heap_lines(HEADER_LINES);
        beat(&directory);
        beat(&directory);
        assert_eq!(heartbeat(&directory), 2);
        set_doorbells(&directory, 4);
        assert_eq!((heartbeat(&directory), doorbells(&directory)), (2, 4));
    }

    #[test]
    fn what_was_scribbled_over_a_directory_is_found_and_written_anew_once() {
        let directory = heap_lines(HEADER_LINES);
        let identity = crate::testing::small_sizes().identity(1, 0);
        let places = [4096, 8192].map(|offset| Place { offset, identity });
        let constants = Constants::new(1 << 20, &places, 4);
        assert!(constants.repair(&directory) > 0, "it holds zeros");
        beat(&directory);
        let mut host = Assignments::new(directory.clone(), 2);
        host.assign(1, nonce(7));
        assert_eq!((constants.repair(&directory), host.repair()), (0, 0), "it is whole");
        let words = |line: usize, count| (0..count).map(move |word| (line, word));
        let owned = words(0, 8).chain(words(entry(0), 3)).chain(words(entry(1), 3));
        for (line, word) in owned.filter(|&place| place != (0, HEARTBEAT)) {
            let good = directory.load(line, word, Ordering::Relaxed);
            directory.store(line, word, good ^ 66, Ordering::Relaxed);
            assert_eq!(constants.repair(&directory) + host.repair(), 1, "{line}.{word}");
            assert_eq!(directory.load(line, word, Ordering::Relaxed), good, "{line}.{word}");
        }
        assert_eq!((heartbeat(&directory), doorbells(&directory)), (1, 4));
    }

    #[test]
    fn a_restarted_host_goes_on_with_what_was_given_whatever_the_region_says() {
        let directory = heap_lines(HEADER_LINES);
        claim(&directory, 0, nonce(66));
        let host = Assignments::resume(directory.clone(), vec![Some(nonce(7)), None]);
        assert_eq!((host.holder(0), host.holder(1)), (Some(nonce(7)), None));
        assert_eq!(host.requests().collect::<Vec<_>>(), [(0, Request::Contested(nonce(66)))]);
    }
}
