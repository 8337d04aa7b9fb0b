//! Devices: one snapshot of all, taken at first use, and which of them the program may see.

pub mod query;
pub mod visible;

pub use query::*;

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::session::live;
use ringbar_vocabulary::{DeviceFactsBlock, Status};
use std::sync::{Mutex, OnceLock};

/// One device that the program sees.
#[derive(Debug)]
pub struct Device {
    /// The executor's number of it.
    pub ordinal: u32,
    /// The program's number of it.
    pub visible: i32,
    /// What can be asked about it.
    pub facts: DeviceFactsBlock,
    /// What a launch may ask for.
    pub limits: Limits,
    /// Its primary context, once somebody asked for it.
    pub(crate) primary: OnceLock<&'static Context>,
    /// How often the primary context is retained.
    pub(crate) retained: Mutex<u32>,
}

/// What a launch may ask of a device.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Blocks of a grid in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in all.
    pub threads: u32,
}

static DEVICES: OnceLock<Vec<Device>> = OnceLock::new();

/// All devices that the program sees.
pub fn devices() -> Outcome<&'static [Device]> {
    if let Some(devices) = DEVICES.get() {
        return Ok(devices);
    }
    let live = live()?;
    let facts: Vec<DeviceFactsBlock> = live.with_caller(|caller| {
        let all = (0..live.device_count).map(|ordinal| Ok(caller.device_facts(ordinal)?));
        all.collect::<Outcome<Vec<_>>>()
    })?;
    let wish = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let uuids: Vec<[u8; 16]> = facts.iter().map(|facts| facts.uuid).collect();
    let chosen = visible::choose(wish.as_deref(), &uuids);
    let devices = chosen.into_iter().zip(0..).map(|(ordinal, visible)| Device {
        ordinal: ordinal as u32,
        visible,
        limits: Limits::of(&facts[ordinal]),
        facts: facts[ordinal].clone(),
        primary: OnceLock::new(),
        retained: Mutex::new(0),
    });
    Ok(DEVICES.get_or_init(|| devices.collect()))
}

/// The device of that number; INVALID_DEVICE if there is none.
pub fn resolve(device: i32) -> Outcome<&'static Device> {
    let at = usize::try_from(device).map_err(|_| Failure(Status::INVALID_DEVICE))?;
    devices()?.get(at).ok_or(Failure(Status::INVALID_DEVICE))
}

impl Limits {
    fn of(facts: &DeviceFactsBlock) -> Self {
        let fact = |number, otherwise| {
            facts.attribute(number).and_then(|value| u32::try_from(value).ok()).unwrap_or(otherwise)
        };
        Self {
            threads: fact(1, 1024),
            block: [fact(2, 1024), fact(3, 1024), fact(4, 64)],
            grid: [fact(5, i32::MAX as u32), fact(6, 65_535), fact(7, 65_535)],
        }
    }
}

impl Device {
    /// The least and the most urgent priority of its streams.
    pub fn priorities(&self) -> (i32, i32) {
        let [least, greatest] = PRIORITIES.map(|number| self.facts.attribute(number).unwrap_or(0));
        (least, greatest)
    }

    /// An attribute as the program sees it: what cannot be had through a ring the executor does not offer.
    pub fn attribute(&self, number: u32) -> Option<i32> {
        self.facts.attribute(number).filter(|_| number <= ATTRIBUTE_MAX)
    }
}

/// Beyond are facts that are no attributes of CUDA's: the priorities that streams can have, least and most urgent.
const ATTRIBUTE_MAX: u32 = 0xff;
const PRIORITIES: [u32; 2] = [0x1_0000, 0x1_0001];
