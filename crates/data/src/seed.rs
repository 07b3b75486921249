//! Independent random streams from one seed.
//!
//! A run has one seed and many uses for it: the split, label noise, initial weights, the order of batches.
//! Each use draws from a stream of its own, named by its purpose, so that drawing once more in one place changes
//! nothing in another.
//!
//! key = SHA-256("softlabel.seed/1" ‖ seed as 8 little-endian bytes ‖ purpose), the key of a ChaCha8 generator.
//! The numbers are the same on every machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// The purpose from which [`Data::split`](crate::Data::split) draws.
pub const SPLIT: &str = "split";
/// The purpose from which [`epoch_order`](crate::epoch_order) draws, one ChaCha stream an epoch.
pub const ORDER: &str = "order";
/// The purpose for label noise.
pub const NOISE: &str = "noise";
/// The purpose for initial weights.
pub const INIT: &str = "init";

/// The generator for one purpose.
///
/// A purpose is any string; the ones used by this project are constants of this module.
/// Where one purpose needs a stream for each of many things, such as epochs, number them with
/// [`set_stream`](ChaCha8Rng::set_stream).
///
/// ```
/// use rand_chacha::rand_core::Rng;
/// use softlabel_data::seed;
///
/// let first = |seed, purpose| seed::stream(seed, purpose).next_u64();
/// assert_eq!(first(7, seed::INIT), first(7, seed::INIT));
/// assert_ne!(first(7, seed::INIT), first(7, seed::NOISE));
/// assert_ne!(first(7, seed::INIT), first(8, seed::INIT));
/// ```
pub fn stream(seed: u64, purpose: &str) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(key(seed, purpose))
}

/// A seed for one purpose, for what takes a seed rather than a generator.
///
/// ```
/// use softlabel_data::seed;
/// assert_ne!(seed::derive(7, seed::NOISE), seed::derive(7, seed::INIT));
/// ```
pub fn derive(seed: u64, purpose: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = key(seed, purpose);
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

fn key(seed: u64, purpose: &str) -> [u8; 32] {
    let hash = Sha256::new_with_prefix(b"softlabel.seed/1");
    hash.chain_update(seed.to_le_bytes()).chain_update(purpose).finalize().into()
}
