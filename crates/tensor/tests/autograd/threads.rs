//! Other threads, other graphs inside a backward, and other devices.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use softlabel_tensor::autograd::{Node, differentiable};
use softlabel_tensor::{Error, gradient_check};
use tch::{Device, Kind, Tensor, no_grad};

use crate::{failure, gradients, leaf, list, square, values};

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
