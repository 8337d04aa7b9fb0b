//! Where commands are encoded to: the ring itself, or the ring and a block of the arena.

use ringbar::lines::SharedLines;
use ringbar::spsc::{Reservation, Violation};
use ringbar_vocabulary::{ArenaRef, FLAG_TAIL_IN_ARENA, Sink};

/// Room in the ring, into which commands are encoded.
pub struct RingSink<'r, 'p>(pub &'r mut Reservation<'p, SharedLines>);

impl Sink for RingSink<'_, '_> {
    #[inline(always)]
    fn word(&mut self, word: u64) {
        self.0.word(word);
    }

    #[inline(always)]
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.put(bytes);
    }
}

/// Most words of a command before its tail.
pub(crate) const HEAD_WORDS_MAX: usize = 24;

/// Splits a command: its head stays here, its tail goes through `write_tail` (offset in the tail, bytes).
pub(crate) struct SplitSink<W> {
    head: [u64; HEAD_WORDS_MAX],
    /// Words of the head.
    words: usize,
    used: usize,
    tail_at: u64,
    write_tail: W,
    failed: Option<Violation>,
}

impl<W: FnMut(u64, &[u8]) -> Result<(), Violation>> SplitSink<W> {
    /// For a command whose header and fixed fields take `head_bytes`.
    pub(crate) fn new(head_bytes: usize, write_tail: W) -> Self {
        let words = (head_bytes / 8).min(HEAD_WORDS_MAX);
        let head = [0; HEAD_WORDS_MAX];
        Self { head, words, used: 0, tail_at: 0, write_tail, failed: None }
    }

    /// The head as it goes into the ring, with a reference in place of the tail that was written to `address`.
    pub(crate) fn finish(self, address: u64) -> Result<SplitCommand, Violation> {
        if let Some(violation) = self.failed {
            return Err(violation);
        }
        let mut head = self.head;
        let len = head[0] >> 32;
        let opcode = head[0] & 0xffff;
        let reference_bytes = size_of::<ArenaRef>() as u64;
        head[0] = opcode | u64::from(FLAG_TAIL_IN_ARENA) << 16 | reference_bytes << 32;
        Ok(SplitCommand { head, words: self.words, tail: ArenaRef { addr: address, len } })
    }

    fn tail(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.failed = (self.write_tail)(self.tail_at, bytes).err();
        }
        self.tail_at += bytes.len() as u64;
    }
}

impl<W: FnMut(u64, &[u8]) -> Result<(), Violation>> Sink for SplitSink<W> {
    fn word(&mut self, word: u64) {
        match self.head.get_mut(self.used).filter(|_| self.used < self.words) {
            Some(place) => {
                *place = word;
                self.used += 1;
            }
            None => self.tail(&word.to_le_bytes()),
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.tail(bytes);
    }
}

/// A command whose tail lies in the arena.
pub(crate) struct SplitCommand {
    head: [u64; HEAD_WORDS_MAX],
    words: usize,
    tail: ArenaRef,
}

impl SplitCommand {
    pub(crate) fn encoded_len(&self) -> usize {
        self.words * 8 + size_of::<ArenaRef>()
    }

    pub(crate) fn encode(&self, sink: &mut impl Sink) {
        self.head[..self.words].iter().for_each(|&word| sink.word(word));
        sink.word(self.tail.addr);
        sink.word(self.tail.len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringbar_vocabulary::{Command, FunctionId, LaunchKernel, StreamId, Tail};

    fn launch(params: Tail<'_>) -> LaunchKernel<'_> {
        let (function, stream) = (FunctionId(3), StreamId(4));
        LaunchKernel {
            function,
            grid: [1, 2, 3],
            block: [4, 5, 6],
            shared_bytes: 7,
            stream,
            params,
        }
    }

    #[test]
    fn a_split_command_is_the_one_that_names_the_arena() {
        for len in [1, 8, 9_001] {
            let params: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mut tail = vec![0; params.len().next_multiple_of(8)];
            let mut sink = SplitSink::new(8 + LaunchKernel::FIXED_BYTES, |at, bytes| {
                tail[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
                Ok(())
            });
            launch(Tail::Inline(&params)).encode(&mut sink);
            let split = sink.finish(640).expect("no write failed");
            let (mut found, mut expected) = (Vec::new(), Vec::new());
            split.encode(&mut found);
            launch(Tail::Arena(ArenaRef { addr: 640, len: len as u64 })).encode(&mut expected);
            assert_eq!(found, expected);
            assert_eq!(split.encoded_len(), expected.len());
            assert_eq!(tail[..params.len()], params);
        }
    }

    #[test]
    fn a_failed_write_of_the_tail_fails_the_command() {
        let violation = Violation::Command { position: 0, what: "outside".into() };
        let mut sink = SplitSink::new(8 + LaunchKernel::FIXED_BYTES, |_, _| Err(violation.clone()));
        launch(Tail::Inline(&[1; 64])).encode(&mut sink);
        assert!(sink.finish(0).is_err());
    }
}
