//! Values and gradients, against formulas, finite differences and libtorch.

use std::sync::mpsc::channel;

use softlabel_tensor::autograd::{Node, Saved, differentiable};
use softlabel_tensor::{Error, Result, gradient_check};
use tch::{Kind, Tensor, no_grad};

use crate::{failure, gradients, leaf, list, square, square_backward, values};

#[test]
fn value_and_gradient_are_those_of_the_closures() {
    let x = leaf(&[1.0, -2.0, 3.0]);
    let y = square(&x).unwrap();
    assert_eq!(list(&y), [1.0, 4.0, 9.0]);
    assert!(y.requires_grad() && !y.is_leaf());
    y.sum(Kind::Double).backward();
    assert_eq!(list(&x.grad()), [2.0, -4.0, 6.0]);
}

#[test]
fn nodes_sit_between_other_operations() {
    let (x, w) = (leaf(&[0.3, -0.7]), leaf(&[1.5, 0.2]));
    let function = |inputs: &[Tensor]| square(&(inputs[0].sin() * &inputs[1])).map(|y| y.exp());
    let check = gradient_check(function, &[&x, &w], 1e-5).unwrap();
    assert_eq!(check.deviations().len(), 2);
    assert!(check.is_within(1e-9, 0.0), "{check:?}");
}

#[test]
fn gradients_of_a_diamond_add_up() {
    // s = x², then s·s + s: 4x³ + 2x.
    let x = leaf(&[0.5, -1.5]);
    let s = square(&x).unwrap();
    let both = square(&s).unwrap() + &s;
    assert_eq!(list(&gradients(&both, &[&x], false)[0]), [1.5, -16.5]);
}

#[test]
fn backward_accumulates_in_the_leaf() {
    let x = leaf(&[2.0]);
    square(&x).unwrap().backward();
    square(&x).unwrap().backward();
    assert_eq!(list(&x.grad()), [8.0]);
}

#[test]
fn a_kept_graph_gives_the_same_again() {
    let x = leaf(&[1.0, 2.0]);
    let y = square(&x).unwrap();
    let first = list(&gradients(&y, &[&x], true)[0]);
    assert_eq!(first, list(&gradients(&y, &[&x], true)[0]));
    assert_eq!(first, list(&gradients(&y, &[&x], false)[0]));
    let text = failure(&y);
    assert!(text.contains("Square: backward through the graph a second time"), "{text}");
}

#[test]
fn inputs_without_gradient_are_told_apart() {
    let (x, labels, fixed) = (leaf(&[2.0]), Tensor::from_slice(&[1i64]), values(&[3.0]));
    let node = Node::new("Mixed", &[&labels, &x, &fixed]).unwrap();
    assert!(node.is_recording());
    let needs: Vec<_> = (0..4).map(|input| node.needs_gradient(input)).collect();
    assert_eq!(needs, [false, true, false, false]);
    let y = no_grad(|| &x * &fixed);
    let saved = [Saved::Tensor(&fixed)];
    let y = node.attach_one(y, &saved, |backward| {
        assert!(!backward.needs_gradient(0) && backward.needs_gradient(1));
        let gradient = backward.gradient(0).unwrap().f_mul(&backward.saved()[0])?;
        // What nobody needs is dropped, whatever it is.
        Ok(vec![None, Some(gradient), Some(Tensor::from_slice(&[1i64, 2]))])
    });
    y.unwrap().backward();
    assert_eq!(list(&x.grad()), [3.0]);
    assert!(!fixed.grad().defined() && !labels.grad().defined());
}

#[test]
fn only_the_gradients_that_are_asked_for_are_needed() {
    let (a, b) = (leaf(&[2.0]), leaf(&[3.0]));
    let (sender, receiver) = channel();
    let node = Node::new("Product", &[&a, &b]).unwrap();
    let saved = [Saved::Tensor(&a), Saved::Tensor(&b)];
    let product = node.attach_one(no_grad(|| &a * &b), &saved, move |backward| {
        sender.send([0, 1].map(|input| backward.needs_gradient(input))).unwrap();
        let gradient = backward.gradient(0).unwrap();
        let saved = backward.saved();
        Ok(vec![Some(gradient.f_mul(&saved[1])?), Some(gradient.f_mul(&saved[0])?)])
    });
    let product = product.unwrap();
    assert_eq!(list(&gradients(&product, &[&b], true)[0]), [2.0]);
    assert_eq!(receiver.recv().unwrap(), [false, true]);
    product.backward();
    assert_eq!(receiver.recv().unwrap(), [true, true]);
    assert_eq!((list(&a.grad()), list(&b.grad())), (vec![3.0], vec![2.0]));
}

#[test]
fn none_is_no_gradient() {
    let x = leaf(&[1.0]);
    let y = differentiable("Stop", &[&x], |inputs| Ok(inputs[0].copy()), |_| Ok(vec![None]));
    (y.unwrap() + &x * 4.0).backward();
    assert_eq!(list(&x.grad()), [4.0]);
}

/// The largest value, its place, the mean and the input doubled, in one node.
fn summary(x: &Tensor, seen: impl Fn(Vec<bool>) + Send + 'static) -> Result<Vec<Tensor>> {
    let node = Node::new("Summary", &[x])?.without_gradient(2);
    let outputs = no_grad(|| {
        let (largest, place) = x.max_dim(0, false);
        vec![largest, place, x.mean(Kind::Double), x * 2.0]
    });
    node.attach(outputs, &[Saved::Tensor(x), Saved::Output(1)], move |backward| {
        seen(backward.gradients().iter().map(Option::is_some).collect());
        let [x, place] = backward.saved() else { return Err(Error::other("saved")) };
        let mut sum = x.f_zeros_like()?;
        if let Some(gradient) = backward.gradient(0) {
            sum = sum.f_index_add(0, &place.f_view(1)?, &gradient.f_view(1)?)?;
        }
        if let Some(gradient) = backward.gradient(3) {
            sum = sum.f_add(&gradient.f_mul_scalar(2.0)?)?;
        }
        Ok(vec![Some(sum)])
    })
}

