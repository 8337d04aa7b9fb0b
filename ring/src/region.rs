//! Regions and channels: created by the host, checked by the client that attaches (PROTOCOL.md, sections 2 and 3).

use crate::directory::Constants;
use crate::layout::{
    CHANNEL_MAGIC, CHANNELS_MAX, DIRECTORY_MAGIC, DirectoryHead, HEADER_LINES, Identity,
    PAGE_BYTES, Sizes, VERSION_MAJOR, VERSION_MINOR, directory_line, line,
};
use crate::lines::{LINE_BYTES, LINE_WORDS, Lines, SharedLines};
use crate::os::mapping::Mapping;
use crate::progress;
use crate::sync::{Arc, Ordering};
use bytemuck::Zeroable;

mod error;

pub use error::RegionError;

/// What a channel is doing, as its host says in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing was written yet.
    Absent,
    /// Complete, no worker yet.
    Offered,
    /// In use.
    Running,
    /// Left in order.
    Closed,
    /// A violation ended it.
    Poisoned,
    /// Its worker died.
    Lost,
    /// A number that this version does not know.
    Unknown(u32),
}

impl State {
    /// The state with this number.
    pub fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Absent,
            1 => Self::Offered,
            2 => Self::Running,
            3 => Self::Closed,
            4 => Self::Poisoned,
            5 => Self::Lost,
            other => Self::Unknown(other),
        }
    }

    /// The number of this state.
    pub fn number(self) -> u32 {
        match self {
            Self::Absent => 0,
            Self::Offered => 1,
            Self::Running => 2,
            Self::Closed => 3,
            Self::Poisoned => 4,
            Self::Lost => 5,
            Self::Unknown(other) => other,
        }
    }
}

fn expect(what: &'static str, found: u64, expected: u64) -> Result<(), RegionError> {
    if found == expected { Ok(()) } else { Err(RegionError::Identity { what, found, expected }) }
}

/// Copies `T`, whose size is whole lines, out of lines, each word once.
fn read_lines<T: bytemuck::Pod + Zeroable>(lines: &SharedLines, first: usize) -> T {
    let mut copy = T::zeroed();
    let words = bytemuck::bytes_of_mut(&mut copy).chunks_exact_mut(8);
    for (index, word) in words.enumerate() {
        let at = (first + index / LINE_WORDS, index % LINE_WORDS);
        word.copy_from_slice(&lines.payload(at.0, at.1).to_ne_bytes());
    }
    copy
}

/// Writes all words of `value`, whose numbers are little-endian, the first one last. Before the region is handed out, so no
/// model knows of it: whoever attaches was told of the region by other means.
fn publish_lines<T: bytemuck::Pod>(lines: &SharedLines, first: usize, value: &T) {
    let words = bytemuck::bytes_of(value).chunks_exact(8);
    for (index, word) in words.enumerate().rev() {
        let raw = u64::from_ne_bytes(word.try_into().unwrap_or_default());
        let at = (first + index / LINE_WORDS, index % LINE_WORDS);
        lines.store(at.0, at.1, u64::from_le(raw), Ordering::Release);
    }
}

fn lines_at(mapping: &Arc<Mapping>, offset: u64, count: usize) -> Result<SharedLines, RegionError> {
    let expected = offset.saturating_add((count * LINE_BYTES) as u64);
    let too_small = RegionError::TooSmall { found: mapping.len() as u64, expected };
    let offset = usize::try_from(offset).map_err(|_| too_small.clone())?;
    SharedLines::new(mapping, offset, count).ok_or(too_small)
}

/// Bytes that a region with these channels needs.
pub fn region_bytes(channels: &[Sizes]) -> u64 {
    PAGE_BYTES as u64 + channels.iter().map(Sizes::channel_bytes).sum::<u64>()
}

/// What the host decides about a region besides its sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Hash of the command vocabulary that the worker speaks; the client must speak the same.
    pub vocabulary_hash: u64,
    /// Feature bits.
    pub features: u64,
}

