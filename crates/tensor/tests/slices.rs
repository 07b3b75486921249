//! Slices of tensors: what they hold, and every tensor that they are refused for.
#![allow(clippy::unwrap_used)] // Helpers of tests, outside `#[test]` functions.

use half::{bf16, f16};
use proptest::prelude::*;
use softlabel_tensor::Error;
use softlabel_tensor::buffers::uninit;
use softlabel_tensor::slices::{Element, slice, slice_mut, uninit_slice_mut};
use tch::{Device, Kind, Tensor};

fn refusal(tensor: &Tensor) -> String {
    slice::<f32>(tensor).unwrap_err().to_string()
}

fn zeros(shape: &[i64]) -> Tensor {
    Tensor::zeros(shape, (Kind::Float, Device::Cpu))
}

/// Written through a slice, read by libtorch, changed and read through slices.
fn round_trip<T: Element + PartialEq + std::fmt::Debug>(
    kind: Kind,
    values: [T; 3],
    as_f64: [f64; 3],
) {
    let mut tensor = uninit::<T>(&[3]).unwrap();
    assert_eq!(tensor.kind(), kind);
    for (to, from) in uninit_slice_mut::<T>(&mut tensor).unwrap().iter_mut().zip(values) {
        to.write(from);
    }
    assert_eq!(Vec::<f64>::try_from(tensor.to_kind(Kind::Double)).unwrap(), as_f64);
    assert_eq!(slice::<T>(&tensor).unwrap(), values);
    slice_mut::<T>(&mut tensor).unwrap().swap(0, 2);
    let [a, b, c] = as_f64;
    assert_eq!(Vec::<f64>::try_from(tensor.to_kind(Kind::Double)).unwrap(), [c, b, a]);
}

#[test]
fn every_dtype_goes_both_ways() {
    let halves = [1.5, -2.0, 0.0];
    round_trip(Kind::Float, [1.5f32, -2.0, f32::MAX], [1.5, -2.0, f64::from(f32::MAX)]);
    round_trip(Kind::Double, [1.5, -2.0, f64::MIN_POSITIVE], [1.5, -2.0, f64::MIN_POSITIVE]);
    round_trip(Kind::Half, halves.map(f16::from_f64), halves);
    round_trip(Kind::BFloat16, halves.map(bf16::from_f64), halves);
    round_trip(Kind::Uint8, [1u8, 2, 255], [1.0, 2.0, 255.0]);
    round_trip(Kind::Int8, [1i8, -2, 127], [1.0, -2.0, 127.0]);
    round_trip(Kind::Int16, [1i16, -2, i16::MAX], [1.0, -2.0, 32767.0]);
    round_trip(Kind::Int, [1i32, -2, i32::MIN], [1.0, -2.0, f64::from(i32::MIN)]);
    round_trip(Kind::Int64, [1i64, -2, 1 << 40], [1.0, -2.0, 2f64.powi(40)]);
    round_trip(Kind::Bool, [true, false, false], [1.0, 0.0, 0.0]);
}

proptest! {
    #[test]
    fn views_with_an_offset_are_their_own_elements(
        rows in 1i64..6, columns in 0i64..5, start in 0i64..6, length in 0i64..6,
    ) {
        let tensor = Tensor::arange(rows * columns, (Kind::Int64, Device::Cpu)).view((rows, columns));
        let start = start.min(rows);
        let length = length.min(rows - start);
        let view = tensor.narrow(0, start, length);
        let expected: Vec<i64> = (start * columns..(start + length) * columns).collect();
        prop_assert_eq!(slice::<i64>(&view).unwrap(), expected);
    }
}

#[test]
fn no_elements_are_an_empty_slice() {
    let mut empty = zeros(&[0, 3]);
    assert!(slice::<f32>(&empty).unwrap().is_empty());
    assert!(slice_mut::<f32>(&mut empty).unwrap().is_empty());
    assert!(uninit_slice_mut::<f32>(&mut empty).unwrap().is_empty());
    assert!(slice::<bool>(&Tensor::from_slice::<bool>(&[])).unwrap().is_empty());
    // An empty tensor of another dtype is still of another dtype.
    assert!(slice::<f64>(&empty).is_err());
    let scalar = Tensor::from(2.5f32);
    assert_eq!(slice::<f32>(&scalar).unwrap(), [2.5]);
}

