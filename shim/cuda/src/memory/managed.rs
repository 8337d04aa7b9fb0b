//! Managed variables: the device has each where its driver put it, the program has one at the same address, in memory of
//! its own, and the bytes go between the two.
//!
//! No device here says `CONCURRENT_MANAGED_ACCESS`, and without it CUDA forbids a program to touch managed memory while
//! work is under way. So what the program wrote is brought to the device before work is posted, and what the device wrote
//! is fetched when the program has waited for work. A program without managed variables pays one load for it.

use super::host;
use super::map::What;
use super::reserve::{self, Claim};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::handles::Handle;
use crate::session::{self, Live};
use ringbar::sync::{AtomicBool, Ordering::*};
use ringbar_vocabulary::{DevicePtr, Status, StreamId};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: u32 = 1;

/// One variable.
struct Variable {
    at: u64,
    module: Handle,
    context: &'static Context,
    /// Its own: copies must not wait for work of others.
    stream: StreamId,
    /// The bytes that host and device had in common last.
    known: Vec<u8>,
}

static ANY: AtomicBool = AtomicBool::new(false);
static VARIABLES: Mutex<Vec<Variable>> = Mutex::new(Vec::new());

fn variables() -> MutexGuard<'static, Vec<Variable>> {
    VARIABLES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Variable {
    fn of_program(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.known.len()];
        host::move_bytes(bytes.as_mut_ptr().addr() as u64, self.at, bytes.len() as u64);
        bytes
    }

    /// Brings what the program wrote to the device.
    fn bring_to_device(&mut self, live: &Live) -> Outcome {
        let bytes = self.of_program();
        if bytes != self.known {
            live.session.memcpy_htod(DevicePtr(self.at), &bytes, self.stream)?;
            live.session.synchronise(self.stream)?;
            self.known = bytes;
        }
        Ok(())
    }

    /// Brings what the device wrote to the program.
    fn bring_to_program(&mut self, live: &Live) -> Outcome {
        let mut bytes = vec![0; self.known.len()];
        live.session.memcpy_dtoh(&mut bytes, DevicePtr(self.at), self.stream)?;
        if bytes != self.known {
            host::move_bytes(self.at, bytes.as_ptr().addr() as u64, bytes.len() as u64);
            self.known = bytes;
        }
        Ok(())
    }
}

/// Memory of the program's at the addresses of a variable. NOT_SUPPORTED if something else is there.
fn map(at: u64, bytes: u64) -> Outcome {
    if reserve::claim(at, bytes) == Claim::Ours && reserve::open(at, bytes) {
        return Ok(());
    }
    tracing::error!(
        at = format_args!("{at:#x}"),
        bytes,
        "a managed variable lies where this process has other memory, so it cannot be reached; likely cause: chance; try: \
         start the program again, or use cudaMallocManaged"
    );
    Err(Status::NOT_SUPPORTED.into())
}

/// Makes a variable of a module that the device has at an address usable for the program at the same one.
pub(crate) fn place(at: u64, bytes: u64, module: Handle, context: &'static Context) -> Outcome {
    let mut variables = variables();
    if variables.iter().any(|known| known.at == at && known.module == module) {
        return Ok(());
    }
    let len = usize::try_from(bytes).map_err(|_| Failure(Status::INVALID_VALUE))?;
    map(at, bytes)?;
    let live = session::live()?;
    let stream = match variables.iter().find(|known| std::ptr::eq(known.context, context)) {
        Some(known) => known.stream,
        None => live.session.create_stream_in(context.id, NON_BLOCKING, 0)?,
    };
    let mut variable = Variable { at, module, context, stream, known: vec![0; len] };
    host::move_bytes(at, variable.known.as_ptr().addr() as u64, bytes);
    variable.bring_to_program(live)?;
    variables.push(variable);
    drop(variables);
    super::remember(at, bytes, What::ManagedVariable(module), context);
    ANY.store(true, Release);
    Ok(())
}

/// Before work is posted to a context.
#[inline(always)]
pub(crate) fn before_work(context: &Context) -> Outcome {
    if ANY.load(Relaxed) { in_context(context, Variable::bring_to_device) } else { Ok(()) }
}

/// After the program waited for work of a context.
#[inline(always)]
pub(crate) fn after_work(context: &Context) -> Outcome {
    if ANY.load(Relaxed) { in_context(context, Variable::bring_to_program) } else { Ok(()) }
}

#[cold]
fn in_context(context: &Context, each: impl Fn(&mut Variable, &Live) -> Outcome) -> Outcome {
    let live = session::live()?;
    let mut variables = variables();
    let here = variables.iter_mut().filter(|one| std::ptr::eq(one.context, context));
    here.into_iter().try_for_each(|variable| each(variable, live))
}

/// A module is unloaded with its variables.
pub(super) fn forget_module(module: Handle) {
    if ANY.load(Relaxed) {
        variables().retain(|variable| variable.module != module);
    }
}

/// A context is destroyed with everything in it.
pub(super) fn forget_context(context: &Context) {
    if ANY.load(Relaxed) {
        variables().retain(|variable| !std::ptr::eq(variable.context, context));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_has_is_no_place_for_a_variable() {
        let taken = [0_u8; 16];
        let at = taken.as_ptr().addr() as u64;
        assert_eq!(map(at, 16), Err(Failure(Status::NOT_SUPPORTED)));
    }

    #[test]
    fn variables_share_the_page_in_which_they_meet() {
        let at = 0x6b00_0000_0ff0;
        map(at, 32).expect("nothing is there");
        host::move_bytes(at, [7_u8; 32].as_ptr().addr() as u64, 32);
        map(at + 32, 16).expect("it is in the second page");
        assert_eq!(host::bytes(at + 24, 8), [7; 8]);
    }
}
