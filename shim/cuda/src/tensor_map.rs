//! Tensor maps: 128 bytes that describe a tensor to the GPU's copy engine.
//!
//! Only the driver knows how to encode them, but equal arguments give equal bytes: each is asked for once.

use crate::arg::{In, InOut, Out};
use crate::failure::Outcome;
use crate::session::live;
use ringbar_vocabulary::{Status, Tail, TensorMapEncode};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// `CUtensorMap`.
pub type CUtensorMap = [u64; 16];

const TILED: u32 = 0;
const IM2COL: u32 = 1;
const REPLACE: u32 = 2;
/// Most dimensions of a tensor.
const RANK_MAX: u32 = 5;
const MAP_BYTES: u64 = 128;
/// Maps that are kept; then they are asked for anew.
const KEPT_MAX: usize = 4096;

/// Maps by what they were made of.
type Known = HashMap<(u32, Box<[u64]>), CUtensorMap>;

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

fn encode(kind: u32, numbers: Vec<u64>) -> Outcome<CUtensorMap> {
    let key = (kind, numbers.into_boxed_slice());
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(map) = known().get(&key) {
        return Ok(*map);
    }
    let map = ask(kind, &key.1)?;
    let mut known = known();
    if known.len() >= KEPT_MAX {
        known.clear();
    }
    known.insert(key, map);
    Ok(map)
}

fn ask(kind: u32, numbers: &[u64]) -> Outcome<CUtensorMap> {
    let live = live()?;
    let block = live.session.answer_block(MAP_BYTES)?;
    let place = block.place();
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    live.call(&TensorMapEncode { kind, map: place, arguments: Tail::Inline(&bytes) })?;
    let mut bytes = [0; MAP_BYTES as usize];
    block.read(&mut bytes)?;
    let mut map = [0; 16];
    let words = bytes.as_chunks::<8>().0.iter();
    map.iter_mut().zip(words).for_each(|(place, word)| *place = u64::from_ne_bytes(*word));
    Ok(map)
}

/// What both encodings begin with: type, rank, address, sizes, strides.
fn head(
    kind: u32,
    rank: u32,
    address: usize,
    sizes: In<u64>,
    strides: In<u64>,
) -> Outcome<Vec<u64>> {
    if !(1..=RANK_MAX).contains(&rank) {
        return Err(Status::INVALID_VALUE.into());
    }
    let mut numbers = vec![u64::from(kind), u64::from(rank), address as u64];
    numbers.extend(sizes.all(rank as usize)?);
    numbers.extend(strides.all(rank as usize - 1)?);
    Ok(numbers)
}

fn small(list: In<u32>, count: u32) -> Outcome<impl Iterator<Item = u64>> {
    Ok(list.all(count as usize)?.into_iter().map(u64::from))
}

fn corners(list: In<i32>, count: u32) -> Outcome<impl Iterator<Item = u64>> {
    Ok(list.all(count as usize)?.into_iter().map(|corner| corner as i64 as u64))
}

entry! {
    /// Describes a tensor that is copied in boxes.
    sync fn cuTensorMapEncodeTiled(map: Out<CUtensorMap>, kind: u32, rank: u32, address: usize, sizes[rank]: In<u64>, strides[rank]: In<u64>, box_sizes[rank]: In<u32>, steps[rank]: In<u32>, interleave: u32, swizzle: u32, promotion: u32, fill: u32) {
        let map = map.required()?;
        let mut numbers = head(kind, rank, address, sizes, strides)?;
        numbers.extend(small(box_sizes, rank)?);
        numbers.extend(small(steps, rank)?);
        numbers.extend([interleave, swizzle, promotion, fill].map(u64::from));
        map.set(encode(TILED, numbers)?)
    }

    /// Describes a tensor that is copied in columns of an image.
    sync fn cuTensorMapEncodeIm2col(map: Out<CUtensorMap>, kind: u32, rank: u32, address: usize, sizes[rank]: In<u64>, strides[rank]: In<u64>, lower[rank]: In<i32>, upper[rank]: In<i32>, channels: u32, pixels: u32, steps[rank]: In<u32>, interleave: u32, swizzle: u32, promotion: u32, fill: u32) {
        let map = map.required()?;
        let mut numbers = head(kind, rank, address, sizes, strides)?;
        let inner = rank.saturating_sub(2);
        numbers.extend(corners(lower, inner)?);
        numbers.extend(corners(upper, inner)?);
        numbers.extend([channels, pixels].map(u64::from));
        numbers.extend(small(steps, rank)?);
        numbers.extend([interleave, swizzle, promotion, fill].map(u64::from));
        map.set(encode(IM2COL, numbers)?)
    }

    /// The same map of a tensor at another address.
    sync fn cuTensorMapReplaceAddress(map: InOut<CUtensorMap>, address: usize) {
        let old = map.get()?;
        let numbers = old.into_iter().chain([address as u64]).collect();
        map.set(encode(REPLACE, numbers)?)
    }
}
