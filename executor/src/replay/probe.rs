//! What a replay asks a worker beside the recorded calls: a digest of all commands, and the worker's processor time.
//!
//! [`Probe`] wraps a backend. Its questions travel as library queries with a number and a request that no honest library
//! call has; everything else goes to the backend. While a digest is being taken each command is folded into it before the
//! backend sees it; otherwise a command costs one test of a pointer.
//!
//! # What the digest covers
//! Opcode, order, every field and every byte of every command, wherever the bytes travelled. Left out is only what names a
//! place in a transport and not in the program: arena addresses (their lengths are in), and index and value of fences. A
//! copy in pieces counts as one: adjacent pieces that follow each other are one copy, and the fences between pieces of a
//! copy to the host belong to it. A fence of a stream behind which nothing was posted since its last one is none.

use crate::recording::Digest;
use ringbar_backend::{Backend, Context};
use ringbar_vocabulary::*;
use xxhash_rust::xxh3::Xxh3;

/// The library that no recording can name together with [`REQUEST`].
const LIBRARY: u32 = 0x5052_4f42;
const REQUEST: &[u8; 16] = b"ringbar probe v1";
/// First word of an answer, so that a worker without probe is told apart.
const ANSWER: u64 = 0x6265_706f_7262_0001;
/// Bytes of bulk data that are hashed at a time.
const CHUNK_BYTES: u64 = 64 << 10;

/// A question to the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Question {
    /// Begin a digest.
    Begin = 1,
    /// End it: digest and number of commands.
    End = 2,
    /// Processor time of the worker process so far, in ns.
    ProcessorTime = 3,
}

impl Question {
    /// The query that asks it.
    pub fn query(self) -> LibraryQuery<'static> {
        LibraryQuery { library: LIBRARY, function: self as u32, request: Tail::Inline(REQUEST) }
    }

    /// The answer's two numbers; `None` if the worker has no probe.
    pub fn answer(reply: &LibraryQueryReply) -> Option<[u64; 2]> {
        let [mark, one, two, ..] = reply.answer;
        (mark == ANSWER).then_some([one, two])
    }

    fn of(command: &LibraryQuery<'_>) -> Option<Self> {
        let asks = command.library == LIBRARY && command.request == Tail::Inline(REQUEST);
        let all = [Self::Begin, Self::End, Self::ProcessorTime];
        all.into_iter().find(|question| asks && command.function == *question as u32)
    }
}

/// A backend that can be asked about its commands.
pub struct Probe<B> {
    backend: B,
    trace: Option<Box<Trace>>,
}

impl<B: Backend> Probe<B> {
    /// Wraps `backend`.
    pub fn new(backend: B) -> Self {
        Self { backend, trace: None }
    }

    #[inline(always)]
    fn observe<C: Command>(&mut self, cx: &mut Context<'_>, command: &C) -> Result<(), Status> {
        match &mut self.trace {
            None => Ok(()),
            Some(trace) => trace.push(cx, command),
        }
    }

    #[cold]
    fn answer(&mut self, question: Question) -> LibraryQueryReply {
        let numbers = match question {
            Question::Begin => {
                self.trace = Some(Box::default());
                [0, 0]
            }
            Question::End => self.trace.take().map_or([0, 0], |trace| trace.finish()),
            Question::ProcessorTime => [processor_time_ns(), 0],
        };
        LibraryQueryReply { bytes: 24, answer: [ANSWER, numbers[0], numbers[1], 0, 0] }
    }
}

/// Processor time of this process so far, in ns.
pub fn processor_time_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl<B: Backend> Backend for Probe<B> {
    fn name(&self) -> &'static str {
        self.backend.name()
    }

    #[inline]
    fn begin(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        self.backend.begin(cx)
    }

    #[inline]
    fn lost(&self) -> Option<Status> {
        self.backend.lost()
    }

    fn is_idle(&self) -> bool {
        self.backend.is_idle()
    }

    fn drain(&mut self) {
        self.backend.drain();
    }
}

