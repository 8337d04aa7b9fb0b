//! The frame of every C function: the gate, the count, and no panic that crosses into C.

use crate::exports::{self, Class};
use crate::failure::Outcome;
use crate::record;
use crate::session;
use ringbar_vocabulary::Status;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Defines C functions, one row each: class, name, arguments, body.
///
/// The class says when the function may be called and what it costs: `free` answers always, also before `cuInit` and
/// after the executor is lost; `local` answers without a command; `post` sends commands and waits for none (but a cooperative
/// launch, which asks whether it fits); `sync` waits for an answer. The body gives an [`Outcome`](crate::Outcome).
///
/// An argument's type says in which direction it goes: `In<T>` and `Text` are read, `Out<T>` is written, `InOut<T>` both, all
/// else is a value. Where an argument is several values, `name[size]: In<T>` names the argument that says how many.
///
/// A row with two names, `fn cuA | cuA_ptsz[flavour](..)`, defines both: `flavour` is the
/// [`DefaultStream`](crate::types::DefaultStream) that a null stream means.
macro_rules! entry {
    ($($(#[doc = $doc:literal])+ $class:ident fn $name:ident
        ($($arg:ident $([$size:ident])?: $ty:ty),* $(,)?) $body:block)+) => {$(
        $crate::entry::entry_one! { $class $name {$(#[doc = $doc])+} ($($arg $([$size])?: $ty),*) {} $body }
    )+};
}

/// Defines functions that exist in two spellings: for the legacy default stream, and for the thread's own.
macro_rules! stream_entry {
    ($($(#[doc = $doc:literal])+ $class:ident fn $name:ident | $thread:ident [$flavour:ident]
        ($($arg:ident $([$size:ident])?: $ty:ty),* $(,)?) $body:block)+) => {$(
        $crate::entry::entry_one! { $class $name {$(#[doc = $doc])+} ($($arg $([$size])?: $ty),*)
            { let $flavour = $crate::types::DefaultStream::Legacy; } $body }
        $crate::entry::entry_one! { $class $thread {$(#[doc = $doc])+} ($($arg $([$size])?: $ty),*)
            { let $flavour = $crate::types::DefaultStream::PerThread; } $body }
    )+};
}

macro_rules! entry_one {
    ($class:ident $name:ident {$($doc:tt)+} ($($arg:ident $([$size:ident])?: $ty:ty),*) {$($set:tt)*} $body:block) => {
        $($doc)+
        ///
        /// # Safety
        /// As CUDA documents the function: what a pointer refers to is valid for what the function does with it.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $ty),*) -> u32 {
            // A size that is no argument does not compile.
            $($(let _ = &$size;)?)*
            $crate::entry::call::<{ $crate::exports::Class::of(stringify!($class)) as u8 }>(
                $crate::exports::index::$name,
                #[inline(always)]
                move || -> $crate::Outcome {
                    $($set)*
                    $body
                },
            )
        }
    };
}
pub(crate) use entry_one;

/// Runs the body of entry `index`.
#[inline(always)]
pub(crate) fn call<const CLASS: u8>(index: usize, body: impl FnOnce() -> Outcome) -> u32 {
    exports::count(index);
    // Written when the call is over, also if it panics.
    let _row = record::begin(index);
    if CLASS != Class::Free as u8
        && let Err(status) = session::gate()
    {
        return status.0;
    }
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => 0,
        Ok(Err(failure)) => failed(index, failure.0),
        Err(_) => panicked(index),
    }
}

#[cold]
fn failed(index: usize, status: Status) -> u32 {
    if status.is_sticky() {
        session::device_failed(status);
    }
    if status == Status::NOT_SUPPORTED {
        exports::note_unsupported(exports::EXPORTS[index].name);
    } else if status != Status::NOT_READY {
        tracing::debug!(function = exports::EXPORTS[index].name, %status, "failed");
    }
    status.0
}

#[cold]
fn panicked(index: usize) -> u32 {
    let function = exports::EXPORTS[index].name;
    tracing::error!(
        function,
        "panicked inside the library; answering CUDA_ERROR_UNKNOWN: please report it"
    );
    Status::UNKNOWN.0
}
