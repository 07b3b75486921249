//! Autograd nodes in Rust against libtorch's own, and everything that may go wrong in them.
#![allow(
    clippy::items_after_statements,
    clippy::type_complexity,
    clippy::unwrap_used,
    clippy::unnecessary_wraps
)] // Helpers of tests, outside `#[test]` functions.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use softlabel_tensor::autograd::{Backward, Node, Saved, bump_version, differentiable};
use softlabel_tensor::slices::{slice, slice_mut};
use softlabel_tensor::{Error, Result, gradient_check};
use tch::{Device, Kind, TchError, Tensor, no_grad};

fn values(values: &[f64]) -> Tensor {
    Tensor::from_slice(values)
}

fn leaf(from: &[f64]) -> Tensor {
    values(from).set_requires_grad(true)
}

fn list(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_device(Device::Cpu).flatten(0, -1)).unwrap()
}

/// x², with the gradient 2·x·g.
fn square(x: &Tensor) -> Result<Tensor> {
    differentiable("Square", &[x], |inputs| Ok(inputs[0].f_square()?), square_backward)
}

fn square_backward(backward: &mut Backward<'_>) -> Result<Vec<Option<Tensor>>> {
    let gradient = backward.gradient(0).unwrap();
    Ok(vec![Some(gradient.f_mul(&backward.saved()[0])?.f_mul_scalar(2.0)?)])
}

/// The gradients of the sum of `output` in `inputs`.
fn gradients(output: &Tensor, inputs: &[&Tensor], keep: bool) -> Vec<Tensor> {
    Tensor::run_backward(&[output.sum(Kind::Double)], inputs, keep, false)
}

fn message(error: TchError) -> String {
    let text = Error::from(error).to_string();
    text.strip_prefix("libtorch: Internal torch error: ").unwrap().to_owned()
}

/// What backward says when it fails, without the C++ stack.
fn failure(output: &Tensor) -> String {
    message(output.sum(Kind::Double).f_backward().unwrap_err())
}

/// Counts its drops.
#[derive(Clone)]
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// An identity whose closure holds a guard, and the count of drops.
fn guarded(x: &Tensor) -> (Tensor, Arc<AtomicUsize>) {
    let drops = Arc::new(AtomicUsize::new(0));
    let guard = Guard(drops.clone());
    let forward = |inputs: &[&Tensor]| Ok(inputs[0].copy());
    let y = differentiable("Guarded", &[x], forward, move |backward| {
        let _held = &guard;
        Ok(vec![backward.take_gradient(0)])
    });
    (y.unwrap(), drops)
}

fn count(drops: &Arc<AtomicUsize>) -> usize {
    drops.load(Ordering::SeqCst)
}

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
fn the_closure_is_dropped_once_by_the_first_backward() {
    let x = leaf(&[1.0]);
    let (y, drops) = guarded(&x);
    gradients(&y, &[&x], true);
    assert_eq!(count(&drops), 0);
    y.backward();
    assert_eq!(count(&drops), 1);
    drop((x, y));
    assert_eq!(count(&drops), 1);
}

#[test]
fn the_closure_is_dropped_once_with_the_graph() {
    let x = leaf(&[1.0]);
    let (y, drops) = guarded(&x);
    let z = &y * 2.0;
    drop((x, y));
    assert_eq!(count(&drops), 0);
    drop(z);
    assert_eq!(count(&drops), 1);
}

#[test]
fn the_closure_is_dropped_once_where_nothing_is_recorded() {
    let x = leaf(&[1.0]);
    let (y, drops) = no_grad(|| guarded(&x));
    assert_eq!(count(&drops), 1);
    assert!(!y.requires_grad());
    let (y, drops) = guarded(&values(&[1.0]));
    assert_eq!(count(&drops), 1);
    assert!(!y.requires_grad());
}