/// One method a row that crosses: observed, then handed on.
macro_rules! hand_on {
    ($($class:ident $method:ident $Name:ident {$($tail:ident)?} {$($Reply:ident)?})+) => {
        impl<B: Backend> Handler<Context<'_>> for Probe<B> {
            fn unsupported(&mut self, cx: &mut Context<'_>, row: &'static Row) -> Status {
                self.backend.unsupported(cx, row)
            }

            $(hand_on! { @row $class $method $Name {$($tail)?} {$($Reply)?} })+
        }
    };
    (@row local $($rest:tt)+) => {};
    (@row sync library_query $($rest:tt)+) => {
        fn library_query(
            &mut self,
            cx: &mut Context<'_>,
            command: LibraryQuery<'_>,
        ) -> Result<LibraryQueryReply, Status> {
            if let Some(question) = Question::of(&command) {
                return Ok(self.answer(question));
            }
            self.observe(cx, &command)?;
            self.backend.library_query(cx, command)
        }
    };
    (@row $class:ident $method:ident $Name:ident {} $reply:tt) => {
        hand_on! { @method $method {$Name} $reply }
    };
    (@row $class:ident $method:ident $Name:ident {$tail:ident} $reply:tt) => {
        hand_on! { @method $method {$Name<'_>} $reply }
    };
    (@method $method:ident {$Command:ty} {}) => {
        hand_on! { @method $method {$Command} {()} }
    };
    (@method $method:ident {$Command:ty} {$Reply:ty}) => {
        #[inline]
        fn $method(&mut self, cx: &mut Context<'_>, command: $Command) -> Result<$Reply, Status> {
            self.observe(cx, &command)?;
            self.backend.$method(cx, command)
        }
    };
}

each_row!(hand_on);

/// A digest of commands that is being taken.
#[derive(Default)]
struct Trace {
    hash: Xxh3,
    /// Commands so far, a copy in pieces being one.
    commands: u64,
    copy: Option<Copying>,
    /// Streams with a fence and nothing after it: a further one says the same, and not every transport posts it.
    fenced: Vec<u32>,
    encoded: Vec<u8>,
    chunk: Vec<u8>,
}

/// A copy whose next piece may follow.
struct Copying {
    to_host: bool,
    stream: u32,
    /// Device address at which the next piece would begin.
    next: u64,
    bytes: u64,
    /// A fence came after the last piece: its own, or the copy's end.
    fenced: bool,
}

/// A command as it was encoded: its row, fixed fields and tail.
struct Parts<'a> {
    row: &'static Row,
    fixed: &'a [u8],
    tail: Tail<'a>,
}

impl Trace {
    #[cold]
    fn push<C: Command>(&mut self, cx: &mut Context<'_>, command: &C) -> Result<(), Status> {
        let mut encoded = std::mem::take(&mut self.encoded);
        encoded.clear();
        command.encode(&mut encoded);
        let result = self.push_parts(cx, &Parts::of::<C>(&encoded));
        self.encoded = encoded;
        result
    }

    fn push_parts(&mut self, cx: &mut Context<'_>, parts: &Parts<'_>) -> Result<(), Status> {
        match parts.row.name {
            "MemcpyHtoD" => {
                let (at, bytes) = (parts.number("dst"), parts.tail.byte_len());
                self.piece(parts, false, at, bytes);
                self.bytes(cx, parts.tail)
            }
            "MemcpyDtoH" => {
                self.piece(parts, true, parts.number("src"), parts.length_of("dst"));
                Ok(())
            }
            "Fence" => {
                let stream = parts.number("stream") as u32;
                match &mut self.copy {
                    Some(copy) if copy.to_host && !copy.fenced && copy.stream == stream => {
                        copy.fenced = true;
                    }
                    _ => self.fence(stream),
                }
                Ok(())
            }
            // A wait that lasts asks for it: how often depends on time alone, and it changes nothing.
            "FenceStatus" => Ok(()),
            _ => {
                self.end_copy();
                self.head(parts);
                self.bytes(cx, parts.tail)?;
                self.number(parts.tail.byte_len());
                Ok(())
            }
        }
    }

    /// One piece of a copy: the next of the one before, or the first of another.
    fn piece(&mut self, parts: &Parts<'_>, to_host: bool, at: u64, bytes: u64) {
        let stream = parts.number("stream") as u32;
        let goes_on =
            |copy: &Copying| (copy.to_host, copy.stream, copy.next) == (to_host, stream, at);
        if !self.copy.as_ref().is_some_and(goes_on) {
            self.end_copy();
            self.opcode(parts.row);
            self.number(at);
            self.number(stream.into());
            self.copy = Some(Copying { to_host, stream, next: at, bytes: 0, fenced: false });
        }
        if let Some(copy) = &mut self.copy {
            copy.next = copy.next.wrapping_add(bytes);
            copy.bytes += bytes;
            copy.fenced = false;
        }
    }

