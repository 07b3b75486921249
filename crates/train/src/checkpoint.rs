//! The weights of a trained network beside the cache of what it says, so that going on does not train it again.

use std::fs;
use std::path::{Path, PathBuf};

use softlabel_data::{Error as DataError, Fingerprint};
use tch::{Device, Tensor, no_grad_guard};

use crate::model::Network;
use crate::recipe::Recipe;
use crate::{Error, Result};

/// Where the weights of an arm lie, trained by a recipe on some data: another recipe, other data or another arm are
/// another file.
pub(crate) fn path(folder: &Path, recipe: &Recipe, data: &str, arm: &str) -> Result<PathBuf> {
    let made_from = format!("{data}\n{arm}\n{}", recipe.to_toml()?);
    let made_from = Fingerprint::of(made_from.as_bytes()).to_string();
    let short: String = made_from.chars().take(16).collect();
    Ok(folder.join(format!("teacher-{short}.safetensors")))
}

/// Writes the weights: under another name first, renamed once they are complete.
pub(crate) fn write(path: &Path, network: &Network) -> Result<()> {
    let cannot = |action| move |source| DataError::Io { action, path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(cannot("create"))?;
    }
    let weights = network.parameters().into_iter().enumerate();
    let weights = weights.map(|(index, tensor)| {
        Ok((format!("{index:04}"), tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?))
    });
    let unfinished = path.with_extension("unfinished");
    Tensor::write_safetensors(&weights.collect::<Result<Vec<_>>>()?, &unfinished)?;
    fs::rename(&unfinished, path).map_err(cannot("rename"))?;
    Ok(())
}

/// Reads the weights into a network, if they were written; whether they were.
///
/// # Errors
/// A file that cannot be read, or that is of another network.
pub(crate) fn read(path: &Path, network: &Network) -> Result<bool> {
    if !path.is_file() {
        return Ok(false);
    }
    let mut weights = Tensor::read_safetensors(path)?;
    weights.sort_by(|a, b| a.0.cmp(&b.0));
    let parameters = network.parameters();
    let shapes = |tensors: &mut dyn Iterator<Item = &Tensor>| -> Vec<Vec<i64>> {
        tensors.map(Tensor::size).collect()
    };
    let (expected, found) =
        (shapes(&mut parameters.iter()), shapes(&mut weights.iter().map(|(_, tensor)| tensor)));
    if expected != found {
        return Err(Error::Weights { path: path.to_owned(), expected, found });
    }
    let _guard = no_grad_guard();
    for (mut parameter, (_, weight)) in parameters.into_iter().zip(weights) {
        parameter.f_copy_(&weight)?;
    }
    Ok(true)
}
