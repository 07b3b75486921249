//! Buffers of large tensors. One test at a time touches what is kept: it is the process's.

#![allow(clippy::unwrap_used)]

use std::sync::{Mutex, MutexGuard, PoisonError};

use softlabel_tensor::buffers::{allocate, keep_at_most, kept, uninit};
use softlabel_tensor::slices::{slice, uninit_slice_mut};
use tch::{Kind, Tensor};

const MIB: usize = 1 << 20;

/// Nothing kept at the start, and as much as it would be without a word.
fn fresh() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    keep_at_most(0);
    keep_at_most(512 * MIB);
    guard
}

fn megabytes(count: usize) -> Tensor {
    allocate(&[count as i64, MIB as i64], Kind::Uint8).unwrap()
}

fn address(tensor: &Tensor) -> usize {
    tensor.data_ptr() as usize
}

#[test]
fn they_are_ordinary_tensors() {
    let _guard = fresh();
    for count in [0, 1, (1 << 20) - 1, 1 << 20, 3 << 20, 1 << 20] {
        let mut buffer = allocate(&[count], Kind::Float).unwrap();
        assert_eq!((buffer.size(), buffer.kind()), (vec![count], Kind::Float));
        for value in uninit_slice_mut::<f32>(&mut buffer).unwrap() {
            value.write(1.0);
        }
        assert_eq!(f64::try_from(buffer.sum(Kind::Double)).unwrap(), count as f64);
    }
    let before = kept();
    let mut buffer = uninit::<f64>(&[8, 1 << 20]).unwrap();
    let _ = buffer.fill_(2.0);
    // What libtorch does to a tensor: growing it, keeping a part, changing its device to the one it has.
    let part = buffer.narrow(0, 3, 1);
    drop(buffer);
    assert_eq!(kept(), before, "a view needs the memory");
    assert_eq!(slice::<f64>(&part.to_device(tch::Device::Cpu)).unwrap()[5], 2.0);
    let mut grown = megabytes(4);
    let _ = grown.fill_(7);
    let grown = grown.resize_([9, MIB as i64]);
    assert_eq!(grown.narrow(0, 0, 4).min().int64_value(&[]), 7);
}

#[test]
fn impossible_sizes_are_libtorchs_errors() {
    for shape in [vec![-1], vec![i64::MAX], vec![i64::MAX, 4], vec![1 << 40, 1 << 10]] {
        assert!(allocate(&shape, Kind::Float).is_err(), "{shape:?}");
    }
}

#[test]
fn the_memory_of_one_is_that_of_the_next() {
    let _guard = fresh();
    let first = megabytes(8);
    let place = address(&first);
    drop(first);
    assert_eq!(kept(), 8 * MIB);
    let second = megabytes(6);
    assert_eq!((address(&second), kept()), (place, 0));
    let third = megabytes(6);
    assert_ne!(address(&third), place);
    drop(second);
    // Not worth so much more.
    let small = megabytes(4);
    assert_eq!(kept(), 8 * MIB);
    drop((third, small));
    assert_eq!(kept(), 18 * MIB);
    // The one that fits best.
    drop(megabytes(4));
    let best = megabytes(5);
    assert_eq!(kept(), 12 * MIB);
    drop(best);
}

#[test]
fn small_ones_are_not_kept() {
    let _guard = fresh();
    drop(megabytes(3));
    assert_eq!(kept(), 0);
}

#[test]
fn no_more_is_kept_than_is_said() {
    let _guard = fresh();
    keep_at_most(20 * MIB);
    let (a, b, c) = (megabytes(8), megabytes(8), megabytes(8));
    let place = address(&c);
    drop(a);
    drop(b);
    drop(c);
    assert_eq!(kept(), 16 * MIB);
    assert_eq!(address(&megabytes(8)), place, "the last one is kept for longest");
    drop(megabytes(30));
    assert!(kept() <= 20 * MIB);
    keep_at_most(0);
    assert_eq!(kept(), 0);
    drop(megabytes(8));
    assert_eq!(kept(), 0);
}

#[test]
fn a_gradient_that_is_held_is_not_overwritten() {
    let _guard = fresh();
    let mut first = megabytes(8);
    let _ = first.fill_(1);
    let view = first.view([-1]).slice(0, 5, 10, 1);
    drop(first);
    let mut second = megabytes(8);
    let _ = second.fill_(2);
    assert_eq!(Vec::<u8>::try_from(&view).unwrap(), [1; 5]);
}

#[test]
fn threads_share_them() {
    let _guard = fresh();
    std::thread::scope(|scope| {
        for value in 1..=4_u8 {
            scope.spawn(move || {
                for _ in 0..50 {
                    let mut buffer = megabytes(4);
                    let _ = buffer.fill_(i64::from(value));
                    assert!(slice::<u8>(&buffer).unwrap().iter().all(|&each| each == value));
                }
            });
        }
    });
    assert!((4 * MIB..=16 * MIB).contains(&kept()), "{}", kept());
}