    fn end_copy(&mut self) {
        if let Some(copy) = self.copy.take() {
            self.number(copy.bytes);
            if copy.fenced {
                self.fence(copy.stream);
            }
        }
    }

    fn fence(&mut self, stream: u32) {
        self.end_copy();
        if self.fenced.contains(&stream) {
            return;
        }
        self.commands += 1;
        self.number(Fence::ROW.opcode.into());
        self.number(stream.into());
        self.fenced.push(stream);
    }

    fn opcode(&mut self, row: &Row) {
        self.commands += 1;
        self.fenced.clear();
        self.number(row.opcode.into());
    }

    fn number(&mut self, number: u64) {
        self.hash.update(&number.to_le_bytes());
    }

    /// Opcode and fixed fields; of an arena block only its length.
    fn head(&mut self, parts: &Parts<'_>) {
        self.opcode(parts.row);
        for field in parts.row.fields {
            let bytes = &parts.fixed[field.offset..field.offset + field.bytes];
            self.hash.update(if field.ty == "ArenaRef" { &bytes[8..] } else { bytes });
        }
    }

    /// Every byte of a tail, wherever it lies.
    fn bytes(&mut self, cx: &mut Context<'_>, tail: Tail<'_>) -> Result<(), Status> {
        let at = match tail {
            Tail::Inline(bytes) => {
                self.hash.update(bytes);
                return Ok(());
            }
            Tail::Arena(at) => at,
        };
        cx.check_arena(at)?;
        for start in (0..at.len).step_by(CHUNK_BYTES as usize) {
            let len = CHUNK_BYTES.min(at.len - start);
            self.chunk.resize(len as usize, 0);
            // The block was checked, so each part of it lies inside.
            let part = at.part(start, len).ok_or(Status::INVALID_VALUE)?;
            cx.read_arena(part, &mut self.chunk)?;
            self.hash.update(&self.chunk);
        }
        Ok(())
    }

    fn finish(mut self) -> [u64; 2] {
        self.end_copy();
        [self.hash.digest(), self.commands]
    }
}

impl<'a> Parts<'a> {
    fn of<C: Command>(encoded: &'a [u8]) -> Self {
        let (head, tail) = encoded.split_at(HEADER_BYTES + C::FIXED_BYTES);
        let (header, fixed) = head.split_at(HEADER_BYTES);
        let flags = u16::from_le_bytes([header[2], header[3]]);
        let tail_bytes = u32_at(header, 4) as usize;
        let tail = if flags & FLAG_TAIL_IN_ARENA != 0 {
            Tail::Arena(ArenaRef { addr: u64_at(tail, 0), len: u64_at(tail, 8) })
        } else {
            Tail::Inline(&tail[..tail_bytes.min(tail.len())])
        };
        Self { row: C::ROW, fixed, tail }
    }

    fn field(&self, name: &str) -> &'a [u8] {
        let field = self.row.fields.iter().find(|field| field.name == name);
        field.map_or(&[], |field| &self.fixed[field.offset..field.offset + field.bytes])
    }

    fn number(&self, name: &str) -> u64 {
        match self.field(name) {
            bytes if bytes.len() == 4 => u32_at(bytes, 0).into(),
            bytes => u64_at(bytes, 0),
        }
    }

    /// The length of the arena block that a field names.
    fn length_of(&self, name: &str) -> u64 {
        u64_at(self.field(name), 8)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |b| u32::from_le_bytes(*b))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |b| u64::from_le_bytes(*b))
}

