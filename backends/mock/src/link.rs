//! Linking: of PTX texts, and of one image with nothing.

use crate::gpu::MockGpu;
use crate::module::Refusal;
use ringbar_backend::Context;
use ringbar_images::{EntryKind, LinkError, entries, link_texts};
use ringbar_vocabulary::*;
use std::borrow::Cow;

/// `CU_JIT_NUM_INPUT_TYPES`.
const KINDS: u32 = 6;
/// `CU_JIT_INPUT_CUBIN`.
const CUBIN: u32 = 0;
/// `CU_JIT_INPUT_PTX`.
const PTX: u32 = 1;
/// `CU_JIT_INPUT_FATBINARY`.
const FAT_BINARY: u32 = 2;

fn refusal(status: Status, why: impl ToString) -> Refusal {
    Refusal { status, why: why.to_string() }
}

impl MockGpu {
    pub(crate) fn link(
        &mut self,
        cx: &mut Context<'_>,
        command: Link<'_>,
    ) -> Result<LinkReply, Status> {
        let Link { count, info_bytes, error_bytes, block, .. } = command;
        let (places, image_place) =
            self.compile_places(cx, count, [info_bytes, error_bytes], block)?;
        let mut long = Vec::new();
        let inputs =
            cx.tail(command.inputs, &mut long, ringbar_images::IMAGE_MAX_BYTES as usize)?;
        let inputs = LinkInput::all(inputs)?;
        self.context(command.context)?;
        let done = self.take_inputs(&inputs).and_then(|()| match command.check {
            0 => self.link_image(&inputs),
            _ => self.fit_inputs(&inputs).map(|()| Cow::default()),
        });
        let (image, refused) = match done {
            Ok(image) => (image, refusal(Status::SUCCESS, "")),
            Err(refused) => (Cow::default(), refused),
        };
        if let Some(place) = image_place.part(0, image.len() as u64).filter(|_| !image.is_empty()) {
            cx.write_arena(place, &image)?;
        }
        let [info_bytes, error_bytes] = Self::write_logs(cx, places, ["", &refused.why])?;
        Ok(LinkReply {
            status: refused.status.0,
            info_bytes,
            error_bytes,
            wall_time_bits: 0,
            block_threads: crate::facts::BLOCK_THREADS_MAX,
            image_bytes: image.len() as u64,
        })
    }

    /// Refuses inputs that are not what they are said to be.
    fn take_inputs(&self, inputs: &[LinkInput<'_>]) -> Result<(), Refusal> {
        for input in inputs {
            match input.kind {
                CUBIN | PTX | FAT_BINARY => {}
                kind if kind < KINDS => {
                    tracing::warn!(kind, "the mock links texts and images only");
                    return Err(refusal(
                        Status::NOT_SUPPORTED,
                        "the mock links texts and images only",
                    ));
                }
                _ => return Err(refusal(Status::INVALID_VALUE, "no such kind of input")),
            }
            let head = input.data.get(..4).unwrap_or_default();
            let found = match head {
                b"\x7fELF" => CUBIN,
                [0x50, 0xed, 0x55, 0xba] => FAT_BINARY,
                _ => PTX,
            };
            if found != input.kind {
                return Err(refusal(Status::INVALID_IMAGE, "an input of another kind"));
            }
            self.registry.read(input.data)?;
        }
        Ok(())
    }

    /// Refuses texts that define the same. What is lacking may still come.
    fn fit_inputs(&self, inputs: &[LinkInput<'_>]) -> Result<(), Refusal> {
        match inputs {
            [] | [_] => Ok(()),
            several => match texts_of(several)? {
                Err(error @ LinkError::Twice { .. }) => Err(refusal(Status::INVALID_SOURCE, error)),
                _ => Ok(()),
            },
        }
    }

    /// One image of all inputs.
    fn link_image<'a>(&self, inputs: &[LinkInput<'a>]) -> Result<Cow<'a, [u8]>, Refusal> {
        match inputs {
            // As NVIDIA's linker makes an image of nothing.
            [] => Ok(b".version 7.8\n.target sm_75\n.address_size 64\n\0".as_slice().into()),
            // Whatever it is, it is whole: but a text needs a check of its names.
            [one] if one.kind != PTX || one.data.starts_with(crate::module::IMAGE_MAGIC) => {
                Ok(one.data.into())
            }
            several => {
                let text =
                    texts_of(several)?.map_err(|error| refusal(Status::INVALID_SOURCE, error))?;
                Ok(Cow::Owned((text + "\0").into_bytes()))
            }
        }
    }
}

/// The text of all inputs.
fn texts_of(inputs: &[LinkInput<'_>]) -> Result<Result<String, LinkError>, Refusal> {
    let texts = inputs.iter().map(text_of).collect::<Result<Vec<_>, _>>()?;
    let texts: Vec<&[u8]> = texts.iter().map(AsRef::as_ref).collect();
    Ok(link_texts(&texts))
}

/// The text that an input is or has in it.
fn text_of<'a>(input: &LinkInput<'a>) -> Result<Cow<'a, [u8]>, Refusal> {
    let no_text = || {
        tracing::warn!("the mock links several inputs only where all of them are texts");
        refusal(Status::NOT_SUPPORTED, "the mock links machine code with nothing else")
    };
    match input.kind {
        PTX => Ok(input.data.into()),
        FAT_BINARY => {
            let invalid = |error| refusal(Status::INVALID_IMAGE, error);
            let all = entries(input.data).map_err(invalid)?;
            let text = all.iter().find(|entry| entry.kind == EntryKind::Ptx).ok_or_else(no_text)?;
            text.unpack().map_err(invalid)
        }
        _ => Err(no_text()),
    }
}