/// Writes a directory and the identity of each channel into a zeroed mapping. Returns the channels' places.
///
/// Also repairs both in a region that nobody uses at the moment, whatever a client wrote over them; nothing else is changed
/// but the number of doorbells, which is 0 until [`crate::directory::set_doorbells`].
pub fn create(
    mapping: &Arc<Mapping>,
    channels: &[Sizes],
    terms: Terms,
) -> Result<Vec<Place>, RegionError> {
    if channels.is_empty() || channels.len() > CHANNELS_MAX {
        return Err(RegionError::NoChannel { found: channels.len(), channels: CHANNELS_MAX });
    }
    channels.iter().try_for_each(Sizes::check)?;
    let expected = region_bytes(channels);
    if (mapping.len() as u64) < expected {
        return Err(RegionError::TooSmall { found: mapping.len() as u64, expected });
    }
    let directory = directory_lines(mapping)?;
    let places = places(channels, terms);
    for place in &places {
        let header = lines_at(mapping, place.offset, HEADER_LINES)?;
        publish_lines(&header, line::IDENTITY, &place.identity.to_le());
    }
    Constants::new(mapping.len() as u64, &places, 0).repair(&directory);
    Ok(places)
}

/// Where [`create`] puts channels of these sizes: known without reading a region that others write.
pub fn places(channels: &[Sizes], terms: Terms) -> Vec<Place> {
    let mut offset = PAGE_BYTES as u64;
    let place = |sizes: &Sizes| {
        let identity = sizes.identity(terms.vocabulary_hash, terms.features);
        let place = Place { offset, identity };
        offset += identity.channel_bytes;
        place
    };
    channels.iter().map(place).collect()
}

/// Host: the lines of a region's directory, unchecked, for [`crate::directory`].
///
/// # Errors
/// [`RegionError::TooSmall`] if the mapping is shorter than that.
pub fn directory_lines(mapping: &Arc<Mapping>) -> Result<SharedLines, RegionError> {
    lines_at(mapping, 0, HEADER_LINES)
}

/// Where a channel lies and what it is: a private copy, which stays true whatever a peer writes into the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Offset of the channel in the region.
    pub offset: u64,
    /// Its checked identity.
    pub identity: Identity,
}

/// What an attaching client insists on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expect {
    /// Hash of the client's command vocabulary.
    pub vocabulary_hash: u64,
    /// Feature bits that must be there.
    pub features: u64,
    /// The generation that the host named, if it did.
    pub generation: Option<u32>,
}

/// Checks everything that a region says about its channel `index`, copying it out once.
pub fn inspect(mapping: &Arc<Mapping>, index: usize, want: Expect) -> Result<Place, RegionError> {
    let directory = Directory::inspect(mapping, mapping.len() as u64)?;
    let span = directory.span(index)?;
    inspect_channel(mapping, span.offset, span, want)
}

/// Checks the header at `at` in `mapping` of the channel that the directory puts at `span`, copying it out once.
pub fn inspect_channel(
    mapping: &Arc<Mapping>,
    at: u64,
    span: Span,
    want: Expect,
) -> Result<Place, RegionError> {
    let header = lines_at(mapping, at, HEADER_LINES)?;
    let identity = read_lines::<Identity>(&header, line::IDENTITY).to_le();
    check_identity(&identity, span.bytes, want)?;
    Ok(Place { offset: span.offset, identity })
}

/// Where the directory puts a channel: checked to be whole pages inside the region, behind the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Offset in the region.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A region's directory, checked, for whoever maps the region piece by piece.
#[derive(Clone)]
pub struct Directory {
    /// Its lines: claims, assignments, heartbeat (see [`crate::directory`]).
    pub lines: SharedLines,
    /// Bytes of the region, a private copy.
    pub region_bytes: u64,
    /// Channels in it, a private copy: 1 to 31.
    pub channels: usize,
}

impl Directory {
    /// Checks the directory in the first page of `mapping`, for a region of at most `mapped` bytes.
    pub fn inspect(mapping: &Arc<Mapping>, mapped: u64) -> Result<Self, RegionError> {
        let lines = lines_at(mapping, 0, HEADER_LINES)?;
        let head = read_lines::<DirectoryHead>(&lines, 0).to_le();
        check_directory(&head, mapped)?;
        let (region_bytes, channels) = (head.region_bytes, head.channels as usize);
        Ok(Self { lines, region_bytes, channels })
    }

