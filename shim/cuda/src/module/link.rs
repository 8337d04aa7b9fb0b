//! `cuLink*`: texts and images become one image. The executor's driver does it; it keeps nothing, and the linker here keeps
//! what was added and what came out of it.

use super::Options;
use super::calls::read;
use crate::arg::{In, InBytes, InOut, Out, Text};
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::handles::{Kind, Table};
use crate::memory::host;
use crate::session::live;
use crate::tls;
use crate::types::CUlinkState;
use ringbar_images::IMAGE_MAX_BYTES;
use ringbar_vocabulary::{LINK_NAME_MAX_BYTES, Link, LinkInput, ModuleCompileReply, Status, Tail};
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `CU_JIT_NUM_INPUT_TYPES`.
const KINDS: u32 = 6;
/// `CU_JIT_INPUT_PTX`.
const PTX: u32 = 1;
/// The inputs do not fit together. NVIDIA's linker keeps such an input, and fails at the end too.
const INVALID_SOURCE: Failure = Failure(Status::INVALID_SOURCE);
/// Room for an image beyond that of its inputs, at first.
const MORE_BYTES: u64 = 64 << 10;

/// A linker. Never freed, but for what it holds.
pub struct Linker {
    context: &'static Context,
    options: Options,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What was added, as it travels.
    inputs: Vec<u8>,
    /// What came out of it; the program has its address.
    image: Option<Box<[u8]>>,
}

static LINKERS: Table<Linker> = Table::new(Kind::Linker);

fn get(state: CUlinkState) -> Outcome<&'static Linker> {
    LINKERS.get(state).ok_or(Failure(Status::INVALID_HANDLE))
}

impl Linker {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the executor take the inputs, or link them; answers how long the image is, and as much of it as there was room for.
    fn run(&self, inputs: &[u8], check: bool, room: u64) -> Outcome<(u64, Vec<u8>)> {
        let live = live()?;
        let asked = self.options.ask(live, room)?;
        let reply = live.call(&Link {
            context: self.context.id,
            check: check.into(),
            count: asked.count,
            info_bytes: asked.info_bytes,
            error_bytes: asked.error_bytes,
            block: asked.block.place(),
            inputs: Tail::Inline(inputs),
        })?;
        let told = ModuleCompileReply {
            status: reply.status,
            info_bytes: reply.info_bytes,
            error_bytes: reply.error_bytes,
            wall_time_bits: reply.wall_time_bits,
            block_threads: reply.block_threads,
        };
        Ok((reply.image_bytes, self.options.told(&asked, &told)?))
    }

    /// Adds an input, which is looked at at once.
    fn add(&self, kind: u32, data: &[u8], name: &[u8], options: &Options) -> Outcome {
        let mut state = self.state();
        let wrong = state.image.is_some() || kind >= KINDS || data.is_empty();
        if wrong || (state.inputs.len() + data.len()) as u64 > IMAGE_MAX_BYTES / 2 {
            return Err(Status::INVALID_VALUE.into());
        }
        let (before, options) = (state.inputs.len(), options.only_numbers()?.to_vec());
        let name = &name[..name.len().min(LINK_NAME_MAX_BYTES)];
        LinkInput { kind, options, name, data }.append(&mut state.inputs);
        let taken = self.run(&state.inputs, true, 0).map(|_| ());
        if taken.is_err_and(|failure| failure != INVALID_SOURCE) {
            state.inputs.truncate(before);
        }
        taken
    }

    /// Links all that was added.
    fn complete(&self) -> Outcome<(*mut c_void, usize)> {
        let mut state = self.state();
        if state.image.is_some() {
            return Err(Status::INVALID_HANDLE.into());
        }
        let room = 2 * state.inputs.len() as u64 + MORE_BYTES;
        let (mut bytes, mut image) = self.run(&state.inputs, false, room)?;
        if bytes > image.len() as u64 {
            (bytes, image) = self.run(&state.inputs, false, bytes)?;
        }
        if bytes > image.len() as u64 {
            tracing::error!(bytes, "a linked image grew while it was fetched: please report it");
            return Err(Status::UNKNOWN.into());
        }
        image.truncate(bytes as usize);
        let image = state.image.insert(image.into());
        Ok((image.as_mut_ptr().cast(), image.len()))
    }
}

