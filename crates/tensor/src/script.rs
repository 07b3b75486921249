//! TorchScript modules that do not train.

use std::ffi::{CStr, c_char};

use tch::{CModule, Device, Tensor, no_grad_guard};

use crate::{Error, Result};

/// The longest message that comes back from C++.
const MESSAGE: usize = 2048;

/// A TorchScript module in evaluation mode, for sure.
///
/// A file that was saved in training mode is refused, in whichever way it trains:
/// - a module of it whose `training` is true, as `torch.jit.script(model)` without `model.eval()` leaves it;
/// - an operator of its `forward` whose flag for training is recorded as true, as `torch.jit.trace` of a model in
///   training mode leaves it. No later `eval()` reaches such a flag: dropout would go on dropping.
#[derive(Debug)]
pub struct ScriptModule {
    module: CModule,
    device: Device,
}

impl ScriptModule {
    /// Takes the content of a file that `torch.jit.save` wrote.
    ///
    /// # Errors
    /// [`Error::Training`] if it was saved in training mode, [`Error::Script`] if libtorch cannot read it.
    pub fn from_bytes(bytes: &[u8], device: Device) -> Result<Self> {
        if let Some(part) = training_part(bytes)? {
            return Err(Error::Training { part });
        }
        let module = CModule::load_data_on_device(&mut &*bytes, device)?;
        Ok(Self { module, device })
    }

    /// What its `forward` says, without gradients.
    ///
    /// # Errors
    /// libtorch's, where the input does not fit or the output is no tensor.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let _guard = no_grad_guard();
        Ok(self.module.forward_ts(&[input])?.f_detach()?)
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        self.device
    }
}

#[allow(unsafe_code)]
// SAFETY: the function of script.cpp, with its types.
unsafe extern "C" {
    fn softlabel_script_training(
        bytes: *const u8,
        length: usize,
        text: *mut c_char,
        capacity: usize,
    ) -> bool;
}

/// The first part of a TorchScript file that is in training mode, in words.
#[allow(unsafe_code)]
fn training_part(bytes: &[u8]) -> Result<Option<String>> {
    let mut text: [c_char; MESSAGE] = [0; MESSAGE];
    // SAFETY: both buffers live through the call and are as long as is said; C++ catches what it throws.
    let read = unsafe {
        softlabel_script_training(bytes.as_ptr(), bytes.len(), text.as_mut_ptr(), MESSAGE)
    };
    // SAFETY: the buffer ends in 0: it began with nothing else, and C++ ends what it writes.
    let said = unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned();
    if read {
        return Ok(Some(said).filter(|part| !part.is_empty()));
    }
    let problem = said.split("\nException raised from").next().unwrap_or_default();
    Err(Error::Script { problem: problem.trim_end().to_owned() })
}