    /// Where channel `index` lies.
    pub fn span(&self, index: usize) -> Result<Span, RegionError> {
        if index >= self.channels {
            return Err(RegionError::NoChannel { found: index, channels: self.channels });
        }
        let entry = directory_line::ENTRIES + index;
        let offset = self.lines.load(entry, 0, Ordering::Relaxed);
        let bytes = self.lines.load(entry, 1, Ordering::Relaxed);
        let page = PAGE_BYTES as u64;
        expect("channel offset, bytes into its page", offset % page, 0)?;
        expect("channel offset, whether behind the directory", u64::from(offset >= page), 1)?;
        let end = offset.saturating_add(bytes);
        if end > self.region_bytes {
            return Err(RegionError::TooSmall { found: self.region_bytes, expected: end });
        }
        Ok(Span { offset, bytes })
    }
}

fn check_version(major: u16, minor: u16) -> Result<(), RegionError> {
    if major == VERSION_MAJOR {
        return Ok(());
    }
    Err(RegionError::Version {
        found_major: major,
        found_minor: minor,
        ours_major: VERSION_MAJOR,
        ours_minor: VERSION_MINOR,
    })
}

fn check_directory(head: &DirectoryHead, mapped: u64) -> Result<(), RegionError> {
    expect("directory magic", head.magic, DIRECTORY_MAGIC)?;
    check_version(head.major, head.minor)?;
    expect("line bytes", head.line_bytes.into(), LINE_BYTES as u64)?;
    expect("page shift", head.page_shift.into(), PAGE_BYTES.trailing_zeros().into())?;
    if head.region_bytes > mapped {
        return Err(RegionError::TooSmall { found: mapped, expected: head.region_bytes });
    }
    if head.channels == 0 || head.channels > CHANNELS_MAX as u64 {
        let found = head.channels as usize;
        return Err(RegionError::NoChannel { found, channels: CHANNELS_MAX });
    }
    Ok(())
}

fn check_identity(found: &Identity, bytes: u64, want: Expect) -> Result<(), RegionError> {
    expect("channel magic", found.magic, CHANNEL_MAGIC)?;
    check_version(found.major, found.minor)?;
    if found.vocabulary_hash != want.vocabulary_hash {
        let expected = want.vocabulary_hash;
        return Err(RegionError::Vocabulary { found: found.vocabulary_hash, expected });
    }
    if found.features & want.features != want.features {
        return Err(RegionError::Features { found: found.features, expected: want.features });
    }
    let sizes = found.sizes();
    sizes.check()?;
    let expected =
        Identity { minor: found.minor, ..sizes.identity(found.vocabulary_hash, found.features) };
    expect("channel bytes in the directory", bytes, expected.channel_bytes)?;
    let theirs: [u64; 16] = bytemuck::cast(*found);
    let ours: [u64; 16] = bytemuck::cast(expected);
    for (what, (theirs, ours)) in IDENTITY_WORDS.into_iter().zip(theirs.into_iter().zip(ours)) {
        expect(what, theirs, ours)?;
    }
    Ok(())
}

const IDENTITY_WORDS: [&str; 16] = [
    "channel magic",
    "version and header bytes",
    "features",
    "vocabulary hash",
    "channel bytes",
    "ring sizes",
    "arena bytes",
    "arena address",
    "command ring offset",
    "reply slots offset",
    "event ring offset",
    "fence offset",
    "arena offset",
    "reserved word",
    "reserved word",
    "reserved word",
];

/// The shared lines of one channel.
#[derive(Clone)]
pub struct Channel {
    /// Where it lies and what it is.
    pub place: Place,
    /// Its header page.
    pub header: SharedLines,
    pub(crate) commands: SharedLines,
    pub(crate) replies: SharedLines,
    pub(crate) events: SharedLines,
    pub(crate) fences: SharedLines,
}

