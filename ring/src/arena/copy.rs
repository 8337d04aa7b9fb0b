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

/// Bytes of a whole transfer from which the streaming forms pay: with its source it no longer fits a usual last-level cache.
/// Pieces of it may be as small as 4 KiB.
pub const STREAMING_TRANSFER_BYTES_MIN: u64 = 16 << 20;

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

/// As [`copy_in`], from memory that the processor does not cache (write-combining or uncached): the widest loads, streaming
/// ones where there are, behind a fence, since such loads are not ordered with earlier ones.
///
/// # Safety
/// As [`copy_in`].
#[inline]
pub unsafe fn copy_in_uncached(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the caller's promise is the same.
    unsafe { imp::copy_in_uncached(dst, src, len) }
}

/// As [`copy_out`], into memory that the processor does not cache: the widest stores, before a store fence, since such
/// stores are not ordered with later ones.
///
/// # Safety
/// As [`copy_out`].
#[inline]
pub unsafe fn copy_out_uncached(dst: *mut u8, src: *const u8, len: usize) {
    // SAFETY: the caller's promise is the same.
    unsafe { imp::copy_out_uncached(dst, src, len) }
}

/// Bytes that this thread has copied neither by streaming loads nor stores.
#[cfg(all(test, target_arch = "x86_64", not(miri), not(ringbar_loom)))]
pub(super) fn plain_bytes() -> usize {
    x86_64::PLAIN_BYTES.get()
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
use words as imp;
#[cfg(all(target_arch = "x86_64", not(miri)))]
use x86_64 as imp;

/// Inline assembly. Both directions are the same: assembly asks neither side to be private.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86_64 {
    use core::arch::asm;

    const LINE_BYTES: usize = 64;
    const VECTOR_BYTES: usize = 16;
    /// Below this the streaming forms copy plainly: the store fence would cost more than it saves.
    const STREAMING_BYTES_MIN: usize = 4096;

    #[cfg(test)]
    std::thread_local! {
        /// Bytes that [`plain`] has copied in this thread.
        pub(super) static PLAIN_BYTES: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    pub use plain as copy_in;
    pub use plain as copy_out;
    pub use streaming as copy_in_streaming;
    pub use streaming as copy_out_streaming;

    /// `rep movsb`: width and cache policy are the processor's choice.
    ///
    /// # Safety
    /// `src` is readable and `dst` writable for `len` bytes; they do not overlap; nobody in this process races on `dst`.
    #[inline]
    pub unsafe fn plain(dst: *mut u8, src: *const u8, len: usize) {
        #[cfg(test)]
        PLAIN_BYTES.set(PLAIN_BYTES.get() + len);
        // SAFETY: touches `len` bytes from `src` and from `dst`, which the caller vouches for; the direction flag is clear, as the
        // ABI demands at any point where assembly begins.
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

    /// Whole lines of the destination around the cache, the ragged ends plainly.
    ///
    /// # Safety
    /// As [`plain`].
    pub unsafe fn streaming(dst: *mut u8, src: *const u8, len: usize) {
        if len < STREAMING_BYTES_MIN {
            // SAFETY: the caller's promise is the same.
            return unsafe { plain(dst, src, len) };
        }
        let head = dst.addr().wrapping_neg() % LINE_BYTES;
        let body = (len - head) / LINE_BYTES * LINE_BYTES;
        let tail = len - head - body;
        // SAFETY: the first `head` of the `len` bytes.
        unsafe { plain(dst, src, head) };
        // SAFETY: the `body` bytes after them; `dst + head` begins a line, `body` is whole lines, and not 0 as `len` is large.
        unsafe { lines(dst.wrapping_add(head), src.wrapping_add(head), body) };
        let done = head + body;
        // SAFETY: the `tail` bytes that are left.
        unsafe { plain(dst.wrapping_add(done), src.wrapping_add(done), tail) };
    }

    /// # Safety
    /// As [`plain`].
    pub unsafe fn copy_out_uncached(dst: *mut u8, src: *const u8, len: usize) {
        let head = (dst.addr().wrapping_neg() % LINE_BYTES).min(len);
        let body = (len - head) / LINE_BYTES * LINE_BYTES;
        // SAFETY: the first `head` of the `len` bytes.
        unsafe { plain(dst, src, head) };
        if body > 0 {
            // SAFETY: the `body` bytes after them: whole lines, not 0, and `dst + head` begins a line.
            unsafe { lines(dst.wrapping_add(head), src.wrapping_add(head), body) };
        }
        let done = head + body;
        // SAFETY: the bytes that are left.
        unsafe { plain(dst.wrapping_add(done), src.wrapping_add(done), len - done) };
        // SAFETY: every x86-64 processor has this fence.
        unsafe { core::arch::x86_64::_mm_sfence() };
    }

    /// # Safety
    /// As [`plain`].
    pub unsafe fn copy_in_uncached(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: every x86-64 processor has this fence.
        unsafe { core::arch::x86_64::_mm_mfence() };
        let head = (src.addr().wrapping_neg() % VECTOR_BYTES).min(len);
        let body = (len - head) / VECTOR_BYTES * VECTOR_BYTES;
        // SAFETY: the first `head` of the `len` bytes.
        unsafe { plain(dst, src, head) };
        let (to, from) = (dst.wrapping_add(head), src.wrapping_add(head));
        if is_x86_feature_detected!("sse4.1") {
            // SAFETY: the processor has SSE4.1; the `body` bytes after the head, whole vectors, and `from` is aligned.
            unsafe { vectors_streaming(to, from, body) };
        } else {
            // SAFETY: the same bytes.
            unsafe { plain(to, from, body) };
        }
        let done = head + body;
        // SAFETY: the bytes that are left.
        unsafe { plain(dst.wrapping_add(done), src.wrapping_add(done), len - done) };
    }

    /// Four loads before four stores: a line of write-combining memory is fetched once for all four.
    ///
    /// # Safety
    /// As [`plain`]; `src` is aligned to a vector, `len` whole vectors; the processor has SSE4.1.
    #[target_feature(enable = "sse4.1")]
    unsafe fn vectors_streaming(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: the loops touch `len` bytes from `src` and from `dst`: a line a round while there is one, then a vector a
        // round. Registers are declared, all vector registers by the ABI's clobbers.
        unsafe {
            asm!(
                "2:",
                "cmp rcx, 64",
                "jb 3f",
                "movntdqa xmm0, [rsi]",
                "movntdqa xmm1, [rsi + 16]",
                "movntdqa xmm2, [rsi + 32]",
                "movntdqa xmm3, [rsi + 48]",
                "movups [rdi], xmm0",
                "movups [rdi + 16], xmm1",
                "movups [rdi + 32], xmm2",
                "movups [rdi + 48], xmm3",
                "add rsi, 64",
                "add rdi, 64",
                "sub rcx, 64",
                "jmp 2b",
                "3:",
                "test rcx, rcx",
                "jz 4f",
                "movntdqa xmm0, [rsi]",
                "movups [rdi], xmm0",
                "add rsi, 16",
                "add rdi, 16",
                "sub rcx, 16",
                "jmp 3b",
                "4:",
                inout("rcx") len => _,
                inout("rdi") dst => _,
                inout("rsi") src => _,
                clobber_abi("C"),
                options(nostack)
            );
        }
    }

    /// # Safety
    /// As [`plain`]; `dst` begins a cache line, `len` is a multiple of a line and not 0.
    unsafe fn lines(dst: *mut u8, src: *const u8, len: usize) {
        if is_x86_feature_detected!("avx") {
            // SAFETY: the processor has AVX; the rest is the caller's promise.
            unsafe { lines_avx(dst, src, len) }
        } else {
            // SAFETY: the caller's promise is the same.
            unsafe { lines_sse(dst, src, len) }
        }
    }

    /// # Safety
    /// As [`lines`], on a processor with AVX.
    #[target_feature(enable = "avx")]
    pub(super) unsafe fn lines_avx(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: the loop touches `len` bytes from `src` and from `dst`, a line a round, and `len` is whole lines and not 0.
        // Registers are declared, all vector registers by the ABI's clobbers. The fence orders these stores before later ones.
        unsafe {
            asm!(
                "2:",
                "vmovups ymm0, [rsi]",
                "vmovups ymm1, [rsi + 32]",
                "vmovntps [rdi], ymm0",
                "vmovntps [rdi + 32], ymm1",
                "add rsi, 64",
                "add rdi, 64",
                "sub rcx, 64",
                "jnz 2b",
                "sfence",
                "vzeroupper",
                inout("rcx") len => _,
                inout("rdi") dst => _,
                inout("rsi") src => _,
                clobber_abi("C"),
                options(nostack)
            );
        }
    }

    /// # Safety
    /// As [`lines`].
    pub(super) unsafe fn lines_sse(dst: *mut u8, src: *const u8, len: usize) {
        // SAFETY: as in `lines_avx`.
        unsafe {
            asm!(
                "2:",
                "movups xmm0, [rsi]",
                "movups xmm1, [rsi + 16]",
                "movups xmm2, [rsi + 32]",
                "movups xmm3, [rsi + 48]",
                "movntps [rdi], xmm0",
                "movntps [rdi + 16], xmm1",
                "movntps [rdi + 32], xmm2",
                "movntps [rdi + 48], xmm3",
                "add rsi, 64",
                "add rdi, 64",
                "sub rcx, 64",
                "jnz 2b",
                "sfence",
                inout("rcx") len => _,
                inout("rdi") dst => _,
                inout("rsi") src => _,
                clobber_abi("C"),
                options(nostack)
            );
        }
    }
}

/// Relaxed atomic words: whole aligned words of the shared side, each loaded or stored once.
#[cfg(any(all(test, not(ringbar_loom)), not(all(target_arch = "x86_64", not(miri)))))]
mod words {
    #[cfg(not(ringbar_loom))]
    use crate::sync::{AtomicU64, Ordering::Relaxed};

    const WORD_BYTES: usize = size_of::<u64>();

    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    pub use copy_in as copy_in_streaming;
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    pub use copy_in as copy_in_uncached;
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    pub use copy_out as copy_out_uncached;
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    pub use copy_out as copy_out_streaming;

    /// # Safety
    /// As [`super::copy_in`].
    pub unsafe fn copy_in(dst: *mut u8, src: *const u8, len: usize) {
        for part in Parts::new(src.addr(), len) {
            // SAFETY: an aligned word that the range touches, which the caller says is readable.
            let word =
                unsafe { load(src.wrapping_sub(part.before).wrapping_add(part.done).cast()) };
            let bytes = word.to_ne_bytes();
            let to = dst.wrapping_add(part.done + part.skip - part.before);
            let from = &bytes[part.skip..part.skip + part.count];
            // SAFETY: `count` bytes of the destination that no other part covers; the source is a local.
            unsafe { to.copy_from_nonoverlapping(from.as_ptr(), part.count) };
        }
    }

    /// # Safety
    /// As [`super::copy_out`].
    pub unsafe fn copy_out(dst: *mut u8, src: *const u8, len: usize) {
        for part in Parts::new(dst.addr(), len) {
            let word: *mut u64 = dst.wrapping_sub(part.before).wrapping_add(part.done).cast();
            // Bytes around the range keep what they hold: nobody else in this process writes to this word.
            let old = match part.count {
                WORD_BYTES => 0,
                // SAFETY: an aligned word that the range touches, which the caller says is mapped.
                _ => unsafe { load(word) },
            };
            let mut bytes = old.to_ne_bytes();
            let from = src.wrapping_add(part.done + part.skip - part.before);
            let to = &mut bytes[part.skip..part.skip + part.count];
            // SAFETY: `count` bytes of the source; the destination is a local.
            unsafe { from.copy_to_nonoverlapping(to.as_mut_ptr(), part.count) };
            // SAFETY: the same word, which the caller says is writable.
            unsafe { store(word, u64::from_ne_bytes(bytes)) };
        }
    }

    /// The part of a range that lies in one aligned word.
    struct Part {
        /// Bytes between the first touched word's beginning and the range.
        before: usize,
        /// Bytes between the first touched word's beginning and this word's.
        done: usize,
        /// First byte of this word that belongs to the range.
        skip: usize,
        /// How many do; 1 to 8.
        count: usize,
    }

    /// Walks over the aligned words that a range touches.
    struct Parts {
        before: usize,
        len: usize,
        done: usize,
    }

    impl Parts {
        fn new(address: usize, len: usize) -> Self {
            Self { before: address % WORD_BYTES, len, done: 0 }
        }
    }

    impl Iterator for Parts {
        type Item = Part;

        fn next(&mut self) -> Option<Part> {
            let (before, done) = (self.before, self.done);
            let skip = before.saturating_sub(done);
            let left = (before + self.len).saturating_sub(done + skip);
            let count = left.min(WORD_BYTES - skip);
            self.done += WORD_BYTES;
            (count > 0).then_some(Part { before, done, skip, count })
        }
    }

    /// # Safety
    /// `word` is aligned and readable; whoever else accesses it does so atomically, or is another process.
    unsafe fn load(word: *const u64) -> u64 {
        #[cfg(not(ringbar_loom))]
        // SAFETY: as promised; the reference lives for this one access.
        return unsafe { AtomicU64::from_ptr(word.cast_mut()) }.load(Relaxed);
        #[cfg(ringbar_loom)]
        // SAFETY: as promised. loom's atomics cannot be laid over memory, and no model copies bulk bytes.
        return unsafe { word.read_volatile() };
    }

    /// # Safety
    /// As [`load`], and `word` is writable.
    unsafe fn store(word: *mut u64, value: u64) {
        #[cfg(not(ringbar_loom))]
        // SAFETY: as promised; the reference lives for this one access.
        unsafe { AtomicU64::from_ptr(word) }.store(value, Relaxed);
        #[cfg(ringbar_loom)]
        // SAFETY: as promised, and as in `load`.
        unsafe {
            word.write_volatile(value)
        };
    }
}

#[cfg(all(test, not(ringbar_loom)))]
mod tests {
    use super::*;

    type Copy = unsafe fn(*mut u8, *const u8, usize);

    const COPIES: [(&str, Copy); 8] = [
        ("copy_in", copy_in),
        ("copy_out", copy_out),
        ("copy_in_streaming", copy_in_streaming),
        ("copy_out_streaming", copy_out_streaming),
        ("copy_in_uncached", copy_in_uncached),
        ("copy_out_uncached", copy_out_uncached),
        ("words, in", words::copy_in),
        ("words, out", words::copy_out),
    ];

    fn pattern(len: usize) -> Vec<u8> {
        (0..len as u32).map(|i| (i.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect()
    }

    /// Copies `len` bytes between the given distances from a line's beginning, and checks every byte of both buffers.
    fn check(name: &str, copy: Copy, len: usize, from_line: usize, to_line: usize) {
        let source = pattern(len + 256);
        let mut target = vec![0xa5; len + 256];
        let from = source.as_ptr().align_offset(64) + from_line;
        let to = target.as_ptr().align_offset(64) + to_line;
        // A raw pointer to all of the target, so that the bytes around the range are allowed too.
        let base = target.as_mut_ptr();
        // SAFETY: both ranges lie at least 8 bytes within their buffers, which nobody else uses.
        unsafe { copy(base.wrapping_add(to), source.as_ptr().wrapping_add(from), len) };
        let what = format!("{name}: {len} bytes from {from_line} to {to_line}");
        assert!(target[to..to + len] == source[from..from + len], "{what}: not the same bytes");
        assert!(target[..to].iter().all(|byte| *byte == 0xa5), "{what}: wrote before");
        assert!(target[to + len..].iter().all(|byte| *byte == 0xa5), "{what}: wrote behind");
    }

    #[test]
    fn every_length_up_to_200_at_every_alignment_copies_exactly_its_bytes() {
        let (lengths, alignments) = if cfg!(miri) { (20, 3) } else { (200, 17) };
        for (name, copy) in COPIES {
            for len in 0..=lengths {
                for line in 0..alignments * alignments {
                    check(name, copy, len, line / alignments, line % alignments);
                }
            }
        }
    }

    #[test]
    fn lengths_around_the_streaming_threshold_copy_exactly_their_bytes() {
        for (name, copy) in COPIES {
            for len in 4090..if cfg!(miri) { 4091 } else { 4300 } {
                check(name, copy, len, len % 64, len / 3 % 64);
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "16 MiB are too many for an interpreter")]
    fn large_blocks_copy_exactly_their_bytes() {
        for (name, copy) in COPIES {
            for len in [1 << 20, (1 << 24) + 13] {
                check(name, copy, len, 5, 60);
            }
        }
    }

    #[test]
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    fn both_widths_of_the_streaming_loop_copy_whole_lines() {
        check("lines_sse", x86_64::lines_sse, 64 * 33, 7, 0);
        if is_x86_feature_detected!("avx") {
            check("lines_avx", x86_64::lines_avx, 64 * 33, 7, 0);
        }
    }

    #[test]
    fn bytes_that_a_peer_changes_meanwhile_arrive_old_or_new() {
        use crate::sync::{AtomicBool, AtomicU64, Ordering::Relaxed, thread};
        let words = if cfg!(miri) { 40 } else { 4096 };
        let shared: Vec<AtomicU64> = (0..words).map(|_| AtomicU64::new(0)).collect();
        let (done, started) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut value = 0;
                while !done.load(Relaxed) {
                    value ^= u64::MAX;
                    shared.iter().for_each(|word| word.store(value, Relaxed));
                    started.store(true, Relaxed);
                }
            });
            while !started.load(Relaxed) {
                thread::yield_now();
            }
            let mut copy = vec![7; words * 8];
            for (_, copy_in) in [COPIES[0], COPIES[2], COPIES[4], COPIES[6]] {
                // SAFETY: the whole of a mapped buffer, whose other user writes atomically; `copy` is private.
                unsafe { copy_in(copy.as_mut_ptr(), shared.as_ptr().cast(), words * 8) };
                assert!(copy.iter().all(|byte| matches!(byte, 0 | 0xff)));
                copy.fill(7);
            }
            done.store(true, Relaxed);
        });
    }
}
