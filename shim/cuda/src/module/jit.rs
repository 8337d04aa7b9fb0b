//! Options of the just-in-time compiler: those that are numbers travel to the executor's driver, and its logs come back.

use crate::arg::{In, Out};
use crate::failure::Outcome;
use crate::session::Live;
use ringbar_session::AnswerBlock;
use ringbar_vocabulary::{
    ContextId, JIT_LOG_MAX_BYTES, JIT_OPTIONS, JIT_OPTIONS_MAX, JIT_THREADS_PER_BLOCK,
    JIT_WALL_TIME, ModuleCompile, ModuleCompileReply, ModuleId, Status, Tail,
};
use std::ffi::c_char;

const INFO_LOG: u32 = 3;
const INFO_LOG_BYTES: u32 = 4;
const ERROR_LOG: u32 = 5;
const ERROR_LOG_BYTES: u32 = 6;
/// Options that name symbols of the program's own memory.
const OF_SYMBOLS: [(u32, &str); 7] = [
    (17, "CU_JIT_GLOBAL_SYMBOL_NAMES"),
    (18, "CU_JIT_GLOBAL_SYMBOL_ADDRESSES"),
    (19, "CU_JIT_GLOBAL_SYMBOL_COUNT"),
    (25, "CU_JIT_REFERENCED_KERNEL_NAMES"),
    (26, "CU_JIT_REFERENCED_KERNEL_COUNT"),
    (27, "CU_JIT_REFERENCED_VARIABLE_NAMES"),
    (28, "CU_JIT_REFERENCED_VARIABLE_COUNT"),
];

/// A buffer of the program's for one log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Log {
    address: usize,
    bytes: u32,
}

/// The block of a command.
pub(super) struct Asked<'l> {
    pub(super) block: AnswerBlock<'l>,
    /// How many options there are.
    pub(super) count: u32,
    logs_at: usize,
    pub(super) info_bytes: u32,
    pub(super) error_bytes: u32,
    bytes: u64,
}

/// What a program asks of the compiler.
#[derive(Debug, Default)]
pub struct Options {
    /// What travels, in the program's order.
    numbers: Vec<(u32, u64)>,
    info: Log,
    error: Log,
    /// Every option as it was given, with the address of its value.
    given: Vec<(u32, usize)>,
}

fn at<T>(address: usize) -> Out<T> {
    Out::at_address(std::ptr::with_exposed_provenance_mut(address))
}

impl Options {
    /// The options of a call. INVALID_VALUE for what is no option; NOT_SUPPORTED, by name, for what cannot travel.
    pub fn read(count: u32, options: In<u32>, values: Out<usize>) -> Outcome<Self> {
        let mut read = Self::default();
        if count == 0 {
            return Ok(read);
        }
        if options.is_null() || values.is_null() || count as usize > JIT_OPTIONS_MAX {
            return Err(Status::INVALID_VALUE.into());
        }
        for index in 0..count as usize {
            let (option, value) = (options.at(index)?, values.at(index).get()?);
            read.add(option, value)?;
            read.given.push((option, values.at(index).as_ptr().expose_provenance()));
        }
        Ok(read)
    }

    fn add(&mut self, option: u32, value: usize) -> Outcome {
        // The driver, too, reads 32 bits of a number.
        let number = value as u32;
        match option {
            INFO_LOG => self.info.address = value,
            INFO_LOG_BYTES => self.info.bytes = number.min(JIT_LOG_MAX_BYTES),
            ERROR_LOG => self.error.address = value,
            ERROR_LOG_BYTES => self.error.bytes = number.min(JIT_LOG_MAX_BYTES),
            _ if JIT_OPTIONS.contains(&option) => self.numbers.push((option, number.into())),
            _ => return Err(refused(option).into()),
        }
        Ok(())
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty() && self.numbers.is_empty()
    }

    /// Whether the program wants to be told something.
    pub fn wants_answers(&self) -> bool {
        let answers = [
            JIT_THREADS_PER_BLOCK,
            JIT_WALL_TIME,
            INFO_LOG,
            INFO_LOG_BYTES,
            ERROR_LOG,
            ERROR_LOG_BYTES,
        ];
        self.given.iter().any(|(option, _)| answers.contains(option))
    }

    /// The same for a compilation after the call: its buffers may be gone then.
    pub fn for_later(&self) -> Self {
        Self { numbers: self.numbers.clone(), ..Self::default() }
    }

    /// Loads an image under a number, and fills what the options ask to be filled.
    pub fn load(&self, live: &Live, context: ContextId, module: ModuleId, image: &[u8]) -> Outcome {
        let asked = self.ask(live, 0)?;
        let Asked { count, info_bytes, error_bytes, .. } = asked;
        let (block, bytes, image) = (asked.block.place(), image.len() as u64, Tail::Inline(image));
        let command =
            ModuleCompile { context, module, count, info_bytes, error_bytes, block, image };
        let reply = live.call(&command)?;
        live.session.count_image(bytes, 0);
        self.told(&asked, &reply).map(|_| ())
    }

