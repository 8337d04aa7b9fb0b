//! The messages' bytes.
//!
//! Every message is a frame of one fixed size for its kind, little-endian: a 16-byte header (magic, kind, frame version,
//! length, zero) and a body. The decoder is pure: bytes and a count of descriptors in, a checked message or a typed error
//! out. It is strict enough that every message has exactly one encoding: what decodes, encodes back to the same bytes.
//!
//! # What never changes
//!
//! So that two versions that share nothing else can still tell each other so: the header, the first 24 bytes of
//! [`Hello`] (they hold its protocol version), and all of [`Refusal`].

use super::error::HandshakeError;
use super::message::{
    Grow, Grown, Hello, Message, Refusal, RefusalCode, SessionToken, Version, Welcome,
};
use super::text::Text;
use crate::layout::{ARENA_BYTES_MAX, CHANNELS_MAX, PAGE_BYTES, Sizes};
use bytemuck::{Pod, Zeroable};

/// First word of every message.
pub const MAGIC: u32 = u32::from_le_bytes(*b"RBHS");
/// Version of the frames, apart from the ring's protocol.
pub const FRAME_VERSION: u16 = 1;
/// The longest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = size_of::<RefusedFrame>();
/// The most descriptors that a message carries.
pub const DESCRIPTORS_MAX: usize = 3;
/// Segments that an arena has at most.
pub const SEGMENTS_MAX: u32 = 64;

pub(super) const HEADER_BYTES: usize = size_of::<Header>();
/// Bytes of a Hello that every version understands.
const HELLO_STABLE_BYTES: usize = 24;

/// Codes on the wire: place in this list plus one.
const REFUSAL_CODES: [RefusalCode; 10] = [
    RefusalCode::Version,
    RefusalCode::Vocabulary,
    RefusalCode::Features,
    RefusalCode::Limits,
    RefusalCode::Credentials,
    RefusalCode::Busy,
    RefusalCode::Reaping,
    RefusalCode::UnknownSession,
    RefusalCode::Malformed,
    RefusalCode::Internal,
];

impl RefusalCode {
    fn from_wire(found: u16) -> Result<Self, HandshakeError> {
        let index = usize::from(found).wrapping_sub(1);
        REFUSAL_CODES.get(index).copied().ok_or(HandshakeError::RefusalCode { found })
    }

    fn to_wire(self) -> u16 {
        let index = REFUSAL_CODES.iter().position(|&code| code == self);
        index.map_or(0, |index| index as u16 + 1)
    }
}

