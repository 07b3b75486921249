//! The views of made-up runs.
#![allow(clippy::expect_used, reason = "helpers of tests fail like tests")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the numbers made up are small and positive"
)]

mod html;
mod page;
mod sample;
mod terminal;
