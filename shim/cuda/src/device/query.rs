//! What programs ask about devices: answered from the snapshot, but for what two devices can do with each other.

use super::{Device, devices, resolve};
use crate::arg::{Out, Text};
use crate::failure::{Failure, Outcome};
use crate::session::live;
use crate::types::{CUdevice, CUuuid};
use ringbar_vocabulary::{CAN_ACCESS_PEER, DevicePeerQuery, DeviceTextureWidth, Status};
use std::ffi::c_char;

/// `CUdevprop`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CUdevprop {
    /// Threads of a block, at most.
    pub max_threads_per_block: i32,
    /// The same in x, y, z.
    pub max_threads_dim: [i32; 3],
    /// Blocks of a grid in x, y, z.
    pub max_grid_size: [i32; 3],
    /// Shared memory of a block in bytes.
    pub shared_mem_per_block: i32,
    /// Constant memory in bytes.
    pub total_constant_memory: i32,
    /// Threads of a warp.
    pub simd_width: i32,
    /// Longest pitch of a copy in bytes.
    pub mem_pitch: i32,
    /// Registers of a block.
    pub regs_per_block: i32,
    /// Clock rate in kHz.
    pub clock_rate: i32,
    /// Alignment of textures.
    pub texture_align: i32,
}

fn properties(device: &Device) -> CUdevprop {
    let fact = |number| device.attribute(number).unwrap_or(0);
    CUdevprop {
        max_threads_per_block: fact(1),
        max_threads_dim: [fact(2), fact(3), fact(4)],
        max_grid_size: [fact(5), fact(6), fact(7)],
        shared_mem_per_block: fact(8),
        total_constant_memory: fact(9),
        simd_width: fact(10),
        mem_pitch: fact(11),
        regs_per_block: fact(12),
        clock_rate: fact(13),
        texture_align: fact(14),
    }
}

/// A device's place on the bus: domain, bus, device.
fn bus_place(device: &Device) -> [u32; 3] {
    [50, 33, 34].map(|number| device.attribute(number).unwrap_or(0) as u32)
}

/// Reads `[domain:]bus:device[.function]`, all hexadecimal.
fn parse_bus_place(text: &str) -> Option<[u32; 3]> {
    let text = text.split('.').next()?;
    let parts: Option<Vec<u32>> =
        text.split(':').map(|part| u32::from_str_radix(part, 16).ok()).collect();
    match parts?[..] {
        [domain, bus, device] => Some([domain, bus, device]),
        [bus, device] => Some([0, bus, device]),
        _ => None,
    }
}

fn peer_query(device: CUdevice, peer: CUdevice, attribute: u32) -> Outcome<i32> {
    let (device, peer) = (resolve(device)?.ordinal, resolve(peer)?.ordinal);
    Ok(live()?.call(&DevicePeerQuery { device, peer, attribute })?.value)
}

entry! {
    /// How many devices the program sees.
    local fn cuDeviceGetCount(count: Out<i32>) {
        count.required()?.set(devices()?.len() as i32)
    }

    /// The handle of a device: its number.
    local fn cuDeviceGet(device: Out<CUdevice>, ordinal: i32) {
        device.required()?.set(resolve(ordinal)?.visible)
    }

    /// A device's name.
    local fn cuDeviceGetName(name[len]: Out<c_char>, len: i32, device: CUdevice) {
        name.required()?;
        name.set_text(&resolve(device)?.facts.name, len)
    }

    /// A device's UUID.
    local fn cuDeviceGetUuid(uuid: Out<CUuuid>, device: CUdevice) {
        uuid.required()?.set(CUuuid { bytes: resolve(device)?.facts.uuid })
    }

    /// A device's UUID; without MIG the same as `cuDeviceGetUuid`.
    local fn cuDeviceGetUuid_v2(uuid: Out<CUuuid>, device: CUdevice) {
        uuid.required()?.set(CUuuid { bytes: resolve(device)?.facts.uuid })
    }

    /// A device's memory in bytes.
    local fn cuDeviceTotalMem_v2(bytes: Out<usize>, device: CUdevice) {
        bytes.required()?.set(resolve(device)?.facts.total_memory_bytes as usize)
    }

    /// An attribute of a device. Abilities that need the program and the device in one address space answer 0.
    local fn cuDeviceGetAttribute(value: Out<i32>, attribute: u32, device: CUdevice) {
        let value = value.required()?;
        let found = resolve(device)?.attribute(attribute);
        value.set(found.ok_or(Failure(Status::INVALID_VALUE))?)
    }

    /// The properties that CUDA had before attributes.
    local fn cuDeviceGetProperties(place: Out<CUdevprop>, device: CUdevice) {
        place.required()?.set(properties(resolve(device)?))
    }

    /// A device's compute capability.
    local fn cuDeviceComputeCapability(major: Out<i32>, minor: Out<i32>, device: CUdevice) {
        let capability = resolve(device)?.facts.compute_capability;
        major.set(capability.0 as i32)?;
        minor.set(capability.1 as i32)
    }

    /// A device's place on the bus as text.
    local fn cuDeviceGetPCIBusId(text[len]: Out<c_char>, len: i32, device: CUdevice) {
        text.required()?;
        let [domain, bus, device] = bus_place(resolve(device)?);
        text.set_text(&format!("{domain:04x}:{bus:02x}:{device:02x}.0"), len)
    }

    /// The device at a place on the bus.
    local fn cuDeviceGetByPCIBusId(device: Out<CUdevice>, text: Text) {
        let device = device.required()?;
        let place = parse_bus_place(text.str()?).ok_or(Failure(Status::INVALID_VALUE))?;
        let found = devices()?.iter().find(|device| bus_place(device) == place);
        device.set(found.ok_or(Failure(Status::INVALID_DEVICE))?.visible)
    }

    /// Whether contexts of a device can have that kind of affinity: none can here.
    local fn cuDeviceGetExecAffinitySupport(value: Out<i32>, kind: u32, device: CUdevice) {
        let value = value.required()?;
        resolve(device)?;
        if kind != 0 {
            return Err(Status::INVALID_VALUE.into());
        }
        value.set(0)
    }

    /// How many elements of a format a texture over memory in a row may have.
    sync fn cuDeviceGetTexture1DLinearMaxWidth(elements: Out<usize>, format: u32, channels: u32, device: CUdevice) {
        let elements = elements.required()?;
        let device = resolve(device)?.ordinal;
        elements.set(live()?.call(&DeviceTextureWidth { device, format, channels })?.elements as usize)
    }

    /// Whether one device can reach the memory of another.
    sync fn cuDeviceCanAccessPeer(value: Out<i32>, device: CUdevice, peer: CUdevice) {
        let value = value.required()?;
        value.set(peer_query(device, peer, CAN_ACCESS_PEER)?)
    }

    /// What two devices can do with each other.
    sync fn cuDeviceGetP2PAttribute(value: Out<i32>, attribute: u32, device: CUdevice, peer: CUdevice) {
        let value = value.required()?;
        if attribute == 0 || attribute > 5 {
            return Err(Status::INVALID_VALUE.into());
        }
        if device == peer {
            return Err(Status::INVALID_DEVICE.into());
        }
        value.set(peer_query(device, peer, attribute)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_on_the_bus_may_lack_domain_and_function() {
        assert_eq!(parse_bus_place("0000:1b:00.0"), Some([0, 0x1b, 0]));
        assert_eq!(parse_bus_place("1b:00"), Some([0, 0x1b, 0]));
        assert_eq!(parse_bus_place("nonsense"), None);
    }
}
