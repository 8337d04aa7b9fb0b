//! `commands`: what a client puts into a record, up to the device that executes it.

use crate::input::Input;
use ringbar_backend::testing::FakeWorker;
use ringbar_backend::{Backend, Executed};
use ringbar_mock::{DEVICE_BASE, MockConfig, MockGpu, image};
use ringbar_vocabulary::{
    Class, DecodeError, Done, FLAG_TAIL_IN_ARENA, FieldRow, Handler, ROWS, Row, Status, dispatch,
    reencode,
};

const ARENA_BYTES: usize = 1 << 16;
const FENCES: usize = 16;
/// Device memory of the mock: small, so that it is often used up.
const DEVICE_BYTES: u64 = 1 << 20;
/// Commands of one session, at most.
const COMMANDS_MAX: usize = 200;

/// The first byte says whether the rest is one command, or a session with a mock GPU.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    if input.byte() & 1 == 0 {
        // Either answer is fine, as long as it is consistent.
        let _ = one(input.rest());
    } else {
        session(&mut input);
    }
}

/// Takes every command and does nothing; counts.
struct Taker(usize);

impl Handler<()> for Taker {
    fn unsupported(&mut self, (): &mut (), _: &'static Row) -> Status {
        self.0 += 1;
        Status::NOT_SUPPORTED
    }
}

/// Arbitrary bytes: refused without a handler being called, or a command that has no other encoding.
pub fn one(bytes: &[u8]) -> Result<Done, DecodeError> {
    let mut taker = Taker(0);
    let done = dispatch(&mut taker, &mut (), bytes);
    let mut again = Vec::new();
    let row = reencode(bytes, &mut again);
    match &done {
        Ok(done) => {
            assert_eq!((taker.0, &again[..]), (1, bytes), "{done:?} has two encodings");
            let row = row.expect("what is dispatched is decoded");
            assert_eq!(matches!(done, Done::Replied(_)), row.class == Class::Sync);
        }
        Err(error) => {
            assert_eq!((taker.0, row.map(|row| row.name)), (0, Err(*error)));
            assert!(again.is_empty() && !error.to_string().is_empty());
        }
    }
    done
}

/// Commands with sensible handles and addresses, mutated lengths, and raw ones between, until a violation.
fn session(input: &mut Input<'_>) {
    executed(input);
}

/// The same; returns how many commands were executed, and how many posted ones failed.
pub fn executed(input: &mut Input<'_>) -> (usize, u64) {
    let config = MockConfig {
        seed: u64::from(input.byte()),
        device_memory_bytes: DEVICE_BYTES,
        scrub_on_free: input.byte() & 1 == 1,
        ..MockConfig::default()
    };
    let mut gpu = MockGpu::new(config).expect("a mock GPU");
    let mut worker = FakeWorker::new(ARENA_BYTES, FENCES);
    let mut commands = 0;
    while !input.is_empty() && commands < COMMANDS_MAX {
        let bytes = command(input);
        match worker.execute(&mut gpu, &bytes) {
            Ok(executed) => check_class(&bytes, &executed),
            Err(violation) => {
                assert!(!violation.to_string().is_empty());
                break;
            }
        }
        commands += 1;
    }
    // A stream may wait for the client, or for a value that nobody writes: that ends with the device.
    let stalled = !gpu.is_idle();
    drop(gpu);
    let (latched, failures) = (worker.errors.first(), worker.errors.count());
    assert!(stalled || latched.is_some() == (failures > 0));
    assert!(latched.is_none_or(|(position, _)| position < worker.position()));
    (commands, failures)
}

fn check_class(bytes: &[u8], executed: &Executed) {
    let opcode = u16::from_le_bytes([bytes[0], bytes[1]]);
    let class = Row::by_opcode(opcode).map(|row| row.class);
    match executed {
        Executed::Posted => assert_eq!(class, Some(Class::Post)),
        Executed::Replied(reply) => {
            assert_eq!(class, Some(Class::Sync));
            let (bytes, len) = reply.to_bytes();
            assert!(bytes[len..].iter().all(|&byte| byte == 0), "padding of a reply");
        }
    }
}

