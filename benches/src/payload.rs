//! The one payload that every candidate carries, and its checker.
//!
//! Word `i` of message `n` is `(seed + n * STRIDE) ^ SALTS[i]`: any two messages and any two words differ, so a lost,
//! repeated, reordered, torn or stale message shows. The checker ORs all differences together and is asked once, at the
//! end: no branch a word.

use crate::error::BenchError;

/// Odd, so that 2^64 messages pass before a word repeats.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

const SALTS: [u64; 8] = [
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7344,
    0xa409_3822_299f_31d0,
    0x082e_fa98_ec4e_6c89,
    0x4528_21e6_38d0_1377,
    0xbe54_66cf_34e9_0c6c,
    0xc0ac_29b7_c97c_50dd,
    0x3f84_d5b5_b547_0917,
];

/// Makes the messages of one direction, the same for the same seed.
#[derive(Debug, Clone, Copy)]
pub struct Generator {
    base: u64,
}

impl Generator {
    /// Starts at message 0.
    pub fn new(seed: u64) -> Self {
        Self { base: seed }
    }

    /// The next message: `W` words of 8 bytes, at most eight.
    #[inline(always)]
    pub fn next_words<const W: usize>(&mut self) -> [u64; W] {
        const { assert!(W <= SALTS.len(), "a message is at most one cache line") };
        let base = self.base;
        self.base = base.wrapping_add(STRIDE);
        std::array::from_fn(|i| base ^ SALTS[i])
    }
}

/// Compares received messages with the ones that [`Generator`] makes from the same seed.
#[derive(Debug)]
pub struct Checker {
    expected: Generator,
    messages: u64,
    difference: u64,
}

impl Checker {
    /// Expects message 0 first.
    pub fn new(seed: u64) -> Self {
        Self { expected: Generator::new(seed), messages: 0, difference: 0 }
    }

    /// Reads every word of the next message.
    #[inline(always)]
    pub fn take<const W: usize>(&mut self, words: &[u64; W]) {
        let expected: [u64; W] = self.expected.next_words();
        let mut difference = 0;
        for i in 0..W {
            difference |= words[i] ^ expected[i];
        }
        self.difference |= difference;
        self.messages += 1;
    }

    /// Messages taken so far.
    #[inline(always)]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Ends the check.
    ///
    /// # Errors
    /// [`BenchError::Corrupt`] if any word of any message differed.
    pub fn finish(self) -> Result<(), BenchError> {
        match self.difference {
            0 => Ok(()),
            difference => Err(BenchError::Corrupt { messages: self.messages, difference }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(messages: &[[u64; 8]]) -> Result<(), BenchError> {
        let mut checker = Checker::new(7);
        messages.iter().for_each(|words| checker.take(words));
        checker.finish()
    }

    fn sent() -> Vec<[u64; 8]> {
        let mut generator = Generator::new(7);
        (0..100).map(|_| generator.next_words()).collect()
    }

    #[test]
    fn an_untouched_stream_passes() {
        check(&sent()).unwrap();
    }

    #[test]
    fn any_single_flipped_bit_is_found() {
        for bit in 0..512 {
            let mut stream = sent();
            stream[bit % 100][bit / 64] ^= 1 << (bit % 64);
            assert!(matches!(check(&stream), Err(BenchError::Corrupt { .. })), "bit {bit}");
        }
    }

    #[test]
    fn two_swapped_words_of_one_message_are_found() {
        let mut stream = sent();
        stream[42].swap(1, 6);
        assert!(check(&stream).is_err());
    }

    #[test]
    fn two_equal_errors_do_not_cancel() {
        let mut stream = sent();
        stream[3][0] ^= 1;
        stream[4][0] ^= 1;
        assert!(check(&stream).is_err());
    }

    #[test]
    fn another_seed_is_another_stream() {
        assert_ne!(Generator::new(1).next_words::<8>(), Generator::new(2).next_words::<8>());
    }
}