fn create(count: u32, options: In<u32>, values: InOut<usize>, place: Out<CUlinkState>) -> Outcome {
    let place = place.required()?;
    let (context, options) = (tls::current()?, Options::read(count, options, values)?);
    let made = LINKERS.insert(|_| Linker { context, options, state: Mutex::default() })?;
    place.set(made.0)
}

fn add_data(
    state: CUlinkState,
    kind: u32,
    data: InBytes,
    bytes: usize,
    name: Text,
    options: &Options,
) -> Outcome {
    let linker = get(state)?;
    if data == 0 || bytes == 0 {
        return Err(Status::INVALID_VALUE.into());
    }
    let bytes = host::bytes(data as u64, bytes as u64);
    linker.add(kind, bytes, name.bytes().unwrap_or_default(), options)
}

fn add_file(state: CUlinkState, kind: u32, path: Text, options: &Options) -> Outcome {
    let linker = get(state)?;
    let mut bytes = read(path)?;
    if kind != PTX {
        // The zero that ends a text is no part of anything else.
        bytes.pop();
    }
    linker.add(kind, &bytes, path.bytes()?, options)
}

entry! {
    /// Makes a linker for the current context's device. Logs are filled while inputs are added and when the link is done.
    local fn cuLinkCreate_v2(count: u32, options[count]: In<u32>, values[count]: InOut<usize>, state: Out<CUlinkState>) {
        create(count, options, values, state)
    }

    /// The same by its first name.
    local fn cuLinkCreate(count: u32, options[count]: In<u32>, values[count]: InOut<usize>, state: Out<CUlinkState>) {
        create(count, options, values, state)
    }

    /// Adds an input to a linker.
    sync fn cuLinkAddData_v2(state: CUlinkState, kind: u32, data[bytes]: InBytes, bytes: usize, name: Text, count: u32, options[count]: In<u32>, values[count]: InOut<usize>) {
        add_data(state, kind, data, bytes, name, &Options::read(count, options, values)?)
    }

    /// The same by its first name.
    sync fn cuLinkAddData(state: CUlinkState, kind: u32, data[bytes]: InBytes, bytes: usize, name: Text, count: u32, options[count]: In<u32>, values[count]: InOut<usize>) {
        add_data(state, kind, data, bytes, name, &Options::read(count, options, values)?)
    }

    /// Adds a file of the program's to a linker.
    sync fn cuLinkAddFile_v2(state: CUlinkState, kind: u32, path: Text, count: u32, options[count]: In<u32>, values[count]: InOut<usize>) {
        add_file(state, kind, path, &Options::read(count, options, values)?)
    }

    /// The same by its first name.
    sync fn cuLinkAddFile(state: CUlinkState, kind: u32, path: Text, count: u32, options[count]: In<u32>, values[count]: InOut<usize>) {
        add_file(state, kind, path, &Options::read(count, options, values)?)
    }

    /// Links what was added. The image belongs to the linker.
    sync fn cuLinkComplete(state: CUlinkState, image: Out<*mut c_void>, bytes: Out<usize>) {
        let linker = get(state)?;
        let image = image.required()?;
        let (at, len) = linker.complete()?;
        bytes.set_if_wanted(len);
        image.set(at)
    }

    /// Ends a linker, and the image that it made.
    local fn cuLinkDestroy(state: CUlinkState) {
        let linker = LINKERS.remove(state).ok_or(Failure(Status::INVALID_HANDLE))?;
        *linker.state() = State::default();
        Ok(())
    }
}
