//! Options of the driver's just-in-time compiler, and what it says.

use ringbar_backend::Context;
use ringbar_vocabulary::*;
use std::ffi::{CStr, c_void};

/// `CU_JIT_INFO_LOG_BUFFER`, `CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES`.
const INFO_LOG: [u32; 2] = [3, 4];
/// `CU_JIT_ERROR_LOG_BUFFER`, `CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES`.
const ERROR_LOG: [u32; 2] = [5, 6];
/// Room for errors that nobody but our own log wants.
const OWN_LOG_BYTES: usize = 4096;
/// Bytes of an option and its value in the block.
const PAIR_BYTES: u64 = 16;

/// One compilation: the client's options, and what came back.
pub struct Compile {
    options: Vec<(u32, usize)>,
    info: Vec<u8>,
    error: Vec<u8>,
    /// Bytes that the compiler says it wrote.
    written: [u32; 2],
}

impl Default for Compile {
    /// Without options.
    fn default() -> Self {
        let (info, error) = (Vec::new(), vec![0; OWN_LOG_BYTES]);
        Self { options: Vec::new(), info, error, written: [0; 2] }
    }
}

/// The block of a command.
pub struct Ask {
    /// How many options there are.
    count: u32,
    info_bytes: u32,
    error_bytes: u32,
    block: ArenaRef,
}

impl From<&ModuleCompile<'_>> for Ask {
    fn from(c: &ModuleCompile<'_>) -> Self {
        let ModuleCompile { count, info_bytes, error_bytes, block, .. } = *c;
        Self { count, info_bytes, error_bytes, block }
    }
}

impl From<&Link<'_>> for Ask {
    fn from(c: &Link<'_>) -> Self {
        let Link { count, info_bytes, error_bytes, block, .. } = *c;
        Self { count, info_bytes, error_bytes, block }
    }
}

impl Ask {
    fn part(&self, start: u64, len: u64) -> Result<ArenaRef, Status> {
        self.block.part(start, len).ok_or(Status::INVALID_VALUE)
    }

    /// Where the logs go.
    fn logs(&self) -> Result<[ArenaRef; 2], Status> {
        let info_at = PAIR_BYTES * u64::from(self.count);
        let error_at = info_at + u64::from(self.info_bytes);
        let info = self.part(info_at, self.info_bytes.into())?;
        Ok([info, self.part(error_at, self.error_bytes.into())?])
    }

    /// What lies behind the logs.
    pub fn rest(&self) -> Result<ArenaRef, Status> {
        let logs = u64::from(self.info_bytes) + u64::from(self.error_bytes);
        let start = PAIR_BYTES * u64::from(self.count) + logs;
        self.part(start, self.block.len.saturating_sub(start))
    }
}

impl Compile {
    /// What a command asks for. INVALID_VALUE for options that do not travel: their values would be addresses.
    pub fn of(cx: &mut Context<'_>, c: &Ask) -> Result<Self, Status> {
        let count = c.count as usize;
        let too_long = c.info_bytes.max(c.error_bytes) > JIT_LOG_MAX_BYTES;
        if count > JIT_OPTIONS_MAX || too_long {
            return Err(Status::INVALID_VALUE);
        }
        cx.check_arena(c.block)?;
        c.logs()?;
        let mut bytes = vec![0; count * PAIR_BYTES as usize];
        let pairs = c.block.part(0, bytes.len() as u64).ok_or(Status::INVALID_VALUE)?;
        cx.read_arena(pairs, &mut bytes)?;
        let word = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
        let mut options = Vec::with_capacity(count);
        for pair in bytes.chunks_exact(PAIR_BYTES as usize) {
            let option = u32::try_from(word(&pair[..8])).map_err(|_| Status::INVALID_VALUE)?;
            if !JIT_OPTIONS.contains(&option) {
                return Err(Status::INVALID_VALUE);
            }
            options.push((option, word(&pair[8..]) as usize));
        }
        let room = |asked: u32, least: usize| vec![0; (asked as usize).max(least)];
        let (info, error) = (room(c.info_bytes, 0), room(c.error_bytes, OWN_LOG_BYTES));
        Ok(Self { options, info, error, written: [0; 2] })
    }