impl Channel {
    /// The lines of the channel at `place`, which is trusted: it comes from [`create`] or [`inspect`].
    pub fn open(mapping: &Arc<Mapping>, place: Place) -> Result<Self, RegionError> {
        let id = &place.identity;
        let sizes = id.sizes();
        sizes.check()?;
        let at = |offset: u64, count: u32| lines_at(mapping, place.offset + offset, count as usize);
        Ok(Self {
            header: at(0, HEADER_LINES as u32)?,
            commands: at(id.command_offset, sizes.command_lines)?,
            replies: at(id.reply_offset, sizes.reply_slots)?,
            events: at(id.event_offset, sizes.event_lines)?,
            fences: at(id.fence_offset, sizes.fence_words / LINE_WORDS as u32)?,
            place,
        })
    }

    /// State and generation, as the host side last wrote them.
    pub fn host_state(&self) -> (State, u32) {
        Self::split(progress::state(&self.header, line::HOST_STATUS))
    }

    /// State and generation, as the client side last wrote them.
    pub fn client_state(&self) -> (State, u32) {
        Self::split(progress::state(&self.header, line::CLIENT_STATUS))
    }

    fn split(word: u64) -> (State, u32) {
        (State::from_number(word as u32), (word >> 32) as u32)
    }

    pub(crate) fn set_state(&self, status_line: usize, state: State, generation: u32) {
        let word = u64::from(generation) << 32 | u64::from(state.number());
        progress::publish_state(&self.header, status_line, word);
    }

    /// Host: starts `generation` (never 0) on this channel: writes its identity anew, whatever the client before left of it,
    /// zeroes all but that and the arena, then offers it.
    ///
    /// Only after the worker of the generation before is reaped, so that it cannot write any more.
    pub fn offer(&self, generation: u32) {
        self.set_state(line::HOST_STATUS, State::Absent, 0);
        publish_lines(&self.header, line::IDENTITY, &self.place.identity.to_le());
        let constant = line::GEOMETRY + 1;
        zero(&self.header, constant..HEADER_LINES);
        for lines in [&self.commands, &self.replies, &self.events, &self.fences] {
            zero(lines, 0..lines.count());
        }
        self.set_state(line::HOST_STATUS, State::Offered, generation.max(1));
    }

    /// Host: says that the worker is gone, so that a client that only polls learns it at once.
    pub fn mark_lost(&self) {
        let (state, generation) = self.host_state();
        if matches!(state, State::Offered | State::Running) {
            self.set_state(line::HOST_STATUS, State::Lost, generation);
        }
    }

    /// Records the first violation that a side found: code and detail; later ones change nothing.
    pub(crate) fn set_error(&self, status_line: usize, code: u32, detail: u32) {
        if self.header.load(status_line, 2, Ordering::Relaxed) == 0 {
            let word = u64::from(detail) << 32 | u64::from(code);
            self.header.store(status_line, 2, word, Ordering::Relaxed);
        }
    }

    /// The first error that the side with this status line published: code, or 0.
    pub fn error_code(&self, status_line: usize) -> u32 {
        self.header.load(status_line, 2, Ordering::Relaxed) as u32
    }
}

