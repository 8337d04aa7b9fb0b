//! The digest that shows whether two replays did the same.

use xxhash_rust::xxh3::Xxh3;

/// An order-sensitive digest (XXH3, 64 bits) over commands and memory.
///
/// Every piece is preceded by its length, so bytes cannot move from one piece to the next unnoticed. Not for cryptography.
///
/// ```
/// use ringbar_executor::recording::Digest;
///
/// let mut one = Digest::new();
/// one.push_command(7, b"ab", b"");
/// let mut other = Digest::new();
/// other.push_command(7, b"a", b"b");
/// assert_ne!(one.value(), other.value());
/// ```
#[derive(Clone, Default)]
pub struct Digest {
    state: Xxh3,
    commands: u64,
}

impl Digest {
    /// A digest over nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one command: its opcode and every inline and bulk byte.
    pub fn push_command(&mut self, opcode: u64, inline: &[u8], bulk: &[u8]) {
        let mut head = [0; 24];
        head[..8].copy_from_slice(&opcode.to_le_bytes());
        head[8..16].copy_from_slice(&(inline.len() as u64).to_le_bytes());
        head[16..].copy_from_slice(&(bulk.len() as u64).to_le_bytes());
        self.state.update(&head);
        self.state.update(inline);
        self.state.update(bulk);
        self.commands += 1;
    }

    /// Adds a piece of memory, for instance a device buffer at the end of a replay.
    pub fn push_memory(&mut self, bytes: &[u8]) {
        self.state.update(&(bytes.len() as u64).to_le_bytes());
        self.state.update(bytes);
    }

    /// Commands added so far.
    pub fn commands(&self) -> u64 {
        self.commands
    }

    /// The digest over everything added so far; more may be added afterwards.
    pub fn value(&self) -> u64 {
        self.state.digest()
    }
}
