//! A launch whose parameter block carries a pointer at a place that the kernel's layout decides.

use ringbar_vocabulary::{Command, DevicePtr, LaunchKernel, PostCommand, Row, Sink};

/// A launch with generated parameters, in which eight bytes are replaced by a device address on their way into the ring:
/// no copy of the parameters is made.
#[derive(Clone, Copy, Debug)]
pub struct LaunchWithPointer<'a> {
    /// The launch, with its parameters inline.
    pub launch: LaunchKernel<'a>,
    /// Where in the parameters the address lies (a multiple of 8), if anywhere.
    pub pointer_at: Option<usize>,
    /// The address.
    pub pointer: DevicePtr,
}

impl Command for LaunchWithPointer<'_> {
    const ROW: &'static Row = LaunchKernel::ROW;
    const FIXED_BYTES: usize = LaunchKernel::FIXED_BYTES;

    #[inline(always)]
    fn encoded_len(&self) -> usize {
        self.launch.encoded_len()
    }

    #[inline(always)]
    fn encode<S: Sink>(&self, sink: &mut S) {
        match self.pointer_at {
            None => self.launch.encode(sink),
            Some(at) => self.launch.encode(&mut Replacing { sink, at, word: self.pointer.0 }),
        }
    }
}

impl PostCommand for LaunchWithPointer<'_> {}

/// Replaces one word of a tail.
struct Replacing<'s, S> {
    sink: &'s mut S,
    at: usize,
    word: u64,
}

impl<S: Sink> Sink for Replacing<'_, S> {
    #[inline(always)]
    fn word(&mut self, word: u64) {
        self.sink.word(word);
    }

    #[inline(always)]
    fn bytes(&mut self, bytes: &[u8]) {
        match (bytes.get(..self.at), bytes.get(self.at + 8..)) {
            (Some(before), Some(behind)) => {
                self.sink.bytes(before);
                self.sink.word(self.word);
                self.sink.bytes(behind);
            }
            _ => self.sink.bytes(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringbar_vocabulary::{FunctionId, StreamId, Tail};

    #[test]
    fn exactly_the_pointer_is_replaced() {
        for len in [8, 15, 16, 44, 3440] {
            for at in (0..=len - 8).step_by(8) {
                let params: Vec<u8> = (0..len).map(|i| i as u8).collect();
                let mut expected = params.clone();
                expected[at..at + 8].copy_from_slice(&0x1122_3344_5566_7788_u64.to_le_bytes());
                let launch = |params| LaunchKernel {
                    function: FunctionId(1),
                    grid: [1; 3],
                    block: [1; 3],
                    shared_bytes: 0,
                    stream: StreamId(1),
                    params: Tail::Inline(params),
                };
                let pointer = DevicePtr(0x1122_3344_5566_7788);
                let found =
                    LaunchWithPointer { launch: launch(&params), pointer_at: Some(at), pointer };
                let (mut one, mut other) = (Vec::new(), Vec::new());
                found.encode(&mut one);
                launch(&expected).encode(&mut other);
                assert_eq!(one, other, "{len} bytes, pointer at {at}");
            }
        }
    }
}
