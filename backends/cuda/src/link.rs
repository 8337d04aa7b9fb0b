//! Linking: nothing of it stays in the worker.

use crate::api::Raw;
use crate::compile::{Ask, Compile};
use crate::live::Live;
use crate::module::{check_image, padded};
use ringbar_backend::Context;
use ringbar_images::IMAGE_MAX_BYTES;
use ringbar_vocabulary::*;
use std::ffi::{CString, c_void};

/// `CU_JIT_INPUT_CUBIN`.
const CUBIN: u32 = 0;
/// `CU_JIT_INPUT_FATBINARY`.
const FAT_BINARY: u32 = 2;

/// An input in private memory.
struct Input {
    kind: u32,
    name: CString,
    /// With zeros behind it.
    data: Vec<u8>,
    bytes: usize,
    options: Vec<u32>,
    values: Vec<*mut c_void>,
}

impl Input {
    fn of(input: &LinkInput<'_>) -> Result<Self, Status> {
        if [CUBIN, FAT_BINARY].contains(&input.kind) {
            check_image(input.data)?;
        }
        let number = |value: u64| std::ptr::without_provenance_mut::<c_void>(value as usize);
        Ok(Self {
            kind: input.kind,
            name: CString::new(input.name).map_err(|_| Status::INVALID_VALUE)?,
            data: padded(input.data),
            bytes: input.data.len(),
            options: input.options.iter().map(|pair| pair.0).collect(),
            values: input.options.iter().map(|pair| number(pair.1)).collect(),
        })
    }
}

impl Live {
    pub fn link(&mut self, cx: &mut Context<'_>, c: Link<'_>) -> Result<LinkReply, Status> {
        let ask = Ask::from(&c);
        let mut compile = Compile::of(cx, &ask)?;
        let mut scratch = Vec::new();
        let bytes = cx.tail(c.inputs, &mut scratch, IMAGE_MAX_BYTES as usize)?;
        let inputs = LinkInput::all(bytes)?;
        self.enter(c.context)?;
        let mut image = Vec::new();
        let inputs = inputs.iter().map(Input::of).collect::<Result<Vec<_>, _>>();
        let done = inputs.and_then(|mut inputs| {
            compile.with(|options, values| {
                image = self.link_all(&mut inputs, c.check == 0, options, values)?;
                Ok(())
            })
        });
        let place = ask.rest()?.part(0, image.len() as u64).filter(|_| !image.is_empty());
        if let Some(place) = place {
            cx.write_arena(place, &image)?;
        }
        let said = compile.answer(cx, &ask, done)?;
        Ok(LinkReply {
            status: said.status,
            info_bytes: said.info_bytes,
            error_bytes: said.error_bytes,
            wall_time_bits: said.wall_time_bits,
            block_threads: said.block_threads,
            image_bytes: image.len() as u64,
        })
    }

    /// Adds the inputs, and links them if that is wanted; the linker is gone afterwards.
    fn link_all(
        &self,
        inputs: &mut [Input],
        wanted: bool,
        options: &mut [u32],
        values: &mut [*mut c_void],
    ) -> Result<Vec<u8>, Status> {
        let (mut state, count) = (0, options.len() as u32);
        let (options, values) = (options.as_mut_ptr(), values.as_mut_ptr());
        // SAFETY: so many options with their values, which live until the linker is gone, as do the logs among them.
        unsafe { self.api.cuLinkCreate_v2(count, options, values, &mut state) }?;
        let added = inputs.iter_mut().try_for_each(|input| self.add_input(state, input));
        let image = added.and_then(|()| if wanted { self.linked(state) } else { Ok(Vec::new()) });
        let ended = self.api.cuLinkDestroy(state);
        image.and_then(|image| ended.map(|()| image))
    }

    fn add_input(&self, state: Raw, input: &mut Input) -> Result<(), Status> {
        // SAFETY: private bytes with zeros behind them, a name with a terminating zero, options with their values.
        unsafe {
            self.api.cuLinkAddData_v2(
                state,
                input.kind,
                input.data.as_mut_ptr().cast(),
                input.bytes,
                input.name.as_ptr(),
                input.options.len() as u32,
                input.options.as_mut_ptr(),
                input.values.as_mut_ptr(),
            )
        }
    }

    /// A copy of the image that a linker makes.
    fn linked(&self, state: Raw) -> Result<Vec<u8>, Status> {
        let (mut image, mut bytes) = (std::ptr::null_mut(), 0);
        // SAFETY: places for an address and a size.
        unsafe { self.api.cuLinkComplete(state, &mut image, &mut bytes) }?;
        if image.is_null() {
            return Ok(Vec::new());
        }
        // SAFETY: the driver's image of that size, which is there until the linker is gone.
        Ok(unsafe { std::slice::from_raw_parts(image.cast::<u8>(), bytes) }.to_vec())
    }
}
