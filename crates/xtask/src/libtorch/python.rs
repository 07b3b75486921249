//! The local Python: its torch, if it has one, and its pip, which does the downloading.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use crate::compiler::first_line;
use crate::trouble::Trouble;

/// Prints the folder of torch without importing it, which would take seconds.
const WHERE_IS_TORCH: &str = "\
import importlib.util
spec = importlib.util.find_spec('torch')
print(spec.submodule_search_locations[0] if spec and spec.origin else '')";

/// The interpreter that torch-sys would ask too.
pub(crate) fn interpreter() -> &'static str {
    if env::var_os("VIRTUAL_ENV").is_some() { "python" } else { "python3" }
}

/// The version line of Python, if it runs.
pub(crate) fn version() -> Option<String> {
    first_line(Command::new(interpreter()).arg("--version"))
}

/// The folder of Python's torch, if it has one.
pub(crate) fn torch_folder() -> Option<PathBuf> {
    first_line(Command::new(interpreter()).args(["-c", WHERE_IS_TORCH]))
        .filter(|line| !line.is_empty())
        .map(PathBuf::from)
}

/// The version line of pip.
///
/// # Errors
/// Says what to install if there is no Python or no pip.
pub(crate) fn pip() -> Result<String, Trouble> {
    let python = interpreter();
    if version().is_none() {
        return Err(Trouble::new(
            format!("{python} does not run; it downloads libtorch"),
            "install Python 3 with pip (Debian, Ubuntu: apt install python3-pip)",
        )
        .or("set LIBTORCH to a folder that holds libtorch"));
    }
    first_line(Command::new(python).args(["-m", "pip", "--version"])).ok_or_else(|| {
        Trouble::new(
            format!("{python} has no pip; it downloads libtorch"),
            format!(
                "install it (Debian, Ubuntu: apt install python3-pip; elsewhere: \
                 {python} -m ensurepip --user)"
            ),
        )
        .or("set LIBTORCH to a folder that holds libtorch")
    })
}
