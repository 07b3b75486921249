//! Memory of nodes over many rounds, in a program of its own: what other tests hold would be counted too.

use softlabel_tensor::Error;
use softlabel_tensor::autograd::{Node, Saved};
use softlabel_tensor::slices::slice;
use tch::{Device, Kind, Tensor, no_grad};

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
    // One tensor lost in every round of one kind would be 160 MB.
    assert!(grown < 80_000_000, "{grown} bytes");
    assert_eq!(slice::<f64>(&x).unwrap()[0], 1.0);
}
