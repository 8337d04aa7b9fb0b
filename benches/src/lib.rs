//! Part of ringbar.