/// One number for a whole replay: its commands, what came back, and the device's memory at the end.
pub fn combined([commands, count]: [u64; 2], returned: &[u64], memory: &MemoryDigestReply) -> u64 {
    let mut all = Digest::new();
    all.push_memory(&commands.to_le_bytes());
    all.push_memory(&count.to_le_bytes());
    returned.iter().for_each(|digest| all.push_memory(&digest.to_le_bytes()));
    for number in [memory.digest, memory.allocations, memory.bytes] {
        all.push_memory(&number.to_le_bytes());
    }
    all.value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::local::LocalDevice;

    const STREAM: StreamId = StreamId::DEFAULT;

    /// A device with two allocations, and the first one's address.
    fn device() -> (LocalDevice, DevicePtr) {
        let mut device = LocalDevice::new(64 << 20, 1 << 20).expect("a device");
        device.call(&Init { flags: 0 }).expect("started");
        let at =
            device.call(&MemAlloc { context: ContextId::FIRST, bytes: 1 << 20 }).expect("room").at;
        (device, at)
    }

    fn digest(run: impl FnOnce(&mut LocalDevice, DevicePtr)) -> [u64; 2] {
        let (mut device, at) = device();
        device.call(&Question::Begin.query()).expect("a probe");
        run(&mut device, at);
        let reply = device.call(&Question::End.query()).expect("a probe");
        Question::answer(&reply).expect("a probe")
    }

    fn copy(device: &mut LocalDevice, dst: DevicePtr, bytes: &[u8]) {
        device
            .post(&MemcpyHtoD { dst, stream: STREAM, data: Tail::Inline(bytes) })
            .expect("honest");
    }

    fn fence(device: &mut LocalDevice, value: u64) {
        device.post(&Fence { stream: STREAM, index: value as u32 % 4, value }).expect("honest");
    }

    #[test]
    fn a_copy_in_pieces_is_one_copy_however_it_is_cut() {
        let data: Vec<u8> = (0..10_000_u32).map(|i| (i * 7) as u8).collect();
        let cut = |pieces: usize| {
            digest(|device, at| {
                for (i, piece) in data.chunks(pieces).enumerate() {
                    copy(device, at.offset((i * pieces) as u64), piece);
                }
                fence(device, 1);
            })
        };
        assert_eq!(cut(10_000), cut(777));
        assert_eq!(cut(10_000)[1], 2);
    }

    #[test]
    fn bytes_in_the_arena_count_as_inline_ones_do() {
        let data = vec![5; 100_000];
        let inline = digest(|device, at| copy(device, at, &data));
        let arena = digest(|device, dst| {
            let block = ArenaRef { addr: 640, len: data.len() as u64 };
            device.write_arena(block, &data);
            device
                .post(&MemcpyHtoD { dst, stream: STREAM, data: Tail::Arena(block) })
                .expect("honest");
        });
        assert_eq!(inline, arena);
    }

    #[test]
    fn every_byte_the_place_and_the_order_count() {
        let base = digest(|device, at| {
            copy(device, at, &[1; 64]);
            copy(device, at.offset(4096), &[2; 64]);
        });
        let swapped = digest(|device, at| {
            copy(device, at.offset(4096), &[2; 64]);
            copy(device, at, &[1; 64]);
        });
        let other_byte = digest(|device, at| {
            copy(device, at, &[1; 64]);
            let mut bytes = [2; 64];
            bytes[63] = 3;
            copy(device, at.offset(4096), &bytes);
        });
        let other_place = digest(|device, at| {
            copy(device, at, &[1; 64]);
            copy(device, at.offset(4097), &[2; 64]);
        });
        let all = [base, swapped, other_byte, other_place];
        for (i, one) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|other| other != one), "{i}");
        }
    }

    #[test]
    fn looks_at_a_fence_that_lasts_count_for_nothing() {
        let work = |looks: usize| {
            digest(|device, at| {
                copy(device, at, &[1; 64]);
                fence(device, 1);
                for _ in 0..looks {
                    device.call(&FenceStatus { stream: STREAM }).expect("no failure");
                }
                copy(device, at, &[2; 64]);
            })
        };
        assert_eq!(work(0), work(3));
    }

    #[test]
    fn fences_between_pieces_belong_to_the_copy_and_others_do_not() {
        let piece = |device: &mut LocalDevice, src: DevicePtr, len: u64| {
            let dst = ArenaRef { addr: 0, len };
            device.post(&MemcpyDtoH { dst, src, stream: STREAM }).expect("honest");
        };
        let whole = digest(|device, at| {
            piece(device, at, 200);
            fence(device, 1);
        });
        let pieces = digest(|device, at| {
            piece(device, at, 100);
            fence(device, 1);
            piece(device, at.offset(100), 100);
            fence(device, 2);
        });
        let synchronised_too = digest(|device, at| {
            piece(device, at, 200);
            fence(device, 1);
            fence(device, 2);
        });
        let after_more = digest(|device, at| {
            piece(device, at, 200);
            fence(device, 1);
            let create = EventCreate { context: ContextId::FIRST, event: EventId(1), flags: 0 };
            device.post(&create).expect("honest");
            fence(device, 2);
        });
        assert_eq!(whole, pieces);
        assert_eq!(whole, synchronised_too);
        assert_eq!(after_more[1], whole[1] + 2);
    }

    #[test]
    fn a_worker_without_probe_is_told_apart() {
        let reply = LibraryQueryReply { bytes: 32, answer: [1, 2, 3, 4, 0] };
        assert_eq!(Question::answer(&reply), None);
    }
}
