//! Launches with attributes.

use super::launch::{post_with_attributes, refused};
use super::{Function, Params, Shape, function_in};
use crate::arg::In;
use crate::context::Context;
use crate::device;
use crate::event::{self, Event};
use crate::failure::Outcome;
use crate::handles::Handle;
use crate::session::live;
use crate::stream::{self, Working};
use crate::tls;
use crate::types::{CUfunction, CUstream, DefaultStream};
use ringbar_vocabulary::{LAUNCH_ATTRIBUTE_BYTES, LAUNCH_ATTRIBUTES_MAX, OccupancyBlocks, Status};
use std::ffi::c_void;

/// `CUlaunchAttribute` as it lies in memory: its number, padding, its value.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CUlaunchAttribute {
    /// `CUlaunchAttributeID`.
    pub id: u32,
    /// Nothing.
    pub pad: u32,
    /// `CUlaunchAttributeValue`.
    pub value: [u64; 8],
}

/// `CUlaunchConfig`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CUlaunchConfig {
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub shared_bytes: u32,
    /// The stream.
    pub stream: CUstream,
    /// The attributes.
    pub attributes: In<CUlaunchAttribute>,
    /// How many.
    pub attribute_count: u32,
}

/// `CU_LAUNCH_ATTRIBUTE_*`.
const IGNORE: u32 = 0;
const COOPERATIVE: u32 = 2;
/// `CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE`.
const COOPERATIVE_LAUNCH_TOO_LARGE: Status = Status(720);
/// `CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT`.
const MULTIPROCESSORS: u32 = 16;
const PROGRAMMATIC_EVENT: u32 = 7;
const LAUNCH_COMPLETION_EVENT: u32 = 12;
const DEVICE_UPDATABLE_NODE: u32 = 13;
/// One more than the last that CUDA 13.0 knows.
const ATTRIBUTES: u32 = 17;

impl CUlaunchAttribute {
    pub(crate) fn new(id: u32, first_word: u64) -> Self {
        let mut value = [0; 8];
        value[0] = first_word;
        Self { id, pad: 0, value }
    }

    /// The event that the launch records, if this names one. NOT_SUPPORTED for one with times, as CUDA says.
    fn event(&self) -> Outcome<Option<&'static Event>> {
        match self.id {
            PROGRAMMATIC_EVENT | LAUNCH_COMPLETION_EVENT => {
                let event = event::get(Handle(self.value[0] as usize))?;
                if event.has_times() {
                    return Err(Status::NOT_SUPPORTED.into());
                }
                Ok(Some(event))
            }
            _ => Ok(None),
        }
    }

    /// As the executor reads it: events by their number.
    fn translated(mut self) -> Outcome<Self> {
        if let Some(event) = self.event()? {
            self.value[0] = u64::from(event.id.0);
        }
        match self.id {
            DEVICE_UPDATABLE_NODE if self.value[0] as u32 != 0 => {
                return Err(Status::NOT_SUPPORTED.into());
            }
            id if id >= ATTRIBUTES => return Err(Status::INVALID_VALUE.into()),
            _ => {}
        }
        self.pad = 0;
        Ok(self)
    }

    /// Its 72 bytes.
    pub(crate) fn bytes(&self) -> impl Iterator<Item = u8> {
        let words = [u64::from(self.id)].into_iter().chain(self.value);
        words.flat_map(u64::to_le_bytes)
    }
}

/// The attributes of a launch, translated, as they travel.
pub(crate) fn attribute_bytes(
    attributes: In<CUlaunchAttribute>,
    count: u32,
) -> Outcome<(u32, Vec<u8>)> {
    if count > LAUNCH_ATTRIBUTES_MAX {
        return Err(Status::INVALID_VALUE.into());
    }
    let mut bytes = Vec::with_capacity(count as usize * LAUNCH_ATTRIBUTE_BYTES);
    let mut used = 0;
    for at in 0..count as usize {
        let attribute = attributes.at(at)?;
        if attribute.id != IGNORE {
            bytes.extend(attribute.translated()?.bytes());
            used += 1;
        }
    }
    Ok((used, bytes))
}

fn is_cooperative(config: &CUlaunchConfig) -> Outcome<bool> {
    let mut found = false;
    for at in 0..config.attribute_count as usize {
        let attribute = config.attributes.at(at)?;
        found |= attribute.id == COOPERATIVE && attribute.value[0] as u32 != 0;
    }
    Ok(found)
}

/// Notes for the events that the launch records that the device alone will know when.
fn note_events(config: &CUlaunchConfig, stream: &Working) -> Outcome {
    for at in 0..config.attribute_count as usize {
        if let Some(event) = config.attributes.at(at)?.event()? {
            event.goes_into_launch(stream)?;
        }
    }
    Ok(())
}

/// COOPERATIVE_LAUNCH_TOO_LARGE unless all blocks can be resident at once.
fn fits_at_once(function: &Function, shape: &Shape, context: &Context) -> Outcome {
    let ask = OccupancyBlocks {
        function: function.id,
        block_threads: shape.block.iter().product(),
        shared_bytes: shape.shared_bytes.into(),
        flags: 0,
    };
    let resident = u64::from(live()?.call(&ask)?.blocks);
    let processors = device::resolve(context.visible)?.attribute(MULTIPROCESSORS).unwrap_or(1);
    let blocks: u64 = shape.grid.iter().map(|&blocks| u64::from(blocks)).product();
    if blocks > resident * processors as u64 {
        return Err(COOPERATIVE_LAUNCH_TOO_LARGE.into());
    }
    Ok(())
}

fn launch(
    config: &CUlaunchConfig,
    function: CUfunction,
    default: DefaultStream,
    params: Params,
) -> Outcome {
    let shape = Shape { grid: config.grid, block: config.block, shared_bytes: config.shared_bytes };
    let context = tls::current()?;
    let function = function_in(function, context)?;
    let fits = shape.fits(function, context)?;
    let stream = stream::working(config.stream, default)?;
    let (count, mut body) = attribute_bytes(config.attributes, config.attribute_count)?;
    if fits && is_cooperative(config)? {
        fits_at_once(function, &shape, context)?;
    }
    note_events(config, &stream)?;
    params.with_block(function, |block| {
        body.extend_from_slice(block);
        let position = post_with_attributes(function, shape, stream.id, count, &body)?;
        if fits { Ok(()) } else { refused(position) }
    })
}

stream_entry! {
    /// Launches a kernel with attributes, in stream order.
    post fn cuLaunchKernelEx | cuLaunchKernelEx_ptsz[default](config: In<CUlaunchConfig>, function: CUfunction, params[function]: *const *const c_void, extra: *const *const c_void) {
        let config = config.get()?;
        launch(&config, function, default, Params { each: params, extra })
    }

    /// Launches a kernel whose blocks all run at once and may wait for each other.
    post fn cuLaunchCooperativeKernel | cuLaunchCooperativeKernel_ptsz[default](function: CUfunction, gx: u32, gy: u32, gz: u32, bx: u32, by: u32, bz: u32, shared_bytes: u32, stream: CUstream, params[function]: *const *const c_void) {
        let cooperative = CUlaunchAttribute::new(COOPERATIVE, 1);
        let config = CUlaunchConfig {
            grid: [gx, gy, gz],
            block: [bx, by, bz],
            shared_bytes,
            stream,
            attributes: In::from(&cooperative),
            attribute_count: 1,
        };
        launch(&config, function, default, Params { each: params, extra: std::ptr::null() })
    }
}
