//! Variables on the device by their host copies.

use crate::copy::{self, Kind};
use crate::error::{Error, Outcome};
use crate::module;
use crate::pointer::Out;

/// The address of `bytes` at `offset` of a variable.
pub(crate) fn part(symbol: usize, bytes: usize, offset: usize) -> Outcome<usize> {
    let variable = module::variable(symbol)?;
    let end = offset.checked_add(bytes).ok_or(Error::INVALID_VALUE)?;
    if end > variable.bytes {
        return Err(Error::INVALID_VALUE);
    }
    let at = variable.locate()?.wrapping_add(offset as u64);
    usize::try_from(at).map_err(|_| Error::INVALID_VALUE)
}

/// The direction of a copy to a variable.
pub(crate) fn to_variable(kind: u32) -> Outcome<Kind> {
    match Kind::new(kind)? {
        Kind::HostToHost | Kind::DeviceToHost => Err(Error::INVALID_MEMCPY_DIRECTION),
        kind => Ok(kind),
    }
}

/// The direction of a copy from a variable.
pub(crate) fn from_variable(kind: u32) -> Outcome<Kind> {
    match Kind::new(kind)? {
        Kind::HostToHost | Kind::HostToDevice => Err(Error::INVALID_MEMCPY_DIRECTION),
        kind => Ok(kind),
    }
}

on_default! {
    sync fn cudaMemcpyToSymbol | cudaMemcpyToSymbol_ptds [stream](symbol: usize, src: usize, bytes: usize, offset: usize, kind: u32) {
        let kind = to_variable(kind)?;
        copy::copy(part(symbol, bytes, offset)?, src, bytes, kind, stream)
    }

    sync fn cudaMemcpyFromSymbol | cudaMemcpyFromSymbol_ptds [stream](dst: usize, symbol: usize, bytes: usize, offset: usize, kind: u32) {
        let kind = from_variable(kind)?;
        copy::copy(dst, part(symbol, bytes, offset)?, bytes, kind, stream)
    }
}

streamed! {
    sync fn cudaMemcpyToSymbolAsync | cudaMemcpyToSymbolAsync_ptsz [stream](symbol: usize, src: usize, bytes: usize, offset: usize, kind: u32, stream: usize) {
        let kind = to_variable(kind)?;
        copy::copy_on(part(symbol, bytes, offset)?, src, bytes, kind, stream)
    }

    sync fn cudaMemcpyFromSymbolAsync | cudaMemcpyFromSymbolAsync_ptsz [stream](dst: usize, symbol: usize, bytes: usize, offset: usize, kind: u32, stream: usize) {
        let kind = from_variable(kind)?;
        copy::copy_on(dst, part(symbol, bytes, offset)?, bytes, kind, stream)
    }
}

entries! {
    sync fn cudaGetSymbolAddress(at: Out<'_, u64>, symbol: usize) {
        let at = at.present()?;
        at.set(module::variable(symbol)?.locate()?)
    }

    local fn cudaGetSymbolSize(bytes: Out<'_, usize>, symbol: usize) {
        let bytes = bytes.present()?;
        bytes.set(module::variable(symbol)?.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::Binary;

    #[test]
    fn a_part_beyond_a_variable_is_refused_before_anything_is_loaded() {
        Binary::register(0).add_variable(0x7_7000, 0, 16);
        assert_eq!(part(0x7_7000, 8, 9), Err(Error::INVALID_VALUE));
        assert_eq!(part(0x7_7000, usize::MAX, 1), Err(Error::INVALID_VALUE));
        assert_eq!(part(0x7_7008, 1, 0), Err(Error::INVALID_SYMBOL));
    }

    #[test]
    fn only_directions_that_fit_are_taken() {
        assert_eq!(to_variable(2), Err(Error::INVALID_MEMCPY_DIRECTION));
        assert_eq!(from_variable(1), Err(Error::INVALID_MEMCPY_DIRECTION));
        assert_eq!(
            (to_variable(4), from_variable(3)),
            (Ok(Kind::Default), Ok(Kind::DeviceToDevice))
        );
    }
}
