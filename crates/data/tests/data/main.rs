//! Tests of softlabel-data through its public API, by theme.

#[cfg(test)]
mod cifar10;
#[cfg(test)]
mod dataset;
#[cfg(test)]
mod digits;
#[cfg(test)]
mod files;
#[cfg(test)]
mod idx;
#[cfg(test)]
mod logit_cache;
#[cfg(test)]
mod maps;
#[cfg(test)]
mod order;
#[cfg(test)]
mod prediction_files;
#[cfg(test)]
mod predictions;
#[cfg(test)]
mod real;
#[cfg(test)]
mod source;
#[cfg(test)]
mod split;