    /// What a command carries: the options, room for the logs, and behind them room for `more` bytes.
    pub(super) fn ask<'l>(&self, live: &'l Live, more: u64) -> Outcome<Asked<'l>> {
        let room = |log: Log| if log.address == 0 { 0 } else { log.bytes };
        let (info_bytes, error_bytes) = (room(self.info), room(self.error));
        let words = self.numbers.iter().flat_map(|&(option, value)| [option.into(), value]);
        let pairs: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        let bytes = pairs.len() as u64 + u64::from(info_bytes) + u64::from(error_bytes) + more;
        let block = live.session.answer_block(bytes.max(1))?;
        block.write(&pairs)?;
        let (count, logs_at) = (self.numbers.len() as u32, pairs.len());
        Ok(Asked { block, count, logs_at, info_bytes, error_bytes, bytes })
    }

    /// Fills logs and values with what the compiler answered; gives what lies behind the logs, or how it failed.
    pub(super) fn told(&self, asked: &Asked<'_>, reply: &ModuleCompileReply) -> Outcome<Vec<u8>> {
        let mut written = vec![0; asked.bytes as usize];
        asked.block.read(&mut written)?;
        let (info, rest) = written[asked.logs_at..].split_at(asked.info_bytes as usize);
        let (error, rest) = rest.split_at(asked.error_bytes as usize);
        let rest_at = written.len() - rest.len();
        fill(self.info, info)?;
        fill(self.error, error)?;
        self.answer(reply)?;
        Status(reply.status).ok()?;
        written.drain(..rest_at);
        Ok(written)
    }

    /// The options that are numbers, for what is only a part of the work: logs are asked of the whole alone.
    pub(super) fn only_numbers(&self) -> Outcome<&[(u32, u64)]> {
        let numbers = self.given.iter().all(|(option, _)| JIT_OPTIONS.contains(option));
        if numbers { Ok(&self.numbers) } else { Err(Status::NOT_SUPPORTED.into()) }
    }

    /// Fills the values that the compiler answers with.
    fn answer(&self, reply: &ModuleCompileReply) -> Outcome {
        for &(option, place) in &self.given {
            let value = match option {
                JIT_THREADS_PER_BLOCK => reply.block_threads,
                JIT_WALL_TIME => reply.wall_time_bits,
                INFO_LOG_BYTES => reply.info_bytes,
                ERROR_LOG_BYTES => reply.error_bytes,
                _ => continue,
            };
            at::<usize>(place).set(value as usize)?;
        }
        Ok(())
    }
}

/// Copies a log with its terminating zero into the program's buffer.
fn fill(log: Log, text: &[u8]) -> Outcome {
    let end = text.iter().position(|&byte| byte == 0).map_or(0, |zero| zero + 1);
    at::<c_char>(log.address).set_all(text[..end].iter().map(|&byte| byte as c_char))
}

#[cold]
fn refused(option: u32) -> Status {
    match OF_SYMBOLS.iter().find(|(number, _)| *number == option) {
        Some((_, name)) => {
            tracing::warn!(
                option = name,
                "an option of the compiler that refers to the program's memory is not supported"
            );
            Status::NOT_SUPPORTED
        }
        None => Status::INVALID_VALUE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(u32, usize)]) -> Outcome<Options> {
        let (options, mut values): (Vec<u32>, Vec<usize>) = pairs.iter().copied().unzip();
        let count = pairs.len() as u32;
        Options::read(count, In::at_address(options.as_ptr()), Out::at_address(values.as_mut_ptr()))
    }

    #[test]
    fn numbers_travel_and_logs_stay() {
        let read = read(&[(0, 32), (ERROR_LOG, 0x1000), (7, 3), (ERROR_LOG_BYTES, 1 << 30)]);
        let options = read.expect("options");
        assert_eq!(options.numbers, [(0, 32), (7, 3)]);
        assert_eq!(options.error, Log { address: 0x1000, bytes: JIT_LOG_MAX_BYTES });
        assert!(options.wants_answers() && !options.for_later().wants_answers());
        assert_eq!(options.for_later().numbers, options.numbers);
    }

    #[test]
    fn what_refers_to_memory_is_not_supported_and_what_is_no_option_is_invalid() {
        for (option, _) in OF_SYMBOLS {
            assert_eq!(read(&[(option, 0)]).err(), Some(Status::NOT_SUPPORTED.into()));
        }
        assert_eq!(read(&[(99, 0)]).err(), Some(Status::INVALID_VALUE.into()));
        let missing = Options::read(1, In::null(), Out::null());
        assert_eq!(missing.err(), Some(Status::INVALID_VALUE.into()));
    }

    #[test]
    fn a_log_is_copied_up_to_its_end() {
        let mut buffer = [7_u8; 8];
        let address = buffer.as_mut_ptr().expose_provenance();
        assert_eq!(fill(Log { address, bytes: 8 }, b"no\0\0\0\0\0\0"), Ok(()));
        assert_eq!(buffer, [b'n', b'o', 0, 7, 7, 7, 7, 7]);
        assert_eq!(fill(Log::default(), b""), Ok(()), "no buffer");
    }
}