    /// Calls with the options as the driver takes them, and keeps what it writes into their values.
    pub fn with(
        &mut self,
        call: impl FnOnce(&mut [u32], &mut [*mut c_void]) -> Result<(), Status>,
    ) -> Result<(), Status> {
        let number = std::ptr::without_provenance_mut::<c_void>;
        let mut options: Vec<u32> = self.options.iter().map(|pair| pair.0).collect();
        let mut values: Vec<_> = self.options.iter().map(|pair| number(pair.1)).collect();
        for (log, names) in [(&mut self.info, INFO_LOG), (&mut self.error, ERROR_LOG)] {
            options.extend(names);
            values.extend([log.as_mut_ptr().cast(), number(log.len())]);
        }
        if self.info.is_empty() {
            options.drain(self.options.len()..self.options.len() + INFO_LOG.len());
            values.drain(self.options.len()..self.options.len() + INFO_LOG.len());
        }
        let called = call(&mut options, &mut values);
        for (pair, value) in self.options.iter_mut().zip(&values) {
            pair.1 = value.addr();
        }
        for (option, value) in options.iter().zip(&values) {
            // The driver writes 32 bits of the value.
            match *option {
                option if option == INFO_LOG[1] => self.written[0] = value.addr() as u32,
                option if option == ERROR_LOG[1] => self.written[1] = value.addr() as u32,
                _ => {}
            }
        }
        called
    }

    /// What the compiler says is wrong.
    pub fn errors(&self) -> String {
        text(&self.error).to_string_lossy().into_owned()
    }

    /// The answer to the command, its logs in their places.
    pub fn answer(
        self,
        cx: &mut Context<'_>,
        c: &Ask,
        done: Result<(), Status>,
    ) -> Result<ModuleCompileReply, Status> {
        for (place, log) in c.logs()?.into_iter().zip([&self.info, &self.error]) {
            if place.len == 0 {
                continue;
            }
            // A log that is longer than its place came from the room that is our own.
            let mut bytes = text(log).to_bytes().to_vec();
            bytes.truncate(place.len as usize - 1);
            bytes.push(0);
            let part = place.part(0, bytes.len() as u64).ok_or(Status::INVALID_VALUE)?;
            cx.write_arena(part, &bytes)?;
        }
        let status = told(&done)?;
        let value = |option| self.options.iter().find(|pair| pair.0 == option);
        let value = |option| value(option).map_or(0, |pair| pair.1 as u32);
        let shown = |room: u32, written: u32| written.min(room);
        Ok(ModuleCompileReply {
            status,
            info_bytes: shown(c.info_bytes, self.written[0]),
            error_bytes: shown(c.error_bytes, self.written[1]),
            wall_time_bits: value(JIT_WALL_TIME),
            block_threads: value(JIT_THREADS_PER_BLOCK),
        })
    }
}

/// How it went, as a reply tells it. A failure that ended the device is everybody's, and so no reply's.
fn told(done: &Result<(), Status>) -> Result<u32, Status> {
    match Status::of(done) {
        status if status.is_sticky() => Err(status),
        status => Ok(status.0),
    }
}

/// A log up to its terminating zero.
fn text(log: &[u8]) -> &CStr {
    CStr::from_bytes_until_nul(log).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the driver does with its options, as cuda.h describes it.
    fn driver(options: &[u32], values: &mut [*mut c_void], says: &[u8]) -> Result<(), Status> {
        let at = |option| options.iter().position(|found| *found == option).expect("asked for");
        let room = values[at(ERROR_LOG[1])].addr();
        assert!(room > says.len());
        let log = values[at(ERROR_LOG[0])].cast::<u8>();
        // SAFETY: a test's log with as much room as was just checked.
        unsafe { log.copy_from_nonoverlapping(says.as_ptr(), says.len()) };
        values[at(ERROR_LOG[1])] = std::ptr::without_provenance_mut(says.len());
        values[0] = std::ptr::without_provenance_mut(96);
        Err(Status(218))
    }

    #[test]
    fn a_failure_that_ended_the_device_fails_the_command_and_any_other_is_told_with_the_logs() {
        assert_eq!(told(&Ok(())), Ok(0));
        assert_eq!(told(&Err(Status(218))), Ok(218), "the image was refused");
        assert_eq!(told(&Err(Status(700))), Err(Status(700)));
    }

    #[test]
    fn values_that_the_driver_writes_come_back_and_an_unwanted_log_is_not_asked_for() {
        let options = vec![(JIT_THREADS_PER_BLOCK, 77)];
        let mut compile = Compile { options, ..Compile::default() };
        let called = compile.with(|options, values| {
            assert_eq!(options, [JIT_THREADS_PER_BLOCK, ERROR_LOG[0], ERROR_LOG[1]]);
            assert_eq!(values[0].addr(), 77);
            driver(options, values, b"ptxas: line 3")
        });
        assert_eq!(called, Err(Status(218)));
        assert_eq!(compile.errors(), "ptxas: line 3");
        assert_eq!((compile.options[0].1, compile.written), (96, [0, 13]));
    }
}
