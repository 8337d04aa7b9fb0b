//! What kernels print: fetched after a synchronisation, and only if an image was loaded that prints at all. It goes through
//! the C library's standard output, as the driver's own does: so it stands between what the program printed before and
//! after, also where that is kept back.

use crate::context::Context;
use crate::failure::Outcome;
use crate::memory::managed;
use crate::session::live;
use ringbar::sync::{AtomicBool, Ordering::*};
use ringbar_vocabulary::OutputTake;

/// The function of the device's own library that `printf` in a kernel calls.
const PRINTS: &[u8] = b"vprintf";
/// Room for text of one fetch.
const TEXT_BYTES: u64 = 64 << 10;

static MAY_PRINT: AtomicBool = AtomicBool::new(false);

/// Notes whether a kernel of the image can print.
pub fn image_loaded(image: &[u8]) {
    if !MAY_PRINT.load(Relaxed) && prints(image) {
        MAY_PRINT.store(true, Relaxed);
    }
}

/// Looks into the parts of a fat binary too, which are compressed as a rule. One that cannot be read may print.
fn prints(image: &[u8]) -> bool {
    if contains(image, PRINTS) {
        return true;
    }
    let Ok(entries) = ringbar_images::entries(image) else { return false };
    entries.iter().any(|entry| entry.unpack().map_or(true, |code| contains(&code, PRINTS)))
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Gives the program what kernels of the context left for it: managed variables, and what they printed, to standard
/// output. To be called when their work is done.
#[inline]
pub fn flush(context: &Context) -> Outcome {
    managed::after_work(context)?;
    if MAY_PRINT.load(Relaxed) { take(context) } else { Ok(()) }
}

#[cold]
fn take(context: &Context) -> Outcome {
    let live = live()?;
    loop {
        let block = live.session.answer_block(TEXT_BYTES)?;
        let text = block.place();
        let bytes = live.call(&OutputTake { text, context: context.id })?.bytes as usize;
        let mut text = vec![0; bytes.min(TEXT_BYTES as usize)];
        block.read(&mut text)?;
        print(&text);
        if (bytes as u64) < TEXT_BYTES {
            return Ok(());
        }
    }
}

unsafe extern "C" {
    /// The C library's own.
    static stdout: *mut libc::FILE;
}

/// Writes to the C library's standard output. A closed one is the program's own affair.
fn print(text: &[u8]) {
    // SAFETY: read as any program does that names it; the program closes or replaces it at its own risk.
    let out = unsafe { stdout };
    // SAFETY: as many bytes as there are, and a stream of the C library, which locks it.
    unsafe { libc::fwrite(text.as_ptr().cast(), 1, text.len(), out) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_names_the_print_function_prints() {
        assert!(prints(b".extern .func (.param .b32 r) vprintf\0"));
        assert!(!prints(b".version 8.0\n\0"));
    }
}