// The frames. Numbers are little-endian on the wire: every field passes `to_le` / `from_le`.

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    magic: u32,
    kind: u16,
    frame_version: u16,
    length: u32,
    reserved: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct HelloFrame {
    header: Header,
    major: u16,
    minor: u16,
    reserved: u32,
    features: u64,
    vocabulary_hash: u64,
    command_lines: u32,
    reply_slots: u32,
    event_lines: u32,
    fence_words: u32,
    arena_bytes: u64,
    arena_address: u64,
    has_resume: u32,
    name_len: u32,
    resume: [u8; 16],
    name: [u8; 64],
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct WelcomeFrame {
    header: Header,
    major: u16,
    minor: u16,
    generation: u32,
    features: u64,
    region_bytes: u64,
    channel: u32,
    worker_pid: u32,
    token: [u8; 16],
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct RefusedFrame {
    header: Header,
    code: u16,
    text_len: u16,
    retry_after_ms: u32,
    major: u16,
    minor: u16,
    reserved: u32,
    text: [u8; 200],
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct GrowFrame {
    header: Header,
    bytes: u64,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct GrownFrame {
    header: Header,
    segment: u32,
    reserved: u32,
    len: u64,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ByeFrame {
    header: Header,
}

// Sizes are part of the wire; Pod already forbids padding.
const _: () = {
    assert!(size_of::<Header>() == 16);
    assert!(size_of::<HelloFrame>() == 160);
    assert!(size_of::<WelcomeFrame>() == 64);
    assert!(size_of::<RefusedFrame>() == 232);
    assert!(size_of::<GrowFrame>() == 24);
    assert!(size_of::<GrownFrame>() == 32);
    assert!(size_of::<ByeFrame>() == 16);
    assert!(std::mem::offset_of!(HelloFrame, features) == HELLO_STABLE_BYTES);
};

/// One kind of message: its number, name, size and descriptors.
struct Kind {
    number: u16,
    name: &'static str,
    bytes: usize,
    descriptors: usize,
    decode: fn(&[u8]) -> Result<Message, HandshakeError>,
}

const HELLO: u16 = 1;

const KINDS: [Kind; 6] = [
    kind::<HelloFrame>(HELLO, "Hello", 0, decode_hello),
    kind::<WelcomeFrame>(2, "Welcome", 3, decode_welcome),
    kind::<RefusedFrame>(3, "Refused", 0, decode_refused),
    kind::<GrowFrame>(4, "Grow", 0, decode_grow),
    kind::<GrownFrame>(5, "Grown", 1, decode_grown),
    kind::<ByeFrame>(6, "Bye", 0, |_| Ok(Message::Bye)),
];

const fn kind<Frame>(
    number: u16,
    name: &'static str,
    descriptors: usize,
    decode: fn(&[u8]) -> Result<Message, HandshakeError>,
) -> Kind {
    Kind { number, name, bytes: size_of::<Frame>(), descriptors, decode }
}

/// Decodes a datagram that came with `descriptors` file descriptors.
///
/// Pure and total: no I/O, no panic, whatever the bytes.
pub fn decode(bytes: &[u8], descriptors: usize) -> Result<Message, HandshakeError> {
    let header: Header = frame(bytes.get(..HEADER_BYTES).unwrap_or_default())
        .ok_or(HandshakeError::Short { found: bytes.len() })?;
    let magic = u32::from_le(header.magic);
    if magic != MAGIC {
        return Err(HandshakeError::Magic { found: magic });
    }
    check_readable_hello(&header, bytes)?;
    let kind = check_header(&header, bytes)?;
    if descriptors != kind.descriptors {
        let expected = kind.descriptors;
        return Err(HandshakeError::Descriptors { kind: kind.name, found: descriptors, expected });
    }
    (kind.decode)(bytes)
}

/// A Hello of another major is told by its version, before anything else in it is taken for wrong.
fn check_readable_hello(header: &Header, bytes: &[u8]) -> Result<(), HandshakeError> {
    if u16::from_le(header.kind) != HELLO || bytes.len() < HELLO_STABLE_BYTES {
        return Ok(());
    }
    let number = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let found = Version { major: number(HEADER_BYTES), minor: number(HEADER_BYTES + 2) };
    if found.major == Version::OURS.major {
        return Ok(());
    }
    Err(HandshakeError::Protocol { found, expected: Version::OURS })
}

fn check_header(header: &Header, bytes: &[u8]) -> Result<&'static Kind, HandshakeError> {
    let version = u16::from_le(header.frame_version);
    if version != FRAME_VERSION {
        return Err(HandshakeError::FrameVersion { found: version });
    }
    let number = u16::from_le(header.kind);
    let kind = KINDS.iter().find(|kind| kind.number == number);
    let kind = kind.ok_or(HandshakeError::Kind { found: number })?;
    let announced = u32::from_le(header.length);
    if bytes.len() != kind.bytes || announced as usize != kind.bytes {
        let (found, expected) = (bytes.len(), kind.bytes);
        return Err(HandshakeError::Length { kind: kind.name, found, announced, expected });
    }
    check_reserved(kind.name, header.reserved)?;
    Ok(kind)
}

/// Bytes as a frame, if there are exactly as many as it has.
fn frame<Frame: Pod>(bytes: &[u8]) -> Option<Frame> {
    bytemuck::try_pod_read_unaligned(bytes).ok()
}

/// As [`frame`], for a length that the header check has already compared.
fn checked_frame<Frame: Pod>(bytes: &[u8]) -> Result<Frame, HandshakeError> {
    frame(bytes).ok_or(HandshakeError::Short { found: bytes.len() })
}

fn check_reserved(kind: &'static str, found: impl Into<u64>) -> Result<(), HandshakeError> {
    let found = found.into();
    if found == 0 { Ok(()) } else { Err(HandshakeError::Reserved { kind, found }) }
}

fn check_value(
    ok: bool,
    field: &'static str,
    found: impl Into<u64>,
    expected: &'static str,
) -> Result<(), HandshakeError> {
    if ok { Ok(()) } else { Err(HandshakeError::Value { field, found: found.into(), expected }) }
}

fn check_segment_bytes(field: &'static str, found: u64) -> Result<(), HandshakeError> {
    let whole_pages = found.is_multiple_of(PAGE_BYTES as u64);
    let ok = found != 0 && whole_pages && found <= ARENA_BYTES_MAX;
    check_value(ok, field, found, "whole pages, more than none and at most 1 TiB")
}

fn decode_hello(bytes: &[u8]) -> Result<Message, HandshakeError> {
    let f: HelloFrame = checked_frame(bytes)?;
    check_reserved("Hello", f.reserved)?;
    let sizes = Sizes {
        command_lines: u32::from_le(f.command_lines),
        reply_slots: u32::from_le(f.reply_slots),
        event_lines: u32::from_le(f.event_lines),
        fence_words: u32::from_le(f.fence_words),
        arena_bytes: u64::from_le(f.arena_bytes),
        arena_address: u64::from_le(f.arena_address),
    };
    sizes.check()?;
    let name = Text::from_wire(u32::from_le(f.name_len) as usize, f.name)
        .map_err(|source| HandshakeError::Text { field: "Hello: name", source })?;
    Ok(Message::Hello(Hello {
        protocol: Version { major: u16::from_le(f.major), minor: u16::from_le(f.minor) },
        features: u64::from_le(f.features),
        vocabulary_hash: u64::from_le(f.vocabulary_hash),
        sizes,
        resume: decode_resume(u32::from_le(f.has_resume), f.resume)?,
        name,
    }))
}

fn decode_resume(flag: u32, token: [u8; 16]) -> Result<Option<SessionToken>, HandshakeError> {
    check_value(flag <= 1, "Hello: resume flag", flag, "0 or 1")?;
    if flag == 1 {
        return Ok(Some(SessionToken(token)));
    }
    check_reserved("Hello", u64::from(token.iter().fold(0, |all, byte| all | byte)))?;
    Ok(None)
}

fn decode_welcome(bytes: &[u8]) -> Result<Message, HandshakeError> {
    let f: WelcomeFrame = checked_frame(bytes)?;
    let generation = u32::from_le(f.generation);
    check_value(generation != 0, "Welcome: generation", generation, "1 or more")?;
    let channel = u32::from_le(f.channel);
    let ok = (channel as usize) < CHANNELS_MAX;
    check_value(ok, "Welcome: channel", channel, "0 to 30")?;
    let region_bytes = u64::from_le(f.region_bytes);
    let ok = region_bytes != 0 && region_bytes.is_multiple_of(PAGE_BYTES as u64);
    check_value(ok, "Welcome: region bytes", region_bytes, "whole pages, more than none")?;
    Ok(Message::Welcome(Welcome {
        protocol: Version { major: u16::from_le(f.major), minor: u16::from_le(f.minor) },
        features: u64::from_le(f.features),
        token: SessionToken(f.token),
        generation,
        channel,
        region_bytes,
        worker_pid: u32::from_le(f.worker_pid),
    }))
}

fn decode_refused(bytes: &[u8]) -> Result<Message, HandshakeError> {
    let f: RefusedFrame = checked_frame(bytes)?;
    check_reserved("Refused", f.reserved)?;
    let text = Text::from_wire(usize::from(u16::from_le(f.text_len)), f.text)
        .map_err(|source| HandshakeError::Text { field: "Refused: text", source })?;
    Ok(Message::Refused(Refusal {
        code: RefusalCode::from_wire(u16::from_le(f.code))?,
        text,
        retry_after_ms: u32::from_le(f.retry_after_ms),
        protocol: Version { major: u16::from_le(f.major), minor: u16::from_le(f.minor) },
    }))
}

fn decode_grow(bytes: &[u8]) -> Result<Message, HandshakeError> {
    let f: GrowFrame = checked_frame(bytes)?;
    let bytes = u64::from_le(f.bytes);
    check_segment_bytes("Grow: bytes", bytes)?;
    Ok(Message::Grow(Grow { bytes }))
}

fn decode_grown(bytes: &[u8]) -> Result<Message, HandshakeError> {
    let f: GrownFrame = checked_frame(bytes)?;
    check_reserved("Grown", f.reserved)?;
    let segment = u32::from_le(f.segment);
    let ok = (1..SEGMENTS_MAX).contains(&segment);
    check_value(ok, "Grown: segment", segment, "1 to 63")?;
    let len = u64::from_le(f.len);
    check_segment_bytes("Grown: length", len)?;
    Ok(Message::Grown(Grown { segment, len }))
}

/// An encoded message; lives on the stack.
#[derive(Clone, Copy)]
pub struct Encoded {
    bytes: [u8; MESSAGE_BYTES_MAX],
    len: usize,
}

impl Encoded {
    /// The bytes to be sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn of<Frame: Pod>(frame: &Frame) -> Self {
        let mut bytes = [0; MESSAGE_BYTES_MAX];
        let source = bytemuck::bytes_of(frame);
        bytes[..source.len()].copy_from_slice(source);
        Self { bytes, len: source.len() }
    }
}

impl Message {
    /// Name, for error texts.
    pub fn name(&self) -> &'static str {
        self.kind().name
    }

    /// Descriptors that it travels with.
    pub fn descriptors(&self) -> usize {
        self.kind().descriptors
    }

    fn kind(&self) -> &'static Kind {
        &KINDS[match self {
            Self::Hello(_) => 0,
            Self::Welcome(_) => 1,
            Self::Refused(_) => 2,
            Self::Grow(_) => 3,
            Self::Grown(_) => 4,
            Self::Bye => 5,
        }]
    }

    /// Its bytes. Does not check limits: the other side does.
    pub fn encode(&self) -> Encoded {
        let header = self.header();
        match self {
            Self::Hello(hello) => Encoded::of(&hello.frame(header)),
            Self::Welcome(welcome) => Encoded::of(&welcome.frame(header)),
            Self::Refused(refusal) => Encoded::of(&refusal.frame(header)),
            Self::Grow(grow) => Encoded::of(&GrowFrame { header, bytes: grow.bytes.to_le() }),
            Self::Grown(grown) => Encoded::of(&GrownFrame {
                header,
                segment: grown.segment.to_le(),
                reserved: 0,
                len: grown.len.to_le(),
            }),
            Self::Bye => Encoded::of(&ByeFrame { header }),
        }
    }

    fn header(&self) -> Header {
        let kind = self.kind();
        Header {
            magic: MAGIC.to_le(),
            kind: kind.number.to_le(),
            frame_version: FRAME_VERSION.to_le(),
            length: (kind.bytes as u32).to_le(),
            reserved: 0,
        }
    }
}

impl Hello {
    fn frame(&self, header: Header) -> HelloFrame {
        let (name_len, name) = self.name.to_wire();
        HelloFrame {
            header,
            major: self.protocol.major.to_le(),
            minor: self.protocol.minor.to_le(),
            reserved: 0,
            features: self.features.to_le(),
            vocabulary_hash: self.vocabulary_hash.to_le(),
            command_lines: self.sizes.command_lines.to_le(),
            reply_slots: self.sizes.reply_slots.to_le(),
            event_lines: self.sizes.event_lines.to_le(),
            fence_words: self.sizes.fence_words.to_le(),
            arena_bytes: self.sizes.arena_bytes.to_le(),
            arena_address: self.sizes.arena_address.to_le(),
            has_resume: u32::from(self.resume.is_some()).to_le(),
            name_len: u32::from(name_len).to_le(),
            resume: self.resume.map_or([0; 16], |token| token.0),
            name,
        }
    }
}

impl Welcome {
    fn frame(&self, header: Header) -> WelcomeFrame {
        WelcomeFrame {
            header,
            major: self.protocol.major.to_le(),
            minor: self.protocol.minor.to_le(),
            generation: self.generation.to_le(),
            features: self.features.to_le(),
            region_bytes: self.region_bytes.to_le(),
            channel: self.channel.to_le(),
            worker_pid: self.worker_pid.to_le(),
            token: self.token.0,
        }
    }
}

impl Refusal {
    fn frame(&self, header: Header) -> RefusedFrame {
        let (text_len, text) = self.text.to_wire();
        RefusedFrame {
            header,
            code: self.code.to_wire().to_le(),
            text_len: u16::from(text_len).to_le(),
            retry_after_ms: self.retry_after_ms.to_le(),
            major: self.protocol.major.to_le(),
            minor: self.protocol.minor.to_le(),
            reserved: 0,
            text,
        }
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
