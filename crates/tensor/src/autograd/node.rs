//! Nodes and how outputs are attached to them.

use std::ffi::{CStr, c_char, c_int, c_void};

use tch::Tensor;
use torch_sys::C_tensor;

use super::call::{Backward, Call, Closure, call, drop_closure};
use crate::{Error, Result};

/// As in node.cpp: a strong pointer to a node.
#[repr(C)]
struct Pointer {
    _opaque: [u8; 0],
}

/// As in node.cpp.
#[repr(C)]
struct RawSaved {
    tensor: *const C_tensor,
    output: usize,
}

#[allow(unsafe_code)]
// SAFETY: as in node.cpp. A returned message is null or freed by `softlabel_message_free`.
unsafe extern "C" {
    fn softlabel_message_free(message: *mut c_char);
    fn softlabel_node_new(
        title: *const c_char,
        length: usize,
        inputs: *const *const C_tensor,
        count: usize,
        needs: *mut u8,
        node: *mut *mut Pointer,
    ) -> *mut c_char;
    fn softlabel_node_free(node: *mut Pointer);
    fn softlabel_node_attach(
        node: *mut Pointer,
        outputs: *const *mut C_tensor,
        differentiable: *const u8,
        count: usize,
        saved: *const RawSaved,
        saved_count: usize,
        differentiable_backward: bool,
        closure: *mut c_void,
        backward: unsafe extern "C" fn(*mut c_void, *const Call) -> c_int,
        drop: unsafe extern "C" fn(*mut c_void),
    ) -> *mut c_char;
    fn softlabel_bump_version(tensor: *const C_tensor) -> *mut c_char;
}

/// What is saved for backward.
///
/// A saved tensor that is changed in place before backward makes backward fail, as with libtorch's own operations.
#[derive(Debug, Clone, Copy)]
pub enum Saved<'a> {
    /// An input, or a tensor of the caller's.
    Tensor(&'a Tensor),
    /// The output with this number. It is held so that node and output do not keep each other alive.
    Output(usize),
}

/// A node in the making: made from the inputs before the outputs are computed, then attached to them.
///
/// ```
/// use softlabel_tensor::autograd::{Node, Saved};
/// use tch::{Kind, Tensor, no_grad};
///
/// // Both halves of a vector, in one node.
/// let x = Tensor::from_slice(&[1.0f64, 2.0, 3.0, 4.0]).set_requires_grad(true);
/// let node = Node::new("Halves", &[&x])?;
/// let halves = no_grad(|| vec![x.narrow(0, 0, 2).copy(), x.narrow(0, 2, 2).copy()]);
/// let halves = node.attach(halves, &[], |backward| {
///     let part = |output| match backward.gradient(output) {
///         Some(gradient) => gradient.shallow_clone(),
///         None => Tensor::zeros([2], (Kind::Double, tch::Device::Cpu)),
///     };
///     Ok(vec![Some(Tensor::f_cat(&[part(0), part(1)], 0)?)])
/// })?;
///
/// (&halves[1] * 10.0).sum(Kind::Double).backward();
/// assert_eq!(Vec::<f64>::try_from(x.grad()).unwrap(), [0.0, 0.0, 10.0, 10.0]);
/// # Ok::<(), softlabel_tensor::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a node does nothing until outputs are attached to it"]
pub struct Node {
    name: String,
    needs: Vec<u8>,
    /// Null if nothing is recorded.
    pointer: *mut Pointer,
    without_gradient: Vec<usize>,
    differentiable_backward: bool,
}

impl Node {
    /// A node from these inputs.
    ///
    /// It records if grad mode is on now and an input requires grad; whether grad mode is on when outputs are attached
    /// does not matter. The inputs are not kept, except for a leaf that requires grad, which its gradient has to reach:
    /// the result of another operation may still be [written over](crate::slices::slice_mut) by who owns it.
    /// The name stands in error messages and is that of the `grad_fn`.
    ///
    /// # Errors
    /// [`Error::Node`] if libtorch refuses an input.
    #[allow(unsafe_code)]
    pub fn new(name: &str, inputs: &[&Tensor]) -> Result<Self> {
        let pointers: Vec<_> = inputs.iter().map(|input| input.as_ptr()).collect();
        let mut needs = vec![0; inputs.len()];
        let mut pointer = std::ptr::null_mut();
        // SAFETY: the arrays have the lengths given, and the handles live.
        let message = unsafe {
            softlabel_node_new(
                name.as_ptr().cast(),
                name.len(),
                pointers.as_ptr(),
                pointers.len(),
                needs.as_mut_ptr(),
                &raw mut pointer,
            )
        };
        if let Some(problem) = taken_message(message) {
            return Err(Error::Node { name: name.to_owned(), problem });
        }
        Ok(Self {
            name: name.to_owned(),
            needs,
            pointer,
            without_gradient: Vec::new(),
            differentiable_backward: false,
        })
    }

    /// Whether a gradient can be asked for: grad mode is on and an input requires grad.
    ///
    /// If not, nothing needs to be kept for backward.
    pub fn is_recording(&self) -> bool {
        !self.pointer.is_null()
    }

    /// Whether this input's gradient can be asked for.
    pub fn needs_gradient(&self, input: usize) -> bool {
        self.needs.get(input).is_some_and(|&needed| needed != 0)
    }

    /// Leaves this output without gradient, as indices or counts are. Outputs of an integer dtype need no such word.
    pub fn without_gradient(mut self, output: usize) -> Self {
        self.without_gradient.push(output);
        self
    }

