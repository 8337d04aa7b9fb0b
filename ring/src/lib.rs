//! ringbar
pub mod sync;