#[test]
fn recording_does_not_matter() {
    let x = Tensor::from_slice(&[1.0f32, 2.0]).set_requires_grad(true);
    assert_eq!(slice::<f32>(&x).unwrap(), [1.0, 2.0]);
    assert_eq!(slice::<f32>(&(&x * 2.0)).unwrap(), [2.0, 4.0]);
}

#[test]
fn what_is_not_plain_memory_is_refused() {
    assert_eq!(refusal(&Tensor::new()), "a slice needs a tensor, found an undefined one");
    assert_eq!(
        refusal(&zeros(&[2, 3]).tr()),
        "a slice needs a contiguous tensor, found shape [3, 2] with strides [1, 3]"
    );
    assert_eq!(
        refusal(&zeros(&[1]).expand([4], false)),
        "a slice needs a contiguous tensor, found shape [4] with strides [0]"
    );
    assert!(matches!(slice::<f32>(&zeros(&[4]).slice(0, 0, 4, 2)), Err(Error::Memory { .. })));
    assert_eq!(
        refusal(&zeros(&[2]).to_sparse_sparse_dim(1)),
        "a slice needs a dense tensor, found another layout"
    );
    let meta = zeros(&[2]).to_kind(Kind::Int64);
    assert_eq!(refusal(&meta), "slice: expected f32, found Int64");
    // The imaginary part of a conjugate is the negative of what its memory holds.
    let complex = Tensor::complex(&zeros(&[1]), &Tensor::from_slice(&[2.0f32]));
    let imaginary = complex.conj().imag();
    assert_eq!(imaginary.double_value(&[0]), -2.0);
    assert!(slice::<f32>(&imaginary).unwrap_err().to_string().contains("contiguous"));
}

#[test]
fn bytes_that_are_no_bool_are_refused() {
    let mut bytes = Tensor::from_slice(&[1u8, 7, 0]).view_dtype(Kind::Bool);
    let expected = "a slice needs bools that are 0 or 1, found 7";
    assert_eq!(slice::<bool>(&bytes).unwrap_err().to_string(), expected);
    assert!(slice_mut::<bool>(&mut bytes).is_err());
}

#[test]
fn misaligned_memory_is_refused() {
    let bytes = Tensor::from_slice(&[0u8; 9]);
    let aligned = bytes.narrow(0, 0, 8).view_dtype(Kind::Float);
    assert_eq!(slice::<f32>(&aligned).unwrap(), [0.0, 0.0]);
    // libtorch itself refuses most ways to such a view; memory from outside comes as it is.
    let memory = [0u8; 16];
    let start = memory.as_ptr().align_offset(4) + 1;
    #[allow(unsafe_code)]
    // SAFETY: two floats lie in the 16 bytes from any start up to 8, and the array outlives the tensor.
    let tensor = unsafe {
        Tensor::from_blob(memory.as_ptr().add(start), &[2], &[1], Kind::Float, Device::Cpu)
    };
    assert_eq!(refusal(&tensor), "a slice needs aligned memory, found a misaligned address");
}

#[test]
fn only_the_only_handle_writes() {
    let write = |tensor: &mut Tensor| slice_mut::<f32>(tensor).map(|values| values[0] = 1.0);
    let mut tensor = zeros(&[4]);
    write(&mut tensor).unwrap();
    let handle = tensor.shallow_clone();
    assert_eq!(
        write(&mut tensor).unwrap_err().to_string(),
        "a slice needs the only handle to its memory, found 2 handles to the tensor, \
         1 tensors on its storage"
    );
    assert!(uninit_slice_mut::<f32>(&mut tensor).is_err());
    drop(handle);
    let mut view = tensor.narrow(0, 1, 2);
    assert!(write(&mut tensor).is_err() && write(&mut view).is_err());
    drop(view);
    let detached = tensor.detach();
    assert!(write(&mut tensor).is_err());
    drop(detached);
    write(&mut tensor).unwrap();
    // A graph that needs the values holds them, and lets go after backward.
    let leaf = zeros(&[4]).set_requires_grad(true);
    let mut inner = &leaf + 1.0;
    let loss = inner.square().sum(Kind::Float);
    assert!(write(&mut inner).is_err());
    loss.backward();
    write(&mut inner).unwrap();
}