    /// Says that the closure computes the gradients with differentiable operations, from the gradients of the outputs
    /// and from saved tensors alone.
    ///
    /// Second derivatives then come by themselves: when they are asked for, grad mode is on in the closure and libtorch
    /// records what it does. What the closure captured counts as constant.
    pub fn differentiable_backward(mut self) -> Self {
        self.differentiable_backward = true;
        self
    }

    /// Makes `outputs` the results of this node, with `backward` for their gradient, and returns them.
    ///
    /// Outputs are computed without recording (`no_grad`). An output that is an input, a view, or comes twice is
    /// returned as another handle to the same memory. If the node does not record, the outputs come back as they are
    /// and the closure is dropped.
    ///
    /// `backward` returns one gradient an input; `None` stands for a gradient of zero, or for an input that
    /// [needs none](Backward::needs_gradient).
    ///
    /// # Errors
    /// [`Error::Node`] if an output has a gradient history already, if a saved [`Saved::Tensor`] is an output,
    /// if there is no output of a number that is named, or if libtorch cannot save a tensor.
    #[allow(unsafe_code)]
    pub fn attach<F>(
        self,
        mut outputs: Vec<Tensor>,
        saved: &[Saved<'_>],
        backward: F,
    ) -> Result<Vec<Tensor>>
    where
        F: FnMut(&mut Backward<'_>) -> Result<Vec<Option<Tensor>>> + Send + 'static,
    {
        let named = saved.iter().filter_map(|saved| match saved {
            Saved::Output(output) => Some(*output),
            Saved::Tensor(_) => None,
        });
        for output in named.chain(self.without_gradient.iter().copied()) {
            if output >= outputs.len() {
                let problem = format!("there is no output {output} among {}", outputs.len());
                return Err(self.refused(problem));
            }
        }
        if !self.is_recording() {
            return Ok(outputs);
        }
        let pointers: Vec<_> = outputs.iter_mut().map(Tensor::as_mut_ptr).collect();
        let differentiable: Vec<_> = (0..outputs.len())
            .map(|output| u8::from(!self.without_gradient.contains(&output)))
            .collect();
        let saved: Vec<_> = saved
            .iter()
            .map(|saved| match saved {
                Saved::Tensor(tensor) => RawSaved { tensor: tensor.as_ptr(), output: 0 },
                Saved::Output(output) => RawSaved { tensor: std::ptr::null(), output: *output },
            })
            .collect();
        let closure: Closure = Box::new(backward);
        let closure = Box::into_raw(Box::new(closure));
        // SAFETY: the arrays have the lengths given, the handles live, the numbers of outputs are checked above; the
        // callbacks are those that the closure's pointer is made for.
        let message = unsafe {
            softlabel_node_attach(
                self.pointer,
                pointers.as_ptr(),
                differentiable.as_ptr(),
                pointers.len(),
                saved.as_ptr(),
                saved.len(),
                self.differentiable_backward,
                closure.cast(),
                call,
                drop_closure,
            )
        };
        match taken_message(message) {
            None => Ok(outputs),
            Some(problem) => {
                // SAFETY: the node did not take it.
                unsafe { drop_closure(closure.cast()) };
                Err(self.refused(problem))
            }
        }
    }

    /// [`attach`](Self::attach) for a single output.
    ///
    /// # Errors
    /// As [`attach`](Self::attach).
    pub fn attach_one<F>(self, output: Tensor, saved: &[Saved<'_>], backward: F) -> Result<Tensor>
    where
        F: FnMut(&mut Backward<'_>) -> Result<Vec<Option<Tensor>>> + Send + 'static,
    {
        let name = self.name.clone();
        let outputs = self.attach(vec![output], saved, backward)?;
        let missing = || Error::Node { name, problem: "its output is gone".to_owned() };
        outputs.into_iter().next().ok_or_else(missing)
    }

    fn refused(&self, problem: String) -> Error {
        Error::Node { name: self.name.clone(), problem }
    }
}

impl Drop for Node {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        if !self.pointer.is_null() {
            // SAFETY: the pointer is this node's own, and this is its last use.
            unsafe { softlabel_node_free(self.pointer) };
        }
    }
}

/// Says that the memory of a tensor was written to by other means than libtorch's operations.
///
/// A graph that saved the tensor then fails in backward rather than computing with what is no longer there.
/// [`slice_mut`](crate::slices::slice_mut) does it by itself.
///
/// # Errors
/// [`Error::Node`] for an undefined tensor, or one made in inference mode, which has no version.
///
/// ```
/// use softlabel_tensor::autograd::bump_version;
/// use tch::{Kind, Tensor};
///
/// let x = Tensor::from_slice(&[1.0f32, 2.0]).set_requires_grad(true);
/// let squares = &x * &x;
/// bump_version(&x)?;
/// assert!(squares.sum(Kind::Float).f_backward().is_err());
/// # Ok::<(), softlabel_tensor::Error>(())
/// ```
#[allow(unsafe_code)]
pub fn bump_version(tensor: &Tensor) -> Result<()> {
    // SAFETY: a live handle.
    match taken_message(unsafe { softlabel_bump_version(tensor.as_ptr()) }) {
        None => Ok(()),
        Some(problem) => Err(Error::Node { name: "bump_version".to_owned(), problem }),
    }
}

/// The text of a message, which is freed; `None` if there is none.
#[allow(unsafe_code)]
fn taken_message(message: *mut c_char) -> Option<String> {
    if message.is_null() {
        return None;
    }
    // SAFETY: a string of C++ that ends in a zero and is ours to free, once.
    unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        softlabel_message_free(message);
        Some(text)
    }
}
