//! Tests of the public interface, by theme.

// Clippy knows that test functions may panic, not that what they call may.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cases;
mod classes;
mod defects;
mod forecasts;
mod full;
mod golden;
mod human;
mod networks;
mod properties;
mod ranking;
mod state;
mod teaching;