/// One command, built from the table: each field by its type.
fn command(input: &mut Input<'_>) -> Vec<u8> {
    let how = input.byte();
    if how >= 0xf0 {
        let len = usize::from(input.byte());
        return input.bytes(len).to_vec();
    }
    let row = &ROWS[usize::from(how) % ROWS.len()];
    let tail = row.tail.map(|_| tail(input));
    let (flags, tail) = tail.unwrap_or_default();
    let mut bytes = Vec::new();
    bytes.extend(row.opcode.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.extend((tail.len() as u32).to_le_bytes());
    let mut fixed = vec![0; row.fixed_bytes()];
    for field in row.fields {
        fill(input, field, &mut fixed[field.offset..field.offset + field.bytes]);
    }
    bytes.extend(fixed);
    bytes.extend(&tail);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let mutation = input.byte();
    if mutation >= 0xf8 {
        let at = usize::from(input.u16()) % bytes.len();
        bytes[at] ^= 1 << (mutation & 7);
    }
    bytes
}

fn fill(input: &mut Input<'_>, field: &FieldRow, into: &mut [u8]) {
    match field.ty {
        "ContextId" => into[0] = u8::from(input.byte() >= 0xf0),
        "NodeId" => into[0] = input.byte() & 7,
        name if name.ends_with("Id") => into[0] = input.byte() & 3,
        "Corner" => {
            let at = DEVICE_BASE + u64::from(input.byte() & 7) * 256;
            let (pitch, slice) = (u64::from(input.byte()), u64::from(input.byte()) * 16);
            for (place, number) in into.chunks_exact_mut(8).zip([at, pitch, slice]) {
                place.copy_from_slice(&number.to_le_bytes());
            }
        }
        "DevicePtr" => {
            let at = DEVICE_BASE + u64::from(input.byte() & 7) * 256 + u64::from(input.byte() & 15);
            into.copy_from_slice(&at.to_le_bytes());
        }
        "ArenaRef" => into.copy_from_slice(&arena_block(input)),
        // Grid and block of a launch, which one of a thousand values would fit.
        "[u32; 3]" => into.copy_from_slice(&[1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]),
        _ => {
            for place in into.chunks_mut(8) {
                let how = input.byte();
                let raw = if how & 1 == 0 { u64::from(how >> 1) } else { input.near(DEVICE_BYTES) };
                place.copy_from_slice(&raw.to_le_bytes()[..place.len()]);
            }
        }
    }
}

fn arena_block(input: &mut Input<'_>) -> [u8; 16] {
    let (mut addr, mut len) = (u64::from(input.u16()), u64::from(input.byte()) * 8);
    if input.byte() >= 0xfc {
        (addr, len) = (input.u64(), input.near(ARENA_BYTES as u64));
    }
    let mut block = [0; 16];
    block[..8].copy_from_slice(&addr.to_le_bytes());
    block[8..].copy_from_slice(&len.to_le_bytes());
    block
}

/// Flags and bytes of a tail: something that a module load, a lookup or a launch may want, or anything.
fn tail(input: &mut Input<'_>) -> (u16, Vec<u8>) {
    const NAMES: [&str; 6] = ["fill_u32", "axpy_f32", "copy", "mix", "mix_40", "mix_7"];
    let how = input.byte();
    let name = NAMES[usize::from(how >> 4) % NAMES.len()];
    let bytes = match how & 7 {
        0 => image(&NAMES[..4]),
        1 => image(&[name]),
        2 | 3 => name.as_bytes().to_vec(),
        4 => return (FLAG_TAIL_IN_ARENA, arena_block(input).to_vec()),
        5 => kernel_params(input),
        _ => {
            let len = usize::from(input.byte());
            input.bytes(len).to_vec()
        }
    };
    (0, bytes)
}

/// A parameter block of device addresses and small numbers.
fn kernel_params(input: &mut Input<'_>) -> Vec<u8> {
    let words = usize::from(input.byte() % 16);
    let mut block = Vec::new();
    for _ in 0..words {
        let word = match input.byte() {
            how if how & 1 == 0 => DEVICE_BASE + u64::from(how >> 1) * 256,
            how => u64::from(how >> 1),
        };
        block.extend(word.to_le_bytes());
    }
    let cut = usize::from(input.byte() & 7);
    block.truncate(block.len().saturating_sub(cut));
    block
}
