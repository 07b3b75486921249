//! What goes wrong in a node is an error that names it.

use std::sync::mpsc::channel;

use softlabel_tensor::autograd::{Backward, Node, Saved, bump_version, differentiable};
use softlabel_tensor::{Error, Result};
use tch::{Device, Kind, Tensor, no_grad};

use crate::{failure, gradients, leaf, list, message, square, square_backward, values};

#[test]
fn an_output_cannot_be_saved_as_a_tensor() {
    let x = leaf(&[1.0]);
    let y = no_grad(|| x.copy());
    let other = y.shallow_clone();
    let node = Node::new("Cycle", &[&x]).unwrap();
    let error = node.attach_one(y, &[Saved::Tensor(&other)], square_backward).unwrap_err();
    assert!(error.to_string().contains("saved tensor 0 is an output"), "{error}");
}

#[test]
fn a_saved_tensor_that_changes_is_an_error() {
    let base = leaf(&[1.0]);
    let mut inner = &base * 3.0;
    let y = square(&inner).unwrap();
    let _ = inner.fill_(1.0);
    let text = failure(&y);
    assert!(text.contains("modified by an inplace operation"), "{text}");

    let inner = &base * 3.0;
    let y = square(&inner).unwrap();
    bump_version(&inner).unwrap();
    assert!(failure(&y).contains("modified by an inplace operation"));
    assert!(bump_version(&Tensor::new()).is_err());
}

/// An error that panics when it is asked what it is.
#[derive(Debug)]
struct Unspeakable;

impl std::fmt::Display for Unspeakable {
    #[allow(clippy::panic)] // What it is for.
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("no words")
    }
}

impl std::error::Error for Unspeakable {}

type Case = (fn(&mut Backward<'_>) -> Result<Vec<Option<Tensor>>>, &'static str);

#[test]
fn errors_and_panics_keep_their_message() {
    let x = leaf(&[1.0, 2.0]);
    let copy = |inputs: &[&Tensor]| Ok(inputs[0].copy());
    let cases: [Case; 8] = [
        (|_| Err(Error::other(Unspeakable)), "Mine: backward panicked: no words"),
        (|_| Err(Error::other("no luck")), "Mine: backward failed: no luck"),
        (|_| panic!("oh {}", "dear"), "Mine: backward panicked: oh dear"),
        (|_| panic!("plain"), "Mine: backward panicked: plain"),
        (|_| std::panic::panic_any(7), "Mine: backward panicked: with something that is no text"),
        (
            |backward| Ok(vec![backward.take_gradient(0), None]),
            "Mine: backward failed: expected 1 gradients, found 2",
        ),
        (
            |_| Ok(vec![Some(Tensor::zeros([3, 2], (Kind::Double, Device::Cpu)))]),
            "Mine: the gradient of input 0 has to be Double [2] on cpu, found Double [3, 2] on cpu",
        ),
        (
            |_| Ok(vec![Some(Tensor::zeros([2], (Kind::Float, Device::Cpu)))]),
            "Mine: the gradient of input 0 has to be Double [2] on cpu, found Float [2] on cpu",
        ),
    ];
    for (backward, expected) in cases {
        let y = differentiable("Mine", &[&x], copy, backward).unwrap();
        assert_eq!(failure(&y), expected);
    }
    // libtorch goes on as before.
    square(&x).unwrap().sum(Kind::Double).backward();
    assert_eq!(list(&x.grad()), [2.0, 4.0]);
}

#[test]
fn a_refusal_of_libtorch_in_the_closure_is_passed_on() {
    let x = leaf(&[1.0, 2.0]);
    let y = differentiable(
        "Mine",
        &[&x],
        |inputs| Ok(inputs[0].copy()),
        |backward| Ok(vec![Some(backward.gradient(0).unwrap().f_reshape([3])?)]),
    );
    let text = failure(&y.unwrap());
    assert!(text.starts_with("Mine: backward failed: libtorch: "), "{text}");
    assert!(text.contains("shape '[3]' is invalid for input of size 2"), "{text}");
}

#[test]
fn an_error_in_forward_is_the_callers() {
    let x = leaf(&[1.0]);
    let y = differentiable("Mine", &[&x], |_| Err(Error::other("early")), square_backward);
    assert_eq!(y.unwrap_err().to_string(), "early");
    // And grad mode is on again.
    assert!((&x * 2.0).requires_grad());
}

#[test]
fn numbers_of_outputs_are_checked_whether_recording_or_not() {
    for x in [leaf(&[1.0]), values(&[1.0])] {
        let node = || Node::new("One", &[&x]).unwrap();
        let output = || no_grad(|| x.copy());
        let error = node().attach_one(output(), &[Saved::Output(1)], square_backward).unwrap_err();
        assert_eq!(error.to_string(), "autograd node One: there is no output 1 among 1");
        let marked = node().without_gradient(3);
        assert!(marked.attach_one(output(), &[], square_backward).is_err());
    }
}

#[test]
fn a_second_derivative_is_refused_by_name() {
    let x = leaf(&[3.0]);
    let y = square(&x).unwrap();
    let error = Tensor::f_run_backward(&[&y], &[&x], true, true).unwrap_err();
    assert_eq!(
        message(error),
        "Square: its backward is not differentiable (create_graph asks for it)"
    );
    // The first is still to be had.
    assert_eq!(list(&gradients(&y, &[&x], false)[0]), [6.0]);
}

#[test]
fn a_backward_through_itself_is_an_error() {
    let x = leaf(&[1.0]);
    let (sender, receiver) = channel::<Tensor>();
    let node = Node::new("Ouroboros", &[&x]).unwrap();
    let y = node.attach_one(no_grad(|| x.copy()), &[], move |backward| {
        receiver.recv().unwrap().f_backward()?;
        Ok(vec![backward.take_gradient(0)])
    });
    let y = y.unwrap();
    sender.send(y.shallow_clone()).unwrap();
    let text = failure(&y);
    assert!(text.contains("its backward runs a backward through itself"), "{text}");
}
