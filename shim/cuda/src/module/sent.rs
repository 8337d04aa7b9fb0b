//! Images that the executor has got from this process: they are named the next time, and do not travel again.

use crate::failure::Outcome;
use crate::session::Live;
use ringbar_images::ImageHash;
use ringbar_vocabulary::{ContextId, ModuleId, ModuleLoad, ModuleLoadKnown, Status, Tail};
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shorter images travel faster than they are hashed and asked for.
const WORTH_BYTES: usize = 4096;
/// Hashes that are remembered.
const REMEMBERED_MAX: usize = 1 << 16;

static SENT: Mutex<Option<HashSet<ImageHash>>> = Mutex::new(None);

fn sent() -> MutexGuard<'static, Option<HashSet<ImageHash>>> {
    SENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Loads an image under a number; sends it only if the executor has not got it, or has it no longer.
pub fn load(live: &Live, context: ContextId, module: ModuleId, image: &[u8]) -> Outcome {
    let bytes = image.len() as u64;
    let hash = (image.len() >= WORTH_BYTES).then(|| ringbar_images::hash(image));
    let was_sent = |hash: &ImageHash| sent().as_ref().is_some_and(|sent| sent.contains(hash));
    if let Some(hash) = hash.filter(was_sent) {
        match live.call(&ModuleLoadKnown { context, module, hash }) {
            Ok(reply) if reply.known != 0 => {
                live.session.count_image(0, bytes);
                return Ok(());
            }
            // Not kept, or by an executor that keeps none.
            Ok(_) => {}
            Err(failure) if failure.0 == Status::NOT_SUPPORTED => {}
            Err(other) => return Err(other),
        }
    }
    live.call(&ModuleLoad { context, module, image: Tail::Inline(image) })?;
    live.session.count_image(bytes, 0);
    if let Some(hash) = hash {
        let mut sent = sent();
        let sent = sent.get_or_insert_with(HashSet::new);
        if sent.len() >= REMEMBERED_MAX {
            sent.clear();
        }
        sent.insert(hash);
    }
    Ok(())
}
