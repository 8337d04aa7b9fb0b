//! The attribute records of `.nv.info` sections.

use crate::number;
use ringbar_vocabulary::Param;

const MAX_THREADS: u8 = 0x05;
const REQUIRED_THREADS: u8 = 0x10;
const FRAME_SIZE: u8 = 0x11;
const PARAMETER: u8 = 0x17;
const PARAMETER_BYTES: u8 = 0x19;
const REGISTERS: u8 = 0x2f;
const CLUSTER: u8 = 0x3d;
const PARAMETER_LARGE: u8 = 0x45;

/// How a record carries its value: in 2 bytes of its own, or in a payload behind them.
const WITH_PAYLOAD: u8 = 4;

/// One record.
struct Record<'a> {
    attribute: u8,
    /// The record's own 2 bytes; a payload's length.
    value: u16,
    payload: &'a [u8],
}

/// The records of a section, up to the first that is cut off.
fn records(mut bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let (&[format, attribute, low, high], rest) = bytes.split_first_chunk::<4>()?;
        let value = u16::from_le_bytes([low, high]);
        let length = if format == WITH_PAYLOAD { usize::from(value) } else { 0 };
        let (payload, rest) = rest.split_at_checked(length)?;
        bytes = rest;
        Some(Record { attribute, value, payload })
    })
}

/// What the section of all kernels says about one, by the number of its symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shared {
    Registers { symbol: u64, count: u32 },
    Frame { symbol: u64, bytes: u32 },
}

pub(crate) fn shared(section: &[u8]) -> Vec<Shared> {
    let read = |record: Record<'_>| {
        let symbol = number::<4>(record.payload, 0)?;
        let value = number::<4>(record.payload, 4)? as u32;
        match record.attribute {
            REGISTERS => Some(Shared::Registers { symbol, count: value }),
            FRAME_SIZE => Some(Shared::Frame { symbol, bytes: value }),
            _ => None,
        }
    };
    records(section).filter_map(read).collect()
}

/// What a kernel's own section says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) params: Vec<Param>,
    pub(crate) param_bytes: usize,
    pub(crate) max_threads: Option<u32>,
    pub(crate) cluster: Option<[u32; 3]>,
}

pub(crate) fn own(section: &[u8]) -> Own {
    let mut own = Own::default();
    let mut params: Vec<(u64, Param)> = Vec::new();
    for record in records(section) {
        match record.attribute {
            PARAMETER | PARAMETER_LARGE => params.extend(parameter(&record)),
            PARAMETER_BYTES => own.param_bytes = usize::from(record.value),
            MAX_THREADS | REQUIRED_THREADS => {
                let product =
                    triple(record.payload).map(|[x, y, z]| x.saturating_mul(y).saturating_mul(z));
                own.max_threads = product.or(own.max_threads);
            }
            CLUSTER => own.cluster = triple(record.payload),
            _ => {}
        }
    }
    params.sort_by_key(|&(ordinal, _)| ordinal);
    params.dedup_by_key(|&mut (ordinal, _)| ordinal);
    own.params = params.into_iter().map(|(_, param)| param).collect();
    let end = own.params.iter().map(|param| param.end()).max().unwrap_or(0);
    own.param_bytes = own.param_bytes.max(end);
    own
}

fn triple(payload: &[u8]) -> Option<[u32; 3]> {
    let at = |i: usize| number::<4>(payload, i * 4).map(|value| value as u32);
    Some([at(0)?, at(1)?, at(2)?])
}

/// A parameter with its ordinal. The short record has 14 bits of size, the large one 32.
fn parameter(record: &Record<'_>) -> Option<(u64, Param)> {
    let ordinal = number::<2>(record.payload, 4)?;
    let offset = number::<2>(record.payload, 6)? as u16;
    let last = number::<4>(record.payload, 8)? as u32;
    let size = if record.attribute == PARAMETER { last >> 18 } else { last };
    Some((ordinal, Param { offset, size: u16::try_from(size).ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_off_record_ends_the_list() {
        let whole = [4, PARAMETER, 12, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0xf0, 0x21, 0];
        assert_eq!(own(&whole).params, [Param { offset: 8, size: 8 }]);
        assert_eq!(own(&whole).param_bytes, 16);
        assert_eq!(own(&whole[..15]), Own::default());
    }

    #[test]
    fn parameters_come_in_their_order_whatever_the_records_order() {
        let record = |ordinal: u8, offset: u8, size: u32| {
            let mut bytes = vec![4, PARAMETER_LARGE, 12, 0, 0, 0, 0, 0, ordinal, 0, offset, 0];
            bytes.extend(size.to_le_bytes());
            bytes
        };
        let section = [record(1, 4, 8), record(0, 0, 4)].concat();
        assert_eq!(
            own(&section).params,
            [(0, 4), (4, 8)].map(|(offset, size)| Param { offset, size })
        );
    }
}
