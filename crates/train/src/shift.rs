//! Images moved by a few pixels.

use rand::{Rng, RngExt};
use tch::Tensor;

use crate::Result;

/// Moves each image of `[n, channels, height, width]` by −pixels to pixels in either direction, black where nothing was.
pub(crate) fn shift(
    images: &Tensor,
    pixels: usize,
    black: f64,
    random: &mut impl Rng,
) -> Result<Tensor> {
    let pixels = pixels as i64;
    let &[_, _, height, width] = images.size().as_slice() else {
        return Ok(images.shallow_clone());
    };
    let padded = images.f_constant_pad_nd([pixels; 4])?;
    // Black is not 0 to a network.
    let inside = images.f_ones_like()?.f_constant_pad_nd([pixels; 4])?;
    let padded = padded.f_masked_fill(&inside.f_eq(0.0)?, black)?;
    let moved = padded.f_unbind(0)?.into_iter().map(|image| {
        let mut draw = || random.random_range(0..=2 * pixels);
        let (down, right) = (draw(), draw());
        Ok(image.f_narrow(1, down, height)?.f_narrow(2, right, width)?)
    });
    Ok(Tensor::f_stack(&moved.collect::<Result<Vec<_>>>()?, 0)?)
}

#[cfg(test)]
mod tests {
    use softlabel_data::seed;
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn each_image_moves_by_itself_and_no_further_than_it_may() {
        let images = Tensor::zeros([300, 1, 9, 9], (Kind::Float, Device::Cpu));
        let _ = images.narrow(2, 4, 1).narrow(3, 4, 1).fill_(1.0);
        let mut random = seed::stream(3, "shift");
        let moved = shift(&images, 2, -0.5, &mut random).unwrap();
        assert_eq!(moved.size(), images.size());
        let mut seen = std::collections::HashSet::new();
        for image in 0..300 {
            let place = i64::try_from(moved.get(image).argmax(None, false)).unwrap();
            seen.insert((place / 9 - 4, place % 9 - 4));
        }
        assert_eq!(seen.len(), 25, "{seen:?}");
        assert!(seen.iter().all(|(down, right)| down.abs() <= 2 && right.abs() <= 2));
        // What came in from outside is black.
        assert_eq!(f64::try_from(moved.min()).unwrap(), -0.5);
        assert_eq!(f64::try_from(moved.narrow(2, 2, 5).narrow(3, 2, 5).min()).unwrap(), 0.0);
    }
}
