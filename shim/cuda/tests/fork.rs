//! `fork` while threads are inside calls: the child's copy is dead, the parent goes on.

#[macro_use]
mod common;

use ringbar::sync::{AtomicBool, Ordering::Relaxed};
use ringbar_shim_cuda::arg::Out;
use ringbar_shim_cuda::context::{cuCtxGetCurrent, cuCtxSetCurrent, cuDevicePrimaryCtxRetain};
use ringbar_shim_cuda::fork;
use ringbar_shim_cuda::init::cuInit;
use ringbar_shim_cuda::memory::alloc::{cuMemAlloc_v2, cuMemFree_v2};
use ringbar_shim_cuda::types::CUcontext;
use ringbar_vocabulary::Status;
use std::sync::Arc;

const DEAD: u32 = Status::NOT_INITIALIZED.0;

/// What the child's copy of the library answers: 0 if all is as it must be, else which answer was wrong.
fn answers_of_the_child() -> i32 {
    let (mut context, mut at) = (CUcontext::NULL, 0);
    let answers = [
        c!(cuCtxGetCurrent(Out::to(&mut context))),
        c!(cuMemAlloc_v2(Out::to(&mut at), 64)),
        c!(cuInit(0)),
    ];
    answers.iter().position(|code| *code != DEAD).map_or(0, |at| at as i32 + 1)
}

/// Forks; the child ends with its answers, which are returned.
fn fork_once() -> i32 {
    // SAFETY: the child calls nothing but this library, whose answers there take no lock, and `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no child: {}", std::io::Error::last_os_error());
    if child == 0 {
        let answers = answers_of_the_child();
        // SAFETY: it takes no pointers.
        unsafe { libc::_exit(answers) };
    }
    let mut status = 0;
    // SAFETY: the place lives through the call.
    let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(ended, child);
    assert!(libc::WIFEXITED(status), "the child ended by a signal: {status:#x}");
    libc::WEXITSTATUS(status)
}

fn use_the_device(context: CUcontext) -> u32 {
    let mut at = 0;
    let set = c!(cuCtxSetCurrent(context));
    let allocated = c!(cuMemAlloc_v2(Out::to(&mut at), 256));
    set | allocated | c!(cuMemFree_v2(at))
}

#[test]
fn a_forked_child_is_told_so_and_its_parent_is_unharmed_also_inside_calls() {
    common::start();
    fork::watch();
    let mut context = CUcontext::NULL;
    assert_eq!(c!(cuDevicePrimaryCtxRetain(Out::to(&mut context), 0)), 0);
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut worst = 0;
                while !stop.load(Relaxed) {
                    worst |= use_the_device(context);
                }
                worst
            })
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(fork_once(), 0, "which answer of the child was wrong");
    }
    stop.store(true, Relaxed);
    for thread in threads {
        assert_eq!(thread.join().expect("no panic"), 0);
    }
    assert_eq!(use_the_device(context), 0, "the parent after all forks");
}
