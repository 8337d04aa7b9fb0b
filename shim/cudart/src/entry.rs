//! The rows by which the C functions are said: `entries!` with a body, `passed!` where the driver's function has the same
//! arguments, `raw!` where the function answers something other than a status. A row with two names has a second function
//! for programs that were compiled for a default stream a thread (`_ptsz`, `_ptds`), and names the variable that is the stream.
//!
//! A row begins with its class, that of the dearest call of the driver that it makes once everything it needs is there: that
//! the first call of a process starts the driver, retains a context or loads an image is left out. A test holds the class to
//! the driver's own. Arguments are as in the driver's rows: `In<T>`, `Text`, `Image`, `InBytes` are read, `Out<T>`, `OutBytes`
//! written, `InOut<T>` both; `name[size]: In<T>` names the argument that says how many.

/// One function: counted, then its body.
macro_rules! define {
    ($(#[$meta:meta])* $class:ident $name:ident ($($arg:ident $([$size:ident])?: $Type:ty),*) -> $Ret:ty $body:block) => {
        $(#[$meta])*
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $Type),*) -> $Ret {
            // A size that is no argument does not compile.
            $($(let _ = &$size;)?)*
            $crate::exports::count($crate::exports::index::$name);
            $body
        }
    };
}

/// Functions whose body gives what they answer.
macro_rules! raw {
    ($($(#[$meta:meta])* $class:ident fn $name:ident($($arg:ident $([$size:ident])?: $Type:ty),* $(,)?) -> $Ret:ty $body:block)+) => {$(
        define! { $(#[$meta])* $class $name ($($arg $([$size])?: $Type),*) -> $Ret $body }
    )+};
}

/// Functions with a body that ends in an [`Outcome`](crate::error::Outcome).
macro_rules! entries {
    ($($(#[$meta:meta])* $class:ident fn $name:ident($($arg:ident $([$size:ident])?: $Type:ty),* $(,)?) $body:block)+) => {$(
        define! { $(#[$meta])* $class $name ($($arg $([$size])?: $Type),*) -> i32 { $crate::thread::enter(move || $body) } }
    )+};
}

/// Functions with a stream among the arguments.
macro_rules! streamed {
    ($($(#[$meta:meta])* $class:ident fn $name:ident | $own:ident [$stream:ident]
        ($($arg:ident $([$size:ident])?: $Type:ty),* $(,)?) $body:block)+) => {$(
        define! { $(#[$meta])* $class $name ($($arg $([$size])?: $Type),*) -> i32 { $crate::thread::enter(move || $body) } }
        define! { $(#[$meta])* $class $own ($($arg $([$size])?: $Type),*) -> i32 {
            let $stream = $crate::stream::own($stream);
            $crate::thread::enter(move || $body)
        } }
    )+};
}

/// Functions without a stream among the arguments that use the default one.
macro_rules! on_default {
    ($($(#[$meta:meta])* $class:ident fn $name:ident | $own:ident [$stream:ident]
        ($($arg:ident $([$size:ident])?: $Type:ty),* $(,)?) $body:block)+) => {$(
        define! { $(#[$meta])* $class $name ($($arg $([$size])?: $Type),*) -> i32 {
            let $stream = $crate::stream::DEFAULT;
            $crate::thread::enter(move || $body)
        } }
        define! { $(#[$meta])* $class $own ($($arg $([$size])?: $Type),*) -> i32 {
            let $stream = $crate::stream::OWN;
            $crate::thread::enter(move || $body)
        } }
    )+};
}

/// Functions that the driver has with the same arguments.
macro_rules! passed {
    ($($class:ident fn $name:ident($($arg:ident $([$size:ident])?: $Type:ty),* $(,)?) = $driver:ident;)+) => {$(
        define! { $class $name ($($arg $([$size])?: $Type),*) -> i32 {
            $crate::thread::enter(move || $crate::driver::bind()?.$driver($($arg),*))
        } }
    )+};
}

/// Functions with a stream that the driver has with the same arguments.
macro_rules! passed_streamed {
    ($($class:ident fn $name:ident | $own:ident [$stream:ident]
        ($($arg:ident $([$size:ident])?: $Type:ty),* $(,)?) = $driver:ident;)+) => {
        streamed! {$(
            $class fn $name | $own [$stream] ($($arg $([$size])?: $Type),*) {
                $crate::driver::bind()?.$driver($($arg),*)
            }
        )+}
    };
}