#[test]
fn refusals_leave_the_version_alone() {
    let leaf = zeros(&[4]).set_requires_grad(true);
    let mut inner = &leaf + 1.0;
    let loss = inner.square().sum(Kind::Float);
    assert!(slice_mut::<f32>(&mut inner).is_err());
    assert!(slice_mut::<f64>(&mut inner).is_err());
    loss.backward();
    assert_eq!(leaf.grad().double_value(&[0]), 2.0);
}

#[test]
fn writing_counts_as_a_change_and_reading_does_not() {
    let mut tensor = zeros(&[4]);
    let before = tensor.internal_version();
    slice::<f32>(&tensor).unwrap();
    assert_eq!(tensor.internal_version(), before);
    slice_mut::<f32>(&mut tensor).unwrap();
    assert_eq!(tensor.internal_version(), before + 1);
    uninit_slice_mut::<f32>(&mut tensor).unwrap();
    assert_eq!(tensor.internal_version(), before + 2);
}

#[test]
fn several_tensors_at_once() {
    let logits = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0]);
    let labels = Tensor::from_slice(&[1i64, 0]);
    let mut gradient = uninit::<f32>(&[2, 2]).unwrap();
    let (from, at) = (slice::<f32>(&logits).unwrap(), slice::<i64>(&labels).unwrap());
    let to = uninit_slice_mut::<f32>(&mut gradient).unwrap();
    for (row, &label) in at.iter().enumerate() {
        for class in 0..2 {
            let off = if label == class as i64 { 10.0 } else { 0.0 };
            to[2 * row + class].write(from[2 * row + class] - off);
        }
    }
    assert_eq!(slice::<f32>(&gradient).unwrap(), [1.0, -8.0, -7.0, 4.0]);
}

#[test]
fn other_devices_are_refused() {
    if tch::Cuda::is_available() {
        let text = refusal(&zeros(&[2]).to_device(Device::Cuda(0)));
        assert_eq!(text, "a slice needs a tensor on the CPU, found Cuda(0)");
    }
}

#[test]
fn scalars_of_every_dtype() {
    use half::{bf16, f16};
    use softlabel_tensor::scalars::{number, scalar};
    let made = [
        (scalar(0.5f32), Kind::Float),
        (scalar(0.5f64), Kind::Double),
        (scalar(bf16::from_f32(0.5)), Kind::BFloat16),
        (scalar(f16::from_f32(0.5)), Kind::Half),
    ];
    for (tensor, kind) in made {
        let tensor = tensor.unwrap();
        assert_eq!((tensor.size(), tensor.kind()), (vec![], kind));
        assert_eq!(f64::try_from(&tensor).unwrap(), 0.5);
        assert_eq!(number(&tensor).unwrap(), 0.5);
        // One element of several axes, and a view.
        let several = tensor.view([1, 1, 1]);
        assert_eq!(number(&several).unwrap(), 0.5);
        let view = Tensor::ones([2, 3], (kind, Device::Cpu)).select(0, 1).select(0, 2);
        assert_eq!(number(&view).unwrap(), 1.0);
        assert!(number(&Tensor::zeros([0], (kind, Device::Cpu))).is_err());
        assert!(number(&Tensor::zeros([2], (kind, Device::Cpu))).is_err());
    }
    for kind in [Kind::Int64, Kind::Int, Kind::Uint8, Kind::Bool] {
        assert_eq!(number(&Tensor::ones([1], (kind, Device::Cpu))).unwrap(), 1.0);
    }
}
