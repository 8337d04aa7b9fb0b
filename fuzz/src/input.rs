//! The fuzzer's bytes, taken from the front.

/// A cursor over the input. Behind its end everything is 0.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    left: &'a [u8],
}

impl<'a> Input<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    /// True if everything was taken.
    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// The next two bytes, little-endian.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// The next four bytes, little-endian.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// The next eight bytes, little-endian.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.bytes(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    /// Up to `len` bytes, as many as there are.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, left) = self.left.split_at(len.min(self.left.len()));
        self.left = left;
        taken
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        self.bytes(self.left.len())
    }

    /// A number that is small, near a limit, or anything, so that boundaries are met often. `limit` may be 0.
    pub fn near(&mut self, limit: u64) -> u64 {
        match self.byte() % 5 {
            0 => u64::from(self.byte()),
            1 => limit.wrapping_add(u64::from(self.byte())).wrapping_sub(128),
            2 => self.u64() % limit.saturating_add(1).max(1),
            3 => u64::from(self.u16()),
            _ => self.u64(),
        }
    }
}