#[test]
fn the_closure_is_dropped_once_when_it_cannot_be_attached() {
    let drops = Arc::new(AtomicUsize::new(0));
    let guard = Guard(drops.clone());
    let x = leaf(&[1.0]);
    let node = Node::new("Recorded", &[&x]).unwrap();
    let error = node.attach_one(&x * 2.0, &[], move |backward| {
        let _held = &guard;
        Ok(vec![backward.take_gradient(0)])
    });
    assert_eq!(
        error.unwrap_err().to_string(),
        "autograd node Recorded: output 0 has a gradient history already; \
         compute the outputs without gradients"
    );
    assert_eq!(count(&drops), 1);
}

#[test]
fn a_panic_in_the_drop_of_a_closure_stays_inside() {
    struct Loud(Arc<AtomicUsize>);
    impl Drop for Loud {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
            panic!("dropped");
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    let loud = Loud(drops.clone());
    let x = leaf(&[1.0]);
    let y = Node::new("Loud", &[&x]).unwrap();
    let y = y.attach_one(no_grad(|| x.copy()), &[], move |backward| {
        let _held = &loud;
        Ok(vec![backward.take_gradient(0)])
    });
    drop(y.unwrap());
    assert_eq!(count(&drops), 1);
}

#[test]
fn saved_tensors_are_released_with_the_graph() {
    let x = leaf(&[1.0]);
    let mut big = values(&[1.0, 2.0]);
    let node = Node::new("Saves", &[&x]).unwrap();
    let (sender, receiver) = channel();
    let y = node
        .attach_one(no_grad(|| x.copy()), &[Saved::Tensor(&big)], move |backward| {
            sender.send(list(&backward.saved()[0])).unwrap();
            Ok(vec![backward.take_gradient(0)])
        })
        .unwrap();
    assert!(slice_mut::<f64>(&mut big).is_err());
    y.backward();
    assert_eq!(receiver.recv().unwrap(), [1.0, 2.0]);
    assert!(slice_mut::<f64>(&mut big).is_ok());
}

#[test]
fn a_saved_output_makes_no_cycle() {
    // σ with the gradient y·(1 − y)·g from the output.
    let drops = Arc::new(AtomicUsize::new(0));
    let sigmoid = |x: &Tensor| {
        let guard = Guard(drops.clone());
        let node = Node::new("Sigmoid", &[x])?;
        let y = no_grad(|| x.f_sigmoid())?;
        node.attach_one(y, &[Saved::Output(0)], move |backward| {
            let _held = &guard;
            let y = &backward.saved()[0];
            let slope = y.f_mul(&(1.0 - y))?;
            Ok(vec![Some(backward.gradient(0).unwrap().f_mul(&slope)?)])
        })
    };
    let x = leaf(&[0.4, -2.0]);
    drop(sigmoid(&x).unwrap());
    assert_eq!(count(&drops), 1);
    let check = gradient_check(|x: &[Tensor]| sigmoid(&x[0]), &[&x], 1e-5).unwrap();
    assert!(check.is_within(1e-9, 0.0), "{check:?}");
    let changed = sigmoid(&x).unwrap();
    let _ = changed.detach().fill_(0.0);
    assert!(failure(&changed).contains("modified by an inplace operation"));
}

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

type Case = (fn(&mut Backward<'_>) -> Result<Vec<Option<Tensor>>>, &'static str);

#[test]
fn errors_and_panics_keep_their_message() {
    let x = leaf(&[1.0, 2.0]);
    let copy = |inputs: &[&Tensor]| Ok(inputs[0].copy());
    let cases: [Case; 7] = [
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
fn a_gradient_that_the_closure_holds_is_given_away_without_a_copy() {
    let x = leaf(&[1.0, 2.0]);
    let gradient = values(&[5.0, 6.0]);
    let address = gradient.data_ptr() as usize;
    let mut held = Some(gradient);
    let node = Node::new("Holds", &[&x]).unwrap();
    let y = node.attach_one(no_grad(|| x.sum(Kind::Double)), &[], move |backward| {
        assert!(!backward.keeps_graph());
        Ok(vec![held.take()])
    });
    y.unwrap().backward();
    assert_eq!(list(&x.grad()), [5.0, 6.0]);
    assert_eq!(x.grad().data_ptr() as usize, address);
}

#[test]
fn the_gradient_may_be_written_over_an_input_that_its_owner_gives_up() {
    // Σx², whose gradient 2x takes the place of x.
    let square_over = |mut x: Tensor| -> Result<Tensor> {
        let node = Node::new("Over", &[&x])?;
        let mut sum = 0.0;
        for value in slice_mut::<f64>(&mut x)? {
            sum += *value * *value;
            *value *= 2.0;
        }
        let mut held = Some(x.detach());
        drop(x);
        node.attach_one(Tensor::from(sum), &[], move |backward| {
            assert!(!backward.keeps_graph());
            Ok(vec![held.take().map(|gradient| gradient * backward.gradient(0).unwrap())])
        })
    };
    let x = leaf(&[1.0, 2.0]);
    square_over(&x * 3.0).unwrap().backward();
    assert_eq!(list(&x.grad()), [18.0, 36.0]);
    // A leaf is not its owner's alone: its node keeps it, and an optimizer is to change it.
    assert!(matches!(square_over(x.shallow_clone()), Err(Error::Memory { .. })));
    assert!(matches!(square_over(leaf(&[1.0])), Err(Error::Memory { .. })));
    // What another operation saved is refused before it is changed.
    let inner = &x * 1.0;
    let other = inner.square();
    assert!(matches!(square_over(inner), Err(Error::Memory { .. })));
    other.sum(Kind::Double).backward();
}

/// Resident memory in bytes, where the system says it.
fn resident() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(text.split_whitespace().nth(1)?.parse::<usize>().ok()? * 4096)
}

#[test]
fn memory_does_not_grow() {
    // 8 MB for each of the input, the output, the saved, the gradients; every way to the end of a graph.
    let x = Tensor::ones([1_000_000], (Kind::Double, Device::Cpu)).set_requires_grad(true);
    let round = |end: usize| {
        let y = &x * 2.0;
        let node = Node::new("Rounds", &[&y]).unwrap();
        let saved = [Saved::Tensor(&y), Saved::Output(0)];
        let z = node.attach_one(no_grad(|| &y + 1.0), &saved, move |backward| match end {
            0 => Err(Error::other("an error")),
            1 => panic!("a panic"),
            2 => Ok(vec![Some(backward.gradient(0).unwrap() * 2.0), None]),
            3 => Ok(vec![Some(Tensor::cat(&[&backward.saved()[0], &backward.saved()[1]], 0))]),
            _ => Ok(vec![Some(backward.gradient(0).unwrap() * 3.0)]),
        });
        let z = z.unwrap();
        let ended = Tensor::f_run_backward(&[z.sum(Kind::Double)], &[&x], end == 4, false);
        assert_eq!(ended.is_ok(), end > 3);
    };
    (0..6).for_each(round);
    let Some(before) = resident() else { return };
    for _ in 0..20 {
        (0..6).for_each(round);
    }
    let grown = resident().unwrap().saturating_sub(before);
    // One tensor lost in every round of one kind would be 160 MB; other tests run beside this one.
    assert!(grown < 80_000_000, "{grown} bytes");
    assert_eq!(slice::<f64>(&x).unwrap()[0], 1.0);
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

#[test]
fn graphs_cross_threads() {
    // Built here, run backward there.
    let x = leaf(&[1.0, 2.0]);
    let y = square(&x).unwrap();
    let caller = thread::current().id();
    let node = Node::new("Where", &[&y]).unwrap();
    let (sender, receiver) = channel();
    let z = node.attach_one(no_grad(|| y.copy()), &[], move |backward| {
        sender.send(thread::current().id()).unwrap();
        Ok(vec![backward.take_gradient(0)])
    });
    let z = z.unwrap();
    thread::spawn(move || z.sum(Kind::Double).backward()).join().unwrap();
    assert_ne!(receiver.recv().unwrap(), caller);
    assert_eq!(list(&x.grad()), [2.0, 4.0]);

    // All of it there, several at once.
    let threads: Vec<_> = (0..4)
        .map(|index| {
            thread::spawn(move || {
                let x = leaf(&[f64::from(index)]);
                for _ in 0..50 {
                    square(&x).unwrap().backward();
                }
                list(&x.grad())
            })
        })
        .collect();
    for (index, thread) in threads.into_iter().enumerate() {
        assert_eq!(thread.join().unwrap(), [100.0 * index as f64]);
    }
}

#[test]
fn one_kept_graph_runs_on_several_threads() {
    let x = leaf(&[3.0]);
    let inside = Arc::new(AtomicUsize::new(0));
    let held = inside.clone();
    let node = Node::new("Alone", &[&x]).unwrap();
    let y = node.attach_one(no_grad(|| x.copy()), &[], move |backward| {
        assert_eq!(held.fetch_add(1, Ordering::SeqCst), 0, "called twice at a time");
        thread::yield_now();
        held.fetch_sub(1, Ordering::SeqCst);
        Ok(vec![backward.take_gradient(0)])
    });
    let y = y.unwrap();
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (x, y) = (x.shallow_clone(), y.shallow_clone());
            thread::spawn(move || (0..50).all(|_| list(&gradients(&y, &[&x], true)[0]) == [1.0]))
        })
        .collect();
    assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    assert_eq!(inside.load(Ordering::SeqCst), 0);
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

#[test]
fn another_graph_may_run_inside_a_backward() {
    let x = leaf(&[3.0]);
    let y = differentiable(
        "Outer",
        &[&x],
        |inputs| Ok(inputs[0].f_square()?),
        |backward| {
            let inner = tch::with_grad(|| {
                let point = backward.saved()[0].detach().set_requires_grad(true);
                square(&point)?.f_backward()?;
                Ok::<_, Error>(point.grad())
            })?;
            Ok(vec![Some(inner.f_mul(backward.gradient(0).unwrap())?)])
        },
    );
    y.unwrap().backward();
    assert_eq!(list(&x.grad()), [6.0]);
}

#[test]
fn a_long_chain_is_taken_apart_without_recursion() {
    let x = leaf(&[1.0]);
    let mut y = &x * 1.0;
    for _ in 0..20_000 {
        let node = Node::new("Link", &[&y]).unwrap();
        let next = no_grad(|| y.copy());
        y = node.attach_one(next, &[], |backward| Ok(vec![backward.take_gradient(0)])).unwrap();
    }
    let rest = &y * 1.0;
    y.backward();
    assert_eq!(list(&x.grad()), [1.0]);
    drop((y, rest));
}

#[test]
fn a_gradient_has_to_come_for_the_right_device() {
    if !tch::Cuda::is_available() {
        return;
    }
    let x = values(&[1.0, 2.0]).to_device(Device::Cuda(0)).set_requires_grad(true);
    let caller = thread::current().id();
    let y = square(&x).unwrap();
    y.sum(Kind::Double).backward();
    assert_eq!(list(&x.grad()), [2.0, 4.0]);

    let (sender, receiver) = channel();
    let forward = |inputs: &[&Tensor]| Ok(inputs[0].copy());
    let y = differentiable("Astray", &[&x], forward, move |backward| {
        sender.send(thread::current().id()).unwrap();
        Ok(vec![backward.take_gradient(0).map(|gradient| gradient.to_device(Device::Cpu))])
    });
    let text = failure(&y.unwrap());
    assert!(text.contains("Double [2] on cuda:0, found Double [2] on cpu"), "{text}");
    assert_ne!(receiver.recv().unwrap(), caller);

    let y = differentiable("Panics", &[&x], forward, |_| panic!("on the device thread"));
    assert!(failure(&y.unwrap()).contains("Panics: backward panicked: on the device thread"));
    let function = |inputs: &[Tensor]| square(&inputs[0]);
    assert!(gradient_check(function, &[&x], 1e-5).unwrap().is_within(1e-8, 0.0));
}
