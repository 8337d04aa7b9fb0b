//! Bulk copies between private memory and shared memory that a hostile peer may be writing at the same moment.
//!
//! **Why not `memcpy`**: to Rust, reading memory that somebody else writes is a data race, and the compiler may load a byte twice
//! or not at all. Here every access to the shared side happens inside inline assembly (x86-64) or through relaxed atomic words
//! (elsewhere, and under Miri). Assembly is opaque to the compiler: it may touch whatever the pointers reach, each byte is read
//! once, and what another process does at the same time is the hardware's affair, not the memory model's. Bytes that change during
//! the copy arrive old or new, in any mixture; whoever copies in must check the copy, and only the copy.
//!
//! No reference to shared memory is formed, except for the moment of one atomic access to one word.
//!
//! **Which one**: [`copy_in`] and [`copy_out`] leave the destination in the cache, which is right for a staging area that stays
//! there. [`copy_in_streaming`] and [`copy_out_streaming`] write around the cache, which is right for the final place of a large
//! transfer, even if it comes in small pieces: it saves reading the destination first, and leaves the staging area in the cache.
//! A destination that is soon read again, or is smaller than the cache, is better served by the plain forms.
//!
//! None of them orders anything: publish with a release store after a copy out, acquire before a copy in. The streaming forms end
//! with a store fence, so that the release store that follows covers them too.

/// Copies `len` bytes from shared memory into private memory.
///
/// Never panics; `len` may be 0, and nothing need be aligned.
///
/// # Safety
/// - `src` to `src + len`, widened to whole 8-byte words, is mapped and readable for the whole call. Anyone may write to it.
/// - `dst` to `dst + len` is private memory, valid for writes, that nobody else accesses during the call.
/// - The two do not overlap.
#[inline]
pub unsafe fn copy_in(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the caller's promise is the same.
    unsafe { imp::copy_in(dst, src, len) }
}

/// As [`copy_in`], writing around the cache.
///
/// # Safety
/// As [`copy_in`].
#[inline]
pub unsafe fn copy_in_streaming(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the caller's promise is the same.
    unsafe { imp::copy_in_streaming(dst, src, len) }
}

/// Copies `len` bytes from private memory into shared memory.
///
/// Never panics; `len` may be 0, and nothing need be aligned.
///
/// # Safety
/// - `src` to `src + len` is private memory, valid for reads, that nobody writes to during the call.
/// - `dst` to `dst + len`, widened to whole 8-byte words, is mapped and writable for the whole call, and no other thread of this
///   process writes to those words. The peer may read and write them.
/// - The two do not overlap.
#[inline]
pub unsafe fn copy_out(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the caller's promise is the same.
    unsafe { imp::copy_out(dst, src, len) }
}