fn zero(lines: &SharedLines, range: core::ops::Range<usize>) {
    for at in range {
        for word in 0..LINE_WORDS {
            lines.store(at, word, 0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{small_sizes, zeroed};

    const TERMS: Terms = Terms { vocabulary_hash: 0xfeed, features: 0 };
    const WANT: Expect = Expect { vocabulary_hash: 0xfeed, features: 0, generation: None };

    fn region(channels: usize) -> Arc<Mapping> {
        let sizes = vec![small_sizes(); channels];
        let mapping = zeroed(region_bytes(&sizes) as usize);
        create(&mapping, &sizes, TERMS).expect("a fresh region");
        mapping
    }

    #[test]
    fn what_the_host_creates_the_client_can_attach_to() {
        let mapping = region(3);
        for index in 0..3 {
            let place = inspect(&mapping, index, WANT).expect("a valid channel");
            let channel = Channel::open(&mapping, place).expect("its lines");
            channel.offer(7);
            assert_eq!(channel.host_state(), (State::Offered, 7));
        }
        let error = inspect(&mapping, 3, WANT).expect_err("there is no fourth");
        assert_eq!(error, RegionError::NoChannel { found: 3, channels: 3 });
    }

    #[test]
    fn a_changed_word_of_directory_or_identity_is_refused() {
        let words = |line: usize| (0..LINE_WORDS).map(move |word| (line, word));
        let constant = words(0).take(4).chain(words(1).take(2));
        for (at, word) in constant {
            let mapping = region(1);
            let lines = lines_at(&mapping, 0, HEADER_LINES).expect("directory");
            let wrong = lines.load(at, word, Ordering::Relaxed) ^ (1 << 40 | 1 << 5 | 1);
            lines.store(at, word, wrong, Ordering::Relaxed);
            inspect(&mapping, 0, WANT).expect_err("a changed directory word");
        }
        for (at, word) in words(0).chain(words(1)) {
            let mapping = region(1);
            let lines = lines_at(&mapping, PAGE_BYTES as u64, HEADER_LINES).expect("header");
            let features = at == 0 && word == 2;
            let wrong = lines.load(at, word, Ordering::Relaxed) ^ (1 << 33 | 1);
            lines.store(at, word, wrong, Ordering::Relaxed);
            let result = inspect(&mapping, 0, WANT);
            assert_eq!(result.is_ok(), features, "identity word {at}.{word}: {result:?}");
        }
    }

    #[test]
    fn whatever_a_client_wrote_over_identity_and_directory_the_next_one_finds_them_whole() {
        let sizes = [small_sizes()];
        let mapping = region(1);
        let place = inspect(&mapping, 0, WANT).expect("a valid channel");
        let channel = Channel::open(&mapping, place).expect("its lines");
        for at in [0, PAGE_BYTES as u64] {
            let lines = lines_at(&mapping, at, HEADER_LINES).expect("a page");
            (0..HEADER_LINES * 8).for_each(|i| lines.store(i / 8, i % 8, !0, Ordering::Relaxed));
        }
        inspect(&mapping, 0, WANT).expect_err("nothing is left");
        channel.offer(8);
        create(&mapping, &sizes, TERMS).expect("the same sizes");
        assert_eq!(inspect(&mapping, 0, WANT), Ok(place));
        assert_eq!(channel.host_state(), (State::Offered, 8));
    }

    #[test]
    fn errors_say_what_was_found_and_expected() {
        let mapping = region(1);
        let want = Expect { vocabulary_hash: 1, ..WANT };
        let text = inspect(&mapping, 0, want).expect_err("another vocabulary").to_string();
        assert!(text.contains("0x000000000000feed") && text.contains("0x0000000000000001"));
        let blank = zeroed(PAGE_BYTES * 2);
        let text = inspect(&blank, 0, WANT).expect_err("no region").to_string();
        assert!(text.contains("found 0x0") && text.contains("0x3152414247"), "{text}");
    }

    #[test]
    fn a_mapping_that_is_too_small_is_refused() {
        let sizes = [small_sizes()];
        let mapping = zeroed(PAGE_BYTES * 4);
        let error = create(&mapping, &sizes, TERMS).expect_err("too small");
        let expected = region_bytes(&sizes);
        assert_eq!(error, RegionError::TooSmall { found: PAGE_BYTES as u64 * 4, expected });
    }

    #[test]
    fn a_new_generation_starts_from_zero_and_keeps_identity() {
        let mapping = region(1);
        let place = inspect(&mapping, 0, WANT).expect("valid");
        let channel = Channel::open(&mapping, place).expect("lines");
        channel.offer(1);
        channel.header.store(line::COMMAND_HEAD, 0, 99, Ordering::Relaxed);
        channel.commands.store(3, 4, 99, Ordering::Relaxed);
        channel.mark_lost();
        assert_eq!(channel.host_state(), (State::Lost, 1));
        channel.offer(2);
        assert_eq!(channel.header.load(line::COMMAND_HEAD, 0, Ordering::Relaxed), 0);
        assert_eq!(channel.commands.load(3, 4, Ordering::Relaxed), 0);
        assert_eq!(inspect(&mapping, 0, WANT).expect("still valid"), place);
    }
}
