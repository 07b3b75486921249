//! Random streams and the orders of epochs.

use std::num::NonZeroUsize;

use proptest::prelude::*;
use rand_chacha::rand_core::Rng;
use softlabel_data::{batches, epoch_order, seed};

/// The same numbers on every machine and in every version: a run that is repeated repeats itself.
#[test]
fn orders_and_streams_stay() {
    assert_eq!(epoch_order(10, 42, 0), [5, 7, 1, 9, 6, 2, 3, 0, 4, 8]);
    assert_eq!(epoch_order(10, 42, 1), [8, 4, 9, 6, 2, 0, 5, 3, 1, 7]);
    // SHA-256 and ChaCha8 written out in Python:
    // key = hashlib.sha256(b"softlabel.seed/1" + struct.pack("<Q", 42) + purpose).digest()
    assert_eq!(seed::stream(42, seed::INIT).next_u64(), 5_608_182_195_524_528_541);
    assert_eq!(seed::derive(42, seed::NOISE), 4_999_416_336_206_268_120);
}

#[test]
fn drawing_from_one_stream_leaves_the_others() {
    let mut noise = seed::stream(1, seed::NOISE);
    let before = seed::stream(1, seed::INIT).next_u64();
    noise.next_u64();
    assert_eq!(seed::stream(1, seed::INIT).next_u64(), before);
}

#[test]
fn seed_and_purpose_do_not_run_together() {
    // Were they joined as text, both would be "11order".
    assert_ne!(seed::derive(1, "1order"), seed::derive(11, "order"));
    let purposes = [seed::SPLIT, seed::ORDER, seed::NOISE, seed::INIT, ""];
    let mut numbers: Vec<_> =
        (0..100).flat_map(|number| purposes.map(|purpose| seed::derive(number, purpose))).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 500);
}

#[test]
fn every_position_comes_first_about_as_often() {
    let mut first = [0; 5];
    for epoch in 0..5000 {
        first[epoch_order(5, 3, epoch)[0]] += 1;
    }
    // 1000 expected, standard deviation 28.
    assert!(first.iter().all(|count| (850..1150).contains(count)), "{first:?}");
}

proptest! {
    #[test]
    fn batches_cover_every_position_once(n in 0..500_usize, size in 1..70_usize, seed: u64, epoch: u64) {
        let batches = batches(n, NonZeroUsize::new(size).unwrap(), seed, epoch);
        prop_assert_eq!(batches.len(), n.div_ceil(size));
        if let Some((last, others)) = batches.split_last() {
            prop_assert!(others.iter().all(|batch| batch.len() == size));
            prop_assert!((1..=size).contains(&last.len()));
        }
        let mut all = batches.concat();
        all.sort_unstable();
        prop_assert_eq!(all, (0..n).collect::<Vec<_>>());
    }
}
