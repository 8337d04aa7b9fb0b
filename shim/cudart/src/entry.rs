//! The rows by which the C functions are said: `entries!` with a body, `passed!` where the driver's function has the same
//! arguments. A row with two names has a second function for programs that were compiled for a default stream a thread
//! (`_ptsz`, `_ptds`), and names the variable that is the stream.

/// Functions with a body that ends in an [`Outcome`](crate::error::Outcome).
macro_rules! entries {
    ($($(#[$meta:meta])* fn $name:ident($($arg:ident: $Type:ty),* $(,)?) $body:block)+) => {$(
        $(#[$meta])*
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $Type),*) -> i32 {
            $crate::thread::enter(move || $body)
        }
    )+};
}

/// Functions with a stream among the arguments.
macro_rules! streamed {
    ($($(#[$meta:meta])* fn $name:ident | $own:ident [$stream:ident] ($($arg:ident: $Type:ty),* $(,)?) $body:block)+) => {$(
        $(#[$meta])*
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $Type),*) -> i32 {
            $crate::thread::enter(move || $body)
        }

        $(#[$meta])*
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $own($($arg: $Type),*) -> i32 {
            let $stream = $crate::stream::own($stream);
            $crate::thread::enter(move || $body)
        }
    )+};
}

/// Functions without a stream among the arguments that use the default one.
macro_rules! on_default {
    ($($(#[$meta:meta])* fn $name:ident | $own:ident [$stream:ident] ($($arg:ident: $Type:ty),* $(,)?) $body:block)+) => {$(
        $(#[$meta])*
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $Type),*) -> i32 {
            let $stream = $crate::stream::DEFAULT;
            $crate::thread::enter(move || $body)
        }

        $(#[$meta])*
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $own($($arg: $Type),*) -> i32 {
            let $stream = $crate::stream::OWN;
            $crate::thread::enter(move || $body)
        }
    )+};
}

/// Functions that the driver has with the same arguments.
macro_rules! passed {
    ($(fn $name:ident($($arg:ident: $Type:ty),* $(,)?) = $driver:ident;)+) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $Type),*) -> i32 {
            $crate::thread::enter(move || $crate::driver::bind()?.$driver($($arg),*))
        }
    )+};
}

/// Functions with a stream that the driver has with the same arguments.
macro_rules! passed_streamed {
    ($(fn $name:ident | $own:ident [$stream:ident] ($($arg:ident: $Type:ty),* $(,)?) = $driver:ident;)+) => {
        streamed! {$(
            fn $name | $own [$stream] ($($arg: $Type),*) {
                $crate::driver::bind()?.$driver($($arg),*)
            }
        )+}
    };
}
