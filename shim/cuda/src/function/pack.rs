//! Parameter blocks: from the program's pointers, or from its own block, into a buffer on the stack.

use super::Function;
use crate::failure::Outcome;
use ringbar_vocabulary::Status;
use std::ffi::c_void;
use std::mem::MaybeUninit;

/// `CU_LAUNCH_PARAM_END`.
const END: usize = 0;
/// `CU_LAUNCH_PARAM_BUFFER_POINTER`.
const BUFFER_POINTER: usize = 1;
/// `CU_LAUNCH_PARAM_BUFFER_SIZE`.
const BUFFER_SIZE: usize = 2;

/// Where a launch's parameters are in the program's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Params {
    /// A pointer to each parameter, or null.
    pub(crate) each: *const *const c_void,
    /// Pairs that name a whole parameter block, or null.
    pub(crate) extra: *const *const c_void,
}

impl Params {
    /// Packs the parameter block of a function, behind `ahead` bytes that `head` writes, and hands it to `send`.
    ///
    /// No allocation: the buffer is on the stack, in one of a few sizes.
    #[inline(always)]
    pub(crate) fn with_block<T>(
        self,
        function: &Function,
        send: impl FnOnce(&[u8]) -> Outcome<T>,
    ) -> Outcome<T> {
        match function.param_bytes as usize {
            0 => send(&[]),
            1..=256 => self.packed::<256, T>(function, send),
            257..=4096 => self.packed_in_more::<4096, T>(function, send),
            _ => self.packed_in_more::<32_768, T>(function, send),
        }
    }

    #[inline(never)]
    fn packed_in_more<const ROOM: usize, T>(
        self,
        function: &Function,
        send: impl FnOnce(&[u8]) -> Outcome<T>,
    ) -> Outcome<T> {
        self.packed::<ROOM, T>(function, send)
    }

    #[inline(always)]
    fn packed<const ROOM: usize, T>(
        self,
        function: &Function,
        send: impl FnOnce(&[u8]) -> Outcome<T>,
    ) -> Outcome<T> {
        let mut room = [const { MaybeUninit::<u8>::uninit() }; ROOM];
        let Some(room) = room.get_mut(..function.param_bytes as usize) else {
            return Err(Status::INVALID_VALUE.into());
        };
        // Between parameters there are gaps, which go out as zeros.
        let block = zeroed(room);
        self.fill(function, block)?;
        send(block)
    }

    #[inline(always)]
    fn fill(self, function: &Function, block: &mut [u8]) -> Outcome {
        if !self.extra.is_null() {
            return self.copy_block(block);
        }
        if self.each.is_null() {
            return Err(Status::INVALID_VALUE.into());
        }
        for (at, param) in function.params.iter().enumerate() {
            let place = self.each.wrapping_add(at);
            // SAFETY: the caller of the C function vouches for one pointer a parameter.
            let source = unsafe { place.read() }.cast::<u8>();
            let Some(into) = block.get_mut(usize::from(param.offset)..param.end()) else {
                return Err(Status::INVALID_VALUE.into());
            };
            if source.is_null() {
                return Err(Status::INVALID_VALUE.into());
            }
            copy(source, into);
        }
        Ok(())
    }

    #[cold]
    fn copy_block(self, block: &mut [u8]) -> Outcome {
        if !self.each.is_null() {
            return Err(Status::INVALID_VALUE.into());
        }
        let (buffer, bytes) = self.block_place()?;
        if buffer.is_null() || bytes < block.len() {
            return Err(Status::INVALID_VALUE.into());
        }
        copy(buffer, block);
        Ok(())
    }

    /// The block that `extra` names: where it is, and its size.
    fn block_place(self) -> Outcome<(*const u8, usize)> {
        let word = |at: usize| {
            let place = self.extra.wrapping_add(at);
            // SAFETY: the caller of the C function vouches for pairs up to the one that ends them.
            unsafe { place.read() }
        };
        let (mut buffer, mut bytes) = (std::ptr::null(), 0);
        // Each of the two may stand once; what goes on after both is no list of ours.
        for at in [0, 2, 4] {
            match word(at) as usize {
                END => return Ok((buffer, bytes)),
                BUFFER_POINTER => buffer = word(at + 1).cast(),
                BUFFER_SIZE => {
                    let place = word(at + 1).cast::<usize>();
                    if place.is_null() {
                        return Err(Status::INVALID_VALUE.into());
                    }
                    // SAFETY: it is not null, and the caller of the C function vouches for the rest.
                    bytes = unsafe { place.read_unaligned() };
                }
                _ => return Err(Status::INVALID_VALUE.into()),
            }
        }
        Err(Status::INVALID_VALUE.into())
    }
}

#[inline(always)]
fn zeroed(room: &mut [MaybeUninit<u8>]) -> &mut [u8] {
    room.fill(MaybeUninit::new(0));
    let (start, len) = (room.as_mut_ptr().cast::<u8>(), room.len());
    // SAFETY: every byte was just written.
    unsafe { std::slice::from_raw_parts_mut(start, len) }
}

/// Copies a parameter; most have 4 or 8 bytes.
#[inline(always)]
fn copy(source: *const u8, into: &mut [u8]) {
    match into.len() {
        8 => {
            // SAFETY: the caller of the C function vouches for a parameter of its size.
            let value = unsafe { source.cast::<[u8; 8]>().read_unaligned() };
            into.copy_from_slice(&value);
        }
        4 => {
            // SAFETY: the caller of the C function vouches for a parameter of its size.
            let value = unsafe { source.cast::<[u8; 4]>().read_unaligned() };
            into.copy_from_slice(&value);
        }
        // SAFETY: the caller of the C function vouches for a parameter of its size, and the two do not overlap.
        len => unsafe { std::ptr::copy_nonoverlapping(source, into.as_mut_ptr(), len) },
    }
}