/// As [`copy_out`], writing around the cache.
///
/// # Safety
/// As [`copy_out`].
#[inline]
pub unsafe fn copy_out_streaming(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the caller's promise is the same.
    unsafe { imp::copy_out_streaming(dst, src, len) }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
use x86_64 as imp;

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
use words as imp;

/// Inline assembly: both directions are the same, since assembly asks neither side to be private.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub mod x86_64 {
    use core::arch::asm;

    /// Bytes of a cache line, and of one round of the streaming loops.
    const LINE_BYTES: usize = 64;
    /// Below this the streaming forms copy plainly: the store fence would cost more than it saves.
    const STREAMING_BYTES_MIN: usize = 4096;

    pub use plain as copy_in;
    pub use plain as copy_out;
    pub use streaming as copy_in_streaming;
    pub use streaming as copy_out_streaming;

    /// `rep movsb`: the processor's own choice of width and cache policy.
    ///
    /// # Safety
    /// `src` is readable and `dst` writable for `len` bytes; they do not overlap.
    #[inline]
    pub unsafe fn plain(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: reads `len` bytes at `src` and writes as many at `dst`, which the caller vouches for; the direction flag is
        // clear on entry, as the ABI demands.
        unsafe {
            asm!(
                "rep movsb",
                inout("rcx") len => _,
                inout("rdi") dst => _,
                inout("rsi") src => _,
                options(nostack, preserves_flags)
            );
        }
    }

    /// Whole lines around the cache, the ragged ends plainly.
    ///
    /// # Safety
    /// As [`plain`].
    pub unsafe fn streaming(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: as promised.
        unsafe { stream_with(dst, src, len, lines_sse2) }
    }

    /// x
    /// # Safety
    /// As [`plain`].
    pub unsafe fn streaming_avx(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: as promised.
        unsafe { stream_with(dst, src, len, lines_avx) }
    }
    /// x
    /// # Safety
    /// As [`plain`].
    pub unsafe fn streaming_avx512(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: as promised.
        unsafe { stream_with(dst, src, len, lines_avx512) }
    }

    #[inline(always)]
    unsafe fn stream_with(
        dst: *mut u8,
        src: *const u8,
        len: usize,
        f: unsafe fn(*mut u8, *const u8, usize),
    ) {
        if len < STREAMING_BYTES_MIN {
            // SAFETY: the caller's promise is the same.
            return unsafe { plain(dst, src, len) };
        }
        let head = dst.addr().wrapping_neg() % LINE_BYTES;
        let body = (len - head) / LINE_BYTES * LINE_BYTES;
        let tail = len - head - body;
        let (to, from) = (dst.wrapping_add(head), src.wrapping_add(head));
        let (end_to, end_from) = (to.wrapping_add(body), from.wrapping_add(body));
        // SAFETY: head, body and tail are neighbouring parts of the `len` bytes that the caller vouches for; `to` is aligned to a line.
        unsafe {
            plain(dst, src, head);
            f(to, from, body);
            plain(end_to, end_from, tail);
        }
    }

    unsafe fn lines_sse2(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: ok
        unsafe {
            asm!(
                "2:",
                "movups {a}, [{src}]",
                "movups {b}, [{src} + 16]",
                "movups {c}, [{src} + 32]",
                "movups {d}, [{src} + 48]",
                "add {src}, 64",
                "movntps [{dst}], {a}",
                "movntps [{dst} + 16], {b}",
                "movntps [{dst} + 32], {c}",
                "movntps [{dst} + 48], {d}",
                "add {dst}, 64",
                "cmp {dst}, {end}",
                "jne 2b",
                "sfence",
                src = inout(reg) src => _,
                dst = inout(reg) dst => _,
                end = in(reg) dst.wrapping_add(len),
                a = out(xmm_reg) _,
                b = out(xmm_reg) _,
                c = out(xmm_reg) _,
                d = out(xmm_reg) _,
                options(nostack)
            );
        }
    }
    #[target_feature(enable = "avx")]
    unsafe fn lines_avx(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: ok
        unsafe {
            asm!(
                "2:",
                "vmovups {a}, [{src}]",
                "vmovups {b}, [{src} + 32]",
                "add {src}, 64",
                "vmovntps [{dst}], {a}",
                "vmovntps [{dst} + 32], {b}",
                "add {dst}, 64",
                "cmp {dst}, {end}",
                "jne 2b",
                "sfence",
                src = inout(reg) src => _,
                dst = inout(reg) dst => _,
                end = in(reg) dst.wrapping_add(len),
                a = out(ymm_reg) _,
                b = out(ymm_reg) _,
                options(nostack)
            );
        }
    }
    #[target_feature(enable = "avx512f")]
    unsafe fn lines_avx512(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: ok
        unsafe {
            asm!(
                "2:",
                "vmovups {a}, [{src}]",
                "add {src}, 64",
                "vmovntps [{dst}], {a}",
                "add {dst}, 64",
                "cmp {dst}, {end}",
                "jne 2b",
                "sfence",
                src = inout(reg) src => _,
                dst = inout(reg) dst => _,
                end = in(reg) dst.wrapping_add(len),
                a = out(zmm_reg) _,
                options(nostack)
            );
        }
    }
}
