//! Closures are dropped once, and what a graph holds is let go with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use softlabel_tensor::autograd::{Node, Saved, differentiable};
use softlabel_tensor::slices::slice_mut;
use softlabel_tensor::{Error, Result, gradient_check};
use tch::{Kind, Tensor, no_grad};

use crate::{failure, gradients, leaf, list, values};

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
