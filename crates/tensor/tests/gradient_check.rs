//! The check of gradients, checked: it finds what is wrong, and says where.
#![allow(clippy::unwrap_used)] // Helpers of tests, outside `#[test]` functions.

use softlabel_tensor::autograd::differentiable;
use softlabel_tensor::{Error, Result, gradient_check};
use tch::{Kind, Tensor};

fn leaf(from: &[f64]) -> Tensor {
    Tensor::from_slice(from).set_requires_grad(true)
}

#[test]
fn libtorchs_own_gradients_pass() {
    let (x, w) = (
        leaf(&[0.3, -0.2, 0.9, 1.1]).view((2, 2)).detach().set_requires_grad(true),
        leaf(&[1.0, 2.0]),
    );
    let check = gradient_check(|inputs: &[Tensor]| inputs[0].f_matmul(&inputs[1]), &[&x, &w], 1e-5);
    let check = check.unwrap();
    assert_eq!(check.deviations().iter().map(|d| d.input).collect::<Vec<_>>(), [0, 1]);
    assert!(check.is_within(1e-9, 0.0), "{check:?}");
    // The inputs are as they were.
    assert!(!x.grad().defined() && x.requires_grad());
    assert_eq!(x.double_value(&[1, 0]), 0.9);
}

#[test]
fn a_wrong_gradient_is_found_where_it_is() {
    // Of x², all right but in the middle, where it is 2x + 0.25.
    let wrong = |x: &[Tensor]| -> Result<Tensor> {
        differentiable(
            "Wrong",
            &[&x[0]],
            |inputs| Ok(inputs[0].f_square()?),
            |backward| {
                let slope = &backward.saved()[0] * 2.0 + Tensor::from_slice(&[0.0, 0.25, 0.0]);
                Ok(vec![Some(backward.gradient(0).unwrap().f_mul(&slope)?)])
            },
        )
    };
    let check = gradient_check(wrong, &[&leaf(&[1.0, 2.0, 3.0])], 1e-5).unwrap();
    let worst = check.worst().unwrap();
    let weight = 1.7f64.cos() + 1.5;
    assert_eq!((worst.input, worst.position), (0, 1));
    assert!((worst.absolute - 0.25 * weight).abs() < 1e-8);
    assert!((worst.backward - 4.25 * weight).abs() < 1e-12);
    assert!((worst.difference - 4.0 * weight).abs() < 1e-8);
    // Relative to the largest gradient, that of the first or last element.
    let largest = f64::max(4.0 * weight, f64::max(2.0 * 2.5, 6.0 * (3.4f64.cos() + 1.5)));
    assert!((worst.relative - 0.25 * weight / largest).abs() < 1e-8);
    assert!(!check.is_within(0.3, 0.05) && check.is_within(0.4, 0.0) && check.is_within(0.0, 0.1));
}

#[test]
fn what_is_not_a_number_is_never_within() {
    let x = leaf(&[-1.0, 1.0]);
    let check = gradient_check(|x: &[Tensor]| x[0].f_sqrt(), &[&x], 1e-5).unwrap();
    assert_eq!(check.worst().unwrap().absolute, f64::INFINITY);
    assert!(!check.is_within(1e300, 1e300));
}

#[test]
fn inputs_without_gradient_or_effect() {
    let (x, idle) = (leaf(&[1.0]), leaf(&[5.0]));
    let index = Tensor::from_slice(&[0i64, 0]);
    let function = |inputs: &[Tensor]| inputs[1].f_index_select(0, &inputs[0]);
    let check = gradient_check(function, &[&index, &x, &idle], 1e-5).unwrap();
    assert_eq!(check.deviations().iter().map(|d| d.input).collect::<Vec<_>>(), [1, 2]);
    assert!(check.is_within(1e-9, 0.0), "{check:?}");
    assert_eq!(check.deviations()[1].absolute, 0.0);
    // Nothing compared is nothing shown.
    let nothing = gradient_check(|x: &[Tensor]| x[0].f_sin(), &[&x.detach()], 1e-5).unwrap();
    assert!(nothing.worst().is_none() && !nothing.is_within(1.0, 1.0));
}

#[test]
fn only_f64_is_checked() {
    let single = Tensor::from_slice(&[1.0f32]).set_requires_grad(true);
    let check = |x: &Tensor| gradient_check(|x: &[Tensor]| x[0].f_to_kind(Kind::Float), &[x], 1e-5);
    assert!(matches!(check(&single), Err(Error::Kind { found: Kind::Float, .. })));
    assert!(matches!(check(&leaf(&[1.0])), Err(Error::Kind { found: Kind::Float, .. })));
    let fails = gradient_check(|_: &[Tensor]| Err("nothing to see"), &[&leaf(&[1.0])], 1e-5);
    assert_eq!(fails.unwrap_err().to_string(), "nothing to see");
}
