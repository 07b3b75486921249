//! One call of a backward closure, from C++ into Rust.
//!
//! Tensors that cross the boundary change hands with their pointer. Nothing unwinds across it: a panic is caught and
//! handed over as a message.

use std::ffi::{c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tch::Tensor;
use torch_sys::C_tensor;

use crate::Result;

/// What a closure is boxed as; the pointer that C++ keeps is to this box.
pub(super) type Closure =
    Box<dyn FnMut(&mut Backward<'_>) -> Result<Vec<Option<Tensor>>> + Send + 'static>;

/// As in node.cpp.
#[repr(C)]
pub(super) struct Call {
    gradients: *const *mut C_tensor,
    gradient_count: usize,
    saved: *const *mut C_tensor,
    saved_count: usize,
    needs: *const u8,
    results: *mut *mut C_tensor,
    input_count: usize,
    keeps_graph: u8,
    creates_graph: u8,
    message: *mut c_void,
}

#[allow(unsafe_code)]
// SAFETY: as in node.cpp.
unsafe extern "C" {
    fn softlabel_call_fail(message: *mut c_void, text: *const c_char, length: usize);
}

const DONE: c_int = 0;
const FAILED: c_int = 1;
const PANICKED: c_int = 2;

/// What a backward closure is given: the gradients of the outputs, the saved tensors, and what is asked of it.
#[derive(Debug)]
pub struct Backward<'a> {
    gradients: Vec<Option<Tensor>>,
    saved: Vec<Tensor>,
    needs: &'a [u8],
    keeps_graph: bool,
    creates_graph: bool,
}

impl Backward<'_> {
    /// The gradients of the outputs, in their order; `None` for an output that the loss does not depend on, and for
    /// one without gradient.
    pub fn gradients(&self) -> &[Option<Tensor>] {
        &self.gradients
    }

    /// The gradient of one output; `None` as in [`gradients`](Self::gradients) or if there is no such output.
    pub fn gradient(&self, output: usize) -> Option<&Tensor> {
        self.gradients.get(output)?.as_ref()
    }

    /// Takes the gradient of one output, to pass it on.
    pub fn take_gradient(&mut self, output: usize) -> Option<Tensor> {
        self.gradients.get_mut(output)?.take()
    }

    /// The saved tensors, in the order in which they were saved.
    ///
    /// They are as they were: a saved tensor that was changed in place since is an error before the closure is called.
    pub fn saved(&self) -> &[Tensor] {
        &self.saved
    }

    /// Whether the gradient of this input is needed. What is returned for another is dropped.
    pub fn needs_gradient(&self, input: usize) -> bool {
        self.needs.get(input).is_some_and(|&needed| needed != 0)
    }

    /// Whether the graph is kept, so that the closure may be called again.
    ///
    /// If not, this is the last call, and what the closure holds may be given away.
    pub fn keeps_graph(&self) -> bool {
        self.keeps_graph
    }

    /// Whether the gradients are to be differentiable themselves; grad mode is on then.
    ///
    /// Only a [differentiable](super::Node::differentiable_backward) backward ever sees this.
    pub fn creates_graph(&self) -> bool {
        self.creates_graph
    }
}

/// Calls the closure; the C++ side raises what goes wrong.
#[allow(unsafe_code)]
pub(super) unsafe extern "C" fn call(closure: *mut c_void, call: *const Call) -> c_int {
    // SAFETY: node.cpp passes the closure that it was given, not released and under its lock, and a call that lives
    // until the return.
    let (closure, call) = unsafe { (&mut *closure.cast::<Closure>(), &*call) };
    // SAFETY: the counts are those of the arrays; the tensors are ours from here on, and taken before all else.
    let (gradients, saved, needs) = unsafe {
        let gradients = taken(call.gradients, call.gradient_count);
        let saved = taken(call.saved, call.saved_count);
        (gradients, saved, array(call.needs, call.input_count))
    };
    let mut backward = Backward {
        gradients,
        saved: saved.into_iter().flatten().collect(),
        needs,
        keeps_graph: call.keeps_graph != 0,
        creates_graph: call.creates_graph != 0,
    };
    // An error becomes a text in here, as it may panic while it is asked for one, or dropped.
    let outcome = catch_unwind(AssertUnwindSafe(move || -> std::result::Result<_, String> {
        let results = closure(&mut backward).map_err(|error| error.to_string())?;
        if results.len() != call.input_count {
            let (found, expected) = (results.len(), call.input_count);
            return Err(format!("expected {expected} gradients, found {found}"));
        }
        Ok(results)
    }));
    let (status, text) = match outcome {
        Ok(Ok(results)) => {
            for (place, result) in results.into_iter().enumerate() {
                let pointer = result
                    .map_or(std::ptr::null_mut(), |tensor| ManuallyDrop::new(tensor).as_mut_ptr());
                // SAFETY: one place an input, and as many results; C++ owns what is written there.
                unsafe { call.results.add(place).write(pointer) };
            }
            return DONE;
        }
        Ok(Err(text)) => (FAILED, text),
        Err(payload) => {
            let text = if let Some(text) = payload.downcast_ref::<&str>() {
                (*text).to_owned()
            } else if let Some(text) = payload.downcast_ref::<String>() {
                text.clone()
            } else {
                "with something that is no text".to_owned()
            };
            forget_panicking(payload);
            (PANICKED, text)
        }
    };
    // SAFETY: the message belongs to the call; the text is copied.
    unsafe { softlabel_call_fail(call.message, text.as_ptr().cast(), text.len()) };
    status
}

/// Drops the closure and what it holds.
#[allow(unsafe_code)]
pub(super) unsafe extern "C" fn drop_closure(closure: *mut c_void) {
    // SAFETY: node.cpp calls this once, with the pointer that `Box::into_raw` gave.
    let closure = unsafe { Box::from_raw(closure.cast::<Closure>()) };
    forget_panicking(closure);
}

/// Drops a value whose drop may panic; there is nobody to tell then.
fn forget_panicking<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        std::mem::forget(payload);
    }
}

/// An array of C++, which is null when it is empty.
#[allow(unsafe_code)]
unsafe fn array<'a, T>(data: *const T, count: usize) -> &'a [T] {
    // SAFETY: the caller's; an empty slice asks nothing of the pointer that is replaced here.
    if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data, count) } }
}

#[allow(unsafe_code)]
unsafe fn taken(tensors: *const *mut C_tensor, count: usize) -> Vec<Option<Tensor>> {
    // SAFETY: the caller's.
    let tensors = unsafe { array(tensors, count) };
    let owned = |&pointer: &*mut C_tensor| {
        // SAFETY: a tensor that C++ gave away.
        (!pointer.is_null()).then(|| unsafe { Tensor::from_ptr(pointer) })
    };
    tensors.iter().map(owned).collect()
}
