//! The program's own memory, at addresses that it named.

/// Bytes of the program's to be read: what a copy to the device takes, or an image.
pub(crate) fn bytes<'a>(at: u64, len: u64) -> &'a [u8] {
    if len == 0 {
        return &[];
    }
    let start = std::ptr::with_exposed_provenance(at as usize);
    // SAFETY: the program named these bytes as the source of a copy or as an image, so they are readable and nobody writes to them until
    // the call returns (in a graph: while it runs); the reference does not outlive it.
    unsafe { std::slice::from_raw_parts(start, len as usize) }
}

/// Bytes of the program's to be written: where a copy from the device goes.
pub(crate) fn bytes_mut<'a>(at: u64, len: u64) -> &'a mut [u8] {
    if len == 0 {
        return &mut [];
    }
    let start = std::ptr::with_exposed_provenance_mut(at as usize);
    // SAFETY: the program named these bytes as the target of a copy, so they are writable and nobody uses them until the
    // call returns (in a graph: while it runs); the reference does not outlive it.
    unsafe { std::slice::from_raw_parts_mut(start, len as usize) }
}

/// Copies within the process; the two may overlap.
pub(crate) fn move_bytes(dst: u64, src: u64, len: u64) {
    let to: *mut u8 = std::ptr::with_exposed_provenance_mut(dst as usize);
    let from: *const u8 = std::ptr::with_exposed_provenance(src as usize);
    // SAFETY: the program named both as the ends of a copy of this length, or they lie in its pinned blocks.
    unsafe { std::ptr::copy(from, to, len as usize) };
}