#[test]
fn outputs_that_are_not_used_have_no_gradient() {
    let x = leaf(&[1.0, 5.0, 2.0]);
    let run = |weigh: fn(&[Tensor]) -> Tensor| {
        let (sender, receiver) = channel();
        let outputs = summary(&x, move |given| sender.send(given).unwrap()).unwrap();
        let recorded: Vec<_> = outputs.iter().map(Tensor::requires_grad).collect();
        assert_eq!(recorded, [true, false, false, true]);
        let gradient = list(&gradients(&weigh(&outputs), &[&x], false)[0]);
        (gradient, receiver.recv().unwrap())
    };
    let (gradient, given) = run(|outputs| &outputs[0] * 3.0);
    assert_eq!((gradient, given), (vec![0.0, 3.0, 0.0], vec![true, false, false, false]));
    let (gradient, given) =
        run(|outputs| outputs[0].shallow_clone() + outputs[3].sum(Kind::Double));
    assert_eq!((gradient, given), (vec![2.0, 3.0, 2.0], vec![true, false, false, true]));
}

#[test]
fn an_input_or_a_view_of_it_may_be_an_output() {
    let x = leaf(&[1.0, 2.0]);
    let inner = &x * 1.0;
    for view in [false, true] {
        let node = Node::new("Identity", &[&inner]).unwrap();
        let output = no_grad(|| if view { inner.view(2) } else { inner.shallow_clone() });
        let outputs = vec![output.shallow_clone(), output];
        let attached = node.attach(outputs, &[], |backward| {
            let both = backward.gradients().iter().flatten();
            let sum =
                both.fold(backward.gradient(0).unwrap().f_zeros_like()?, |sum, one| sum + one);
            Ok(vec![Some(sum * 10.0)])
        });
        let attached = attached.unwrap();
        let sum = &attached[0] + &attached[1] + &inner;
        assert_eq!(list(&gradients(&sum, &[&x], true)[0]), [21.0, 21.0]);
        // The history of the input is its own.
        assert_eq!(list(&gradients(&inner, &[&x], true)[0]), [1.0, 1.0]);
    }
    // Without a history of its own, the input stays without.
    let fixed = values(&[1.0]);
    let node = Node::new("Identity", &[&fixed, &x]).unwrap();
    let output = fixed.shallow_clone();
    let output = node.attach_one(output, &[], |_| Ok(vec![None, None])).unwrap();
    assert!(output.requires_grad() && !fixed.requires_grad());
}

#[test]
fn grad_mode_counts_when_the_node_is_made() {
    let x = leaf(&[3.0]);
    let node = Node::new("Square", &[&x]).unwrap();
    let y = no_grad(|| node.attach_one(x.square(), &[Saved::Tensor(&x)], square_backward)).unwrap();
    y.backward();
    assert_eq!(list(&x.grad()), [6.0]);
    let node = no_grad(|| Node::new("Square", &[&x]).unwrap());
    assert!(!node.is_recording() && !node.needs_gradient(0));
}

#[test]
fn the_closure_knows_whether_it_is_called_again() {
    let x = leaf(&[1.0]);
    let (sender, receiver) = channel();
    let node = Node::new("Asks", &[&x]).unwrap();
    let y = node.attach_one(no_grad(|| x.copy()), &[], move |backward| {
        sender.send((backward.keeps_graph(), backward.creates_graph())).unwrap();
        Ok(vec![backward.take_gradient(0)])
    });
    let y = y.unwrap();
    gradients(&y, &[&x], true);
    y.backward();
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [(true, false), (false, false)]);
}

#[test]
fn a_differentiable_backward_is_differentiated() {
    let cube = |x: &Tensor| -> Result<Tensor> {
        let node = Node::new("Cube", &[x])?.differentiable_backward();
        let y = no_grad(|| x.f_pow_tensor_scalar(3))?;
        node.attach_one(y, &[Saved::Tensor(x)], |backward| {
            let slope = backward.saved()[0].f_square()?.f_mul_scalar(3.0)?;
            Ok(vec![Some(backward.gradient(0).unwrap().f_mul(&slope)?)])
        })
    };
    let (x, weights) = (leaf(&[0.5, -2.0, 1.5]), leaf(&[1.0, 0.3, -0.7]));
    let check = gradient_check(|x: &[Tensor]| cube(&x[0]), &[&x], 1e-5).unwrap();
    assert!(check.is_within(1e-8, 0.0), "{check:?}");
    // The gradient of w·x³ as a function of both: 3·w·x², whose gradient is taken again.
    let slope = |inputs: &[Tensor]| -> Result<Tensor> {
        let sum = (cube(&inputs[0])? * &inputs[1]).sum(Kind::Double);
        Ok(Tensor::f_run_backward(&[&sum], &[&inputs[0]], true, true)?.remove(0))
    };
    let check = gradient_check(slope, &[&x, &weights], 1e-5).unwrap();
    assert!(check.is_within(1e-8, 0.0), "{check:?}");
    let twice = slope(&[x.shallow_clone(), values(&[1.0, 1.0, 1.0])]).unwrap();
    assert_eq!(list(&gradients(&twice, &[&x], false)[0]), [3.0, -12.0, 9.0]);
}
