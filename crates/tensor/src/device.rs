//! Which device to compute on, as a person writes it.

use std::str::FromStr;
use std::sync::OnceLock;

use libloading::Library;
use tch::{Cuda, Device};

use crate::{Error, Result};

/// `auto`, `cpu` or `cuda:N`. What is asked for by name is there or it is an error; nothing falls back silently.
///
/// ```
/// use softlabel_tensor::DeviceChoice;
/// let cpu: DeviceChoice = "cpu".parse()?;
/// assert_eq!(cpu.resolve()?, tch::Device::Cpu);
/// let error = "gpu".parse::<DeviceChoice>().unwrap_err();
/// assert_eq!(error.to_string(), "device gpu was asked for, but it is none of auto, cpu, cuda:N");
/// # Ok::<(), softlabel_tensor::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The first CUDA device if there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device of this number.
    Cuda(usize),
}

impl DeviceChoice {
    /// The device, if it is there.
    ///
    /// # Errors
    /// [`Error::NoDevice`] if a CUDA device is asked for that libtorch does not see.
    pub fn resolve(self) -> Result<Device> {
        let count = || {
            load_cuda();
            // libtorch itself prints to stderr when it counts devices without a driver.
            if Cuda::is_available() { Cuda::device_count() } else { 0 }
        };
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto => Ok(if count() > 0 { Device::Cuda(0) } else { Device::Cpu }),
            Self::Cuda(number) => match count() {
                0 => Err(no_device(self, "libtorch sees no CUDA device (is it a CPU build?)")),
                devices if usize::try_from(devices).is_ok_and(|devices| number < devices) => {
                    Ok(Device::Cuda(number))
                }
                devices => {
                    Err(no_device(self, format!("there are cuda:0 to cuda:{}", devices - 1)))
                }
            },
        }
    }
}

/// Loads the CUDA half of libtorch, once, if it is there.
///
/// A program that calls libtorch through its CPU library names no symbol of the CUDA library, so linkers leave it out
/// and libtorch then sees no device. It registers itself when it is loaded.
#[allow(unsafe_code)]
fn load_cuda() {
    static LOADED: OnceLock<Option<Library>> = OnceLock::new();
    LOADED.get_or_init(|| {
        if Cuda::is_available() {
            return None;
        }
        // SAFETY: the library is libtorch's own other half, built to be loaded beside the one that is linked; its
        // initializers register kernels and nothing else. It is never unloaded.
        unsafe { Library::new(libloading::library_filename("torch_cuda")) }.ok()
    });
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            other => other
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| no_device(other, "it is none of auto, cpu, cuda:N")),
        }
    }
}

impl std::fmt::Display for DeviceChoice {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(number) => write!(formatter, "cuda:{number}"),
        }
    }
}

fn no_device(asked: impl std::fmt::Display, problem: impl Into<String>) -> Error {
    Error::NoDevice { asked: format!("{asked}"), problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for name in ["auto", "cpu", "cuda:0", "cuda:3"] {
            assert_eq!(name.parse::<DeviceChoice>().unwrap().to_string(), name);
        }
        for bad in ["", "CPU", "cuda:", "cuda:-1", "cuda:x", "mps"] {
            assert!(bad.parse::<DeviceChoice>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cuda_device_that_is_not_there_is_an_error() {
        let number = usize::try_from(Cuda::device_count()).unwrap();
        let error = DeviceChoice::Cuda(number).resolve().unwrap_err();
        assert!(error.to_string().starts_with(&format!("device cuda:{number} was asked for")));
    }
}
