//! Labelled maps as rows: every pixel with a label is one, in the order of images and pixels.
//!
//! A network makes features `[b, C, h, w]` of a batch of images, of which the pixels that count are taken as rows
//! `[rows, C]`. From there on a pixel is a sample like any other: its label, its loss, what a teacher says of it. What is
//! ignored is in no sum and gets no gradient.

use softlabel_core::Labels;
use softlabel_data::Subset;
use softlabel_targets::{ClassAxis, LabelMap, Svls};
use tch::{Device, Tensor};

use crate::Result;

/// What a network sees.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Images<'a> {
    /// `[b, channels, height, width]`.
    pub(crate) tensor: &'a Tensor,
    /// Of maps: which of their pixels count. If nothing is said, all do.
    pub(crate) counted: Option<&'a Counted>,
}

impl<'a> From<&'a Tensor> for Images<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self { tensor, counted: None }
    }
}

/// The pixels of some images that count, in the order of their labels.
#[derive(Debug)]
pub(crate) struct Counted {
    /// Images, height, width.
    shape: [usize; 3],
    /// Positions among all pixels of the images.
    pixels: Vec<usize>,
    /// The same as a tensor, unless all count.
    index: Option<Tensor>,
}

impl Counted {
    /// Of the images at some positions; `None` if it is images that have labels.
    pub(crate) fn of(
        subset: &Subset,
        positions: impl ExactSizeIterator<Item = usize>,
        device: Device,
    ) -> Result<Option<Self>> {
        let Some(labelled) = subset.labelled() else { return Ok(None) };
        let image = subset.dataset().shape();
        let (shape, area) =
            ([positions.len(), image.height, image.width], image.height * image.width);
        let of_image = |(index, position)| {
            labelled.pixels(position).iter().map(move |&pixel| index * area + pixel as usize)
        };
        let pixels: Vec<usize> = positions.enumerate().flat_map(of_image).collect();
        let all = pixels.len() == shape.iter().product::<usize>();
        let index = if all { None } else { Some(index_tensor(&pixels, device)?) };
        Ok(Some(Self { shape, pixels, index }))
    }

    /// Of something of all pixels, `[pixels, D]`, that of those that count.
    pub(crate) fn rows(&self, all: &Tensor) -> Result<Tensor> {
        match &self.index {
            None => Ok(all.shallow_clone()),
            Some(index) => Ok(all.f_index_select(0, index)?),
        }
    }

    /// The targets `[rows, K]` of labels that are softer where classes meet.
    pub(crate) fn spatially_smoothed(&self, svls: Svls, labels: &Labels) -> Result<Tensor> {
        const IGNORED: i64 = -1;
        let mut map = vec![IGNORED; self.shape.iter().product()];
        for (&pixel, &label) in self.pixels.iter().zip(labels.as_slice()) {
            map[pixel] = label.into();
        }
        let classes = labels.classes();
        let map = LabelMap::new(&map, &self.shape, classes, Some(IGNORED))?;
        let targets = svls.encode(&map, ClassAxis::Last)?.values;
        let rows = Tensor::f_from_slice(&targets)?.f_view([-1, classes as i64])?;
        match &self.index {
            None => Ok(rows),
            Some(index) => {
                let index = index.f_to_device(Device::Cpu)?;
                Ok(rows.f_index_select(0, &index)?)
            }
        }
    }
}

/// Positions as libtorch takes them.
pub(crate) fn index_tensor(positions: &[usize], device: Device) -> Result<Tensor> {
    let positions: Vec<i64> = positions.iter().map(|&position| position as i64).collect();
    Ok(Tensor::f_from_slice(&positions)?.f_to_device(device)?)
}
