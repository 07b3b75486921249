//! The numbers of an array: their type, and how their bytes become ours.

use std::fmt;

use half::{bf16, f16};
use safetensors::Dtype;

/// The type of the elements of an array in a file.
///
/// ```
/// use softlabel_data::predictions::ElementType;
/// assert_eq!((ElementType::BF16.size(), ElementType::BF16.to_string()), (2, "bf16".to_owned()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ElementType {
    /// One byte, 0 or 1.
    Bool,
    /// Signed, 8 bits.
    I8,
    /// Signed, 16 bits.
    I16,
    /// Signed, 32 bits.
    I32,
    /// Signed, 64 bits.
    I64,
    /// Unsigned, 8 bits.
    U8,
    /// Unsigned, 16 bits.
    U16,
    /// Unsigned, 32 bits.
    U32,
    /// Unsigned, 64 bits.
    U64,
    /// Half precision.
    F16,
    /// The upper half of single precision.
    BF16,
    /// Single precision.
    F32,
    /// Double precision.
    F64,
}

impl ElementType {
    /// How many bytes an element has.
    pub fn size(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 | Self::F16 | Self::BF16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// Whether elements are floating-point numbers.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32 | Self::F64)
    }

    /// The type of NumPy's character and size, if it is one of ours.
    pub(crate) fn of_numpy(kind: npyz::TypeChar, size: u64) -> Option<Self> {
        use npyz::TypeChar::{Bool, Float, Int, Uint};
        Some(match (kind, size) {
            (Bool, 1) => Self::Bool,
            (Int, 1) => Self::I8,
            (Int, 2) => Self::I16,
            (Int, 4) => Self::I32,
            (Int, 8) => Self::I64,
            (Uint, 1) => Self::U8,
            (Uint, 2) => Self::U16,
            (Uint, 4) => Self::U32,
            (Uint, 8) => Self::U64,
            (Float, 2) => Self::F16,
            (Float, 4) => Self::F32,
            (Float, 8) => Self::F64,
            _ => return None,
        })
    }

    /// The type of a tensor, if it is one of ours.
    pub(crate) fn of_tensor(dtype: Dtype) -> Option<Self> {
        Some(match dtype {
            Dtype::BOOL => Self::Bool,
            Dtype::I8 => Self::I8,
            Dtype::I16 => Self::I16,
            Dtype::I32 => Self::I32,
            Dtype::I64 => Self::I64,
            Dtype::U8 => Self::U8,
            Dtype::U16 => Self::U16,
            Dtype::U32 => Self::U32,
            Dtype::U64 => Self::U64,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::BF16,
            Dtype::F32 => Self::F32,
            Dtype::F64 => Self::F64,
            _ => return None,
        })
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Bool => "bool",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
        })
    }
}

/// Numbers of an array, in the type of ours that holds all of them exactly.
pub(crate) enum Numbers {
    /// Of `f16`, `bf16` and `f32`.
    F32(Vec<f32>),
    F64(Vec<f64>),
    /// Of all integers but `u64`, and of `bool`.
    I64(Vec<i64>),
    U64(Vec<u64>),
}

impl Numbers {
    /// Reads little-endian elements; what is left over is no whole element.
    pub(crate) fn from_bytes(element: ElementType, bytes: &[u8]) -> Self {
        /// The elements of one type, each turned into another.
        macro_rules! each {
            ($variant:ident, $from:ty, $map:expr) => {
                Self::$variant(
                    bytes
                        .as_chunks()
                        .0
                        .iter()
                        .map(|&chunk| $map(<$from>::from_le_bytes(chunk)))
                        .collect(),
                )
            };
        }
        match element {
            ElementType::Bool => each!(I64, u8, |value: u8| i64::from(value != 0)),
            ElementType::I8 => each!(I64, i8, i64::from),
            ElementType::I16 => each!(I64, i16, i64::from),
            ElementType::I32 => each!(I64, i32, i64::from),
            ElementType::I64 => each!(I64, i64, |value| value),
            ElementType::U8 => each!(I64, u8, i64::from),
            ElementType::U16 => each!(I64, u16, i64::from),
            ElementType::U32 => each!(I64, u32, i64::from),
            ElementType::U64 => each!(U64, u64, |value| value),
            ElementType::F16 => each!(F32, f16, f16::to_f32),
            ElementType::BF16 => each!(F32, bf16, bf16::to_f32),
            ElementType::F32 => each!(F32, f32, |value| value),
            ElementType::F64 => each!(F64, f64, |value| value),
        }
    }

    /// The same numbers as `f64`; integers beyond 2⁵³ are rounded.
    pub(crate) fn into_f64(self) -> Vec<f64> {
        match self {
            Self::F64(values) => values,
            Self::F32(values) => values.into_iter().map(f64::from).collect(),
            Self::I64(values) => values.into_iter().map(|value| value as f64).collect(),
            Self::U64(values) => values.into_iter().map(|value| value as f64).collect(),
        }
    }
}

/// Turns big-endian elements into little-endian ones, or back.
pub(crate) fn swap_bytes(element: ElementType, bytes: &mut [u8]) {
    for element in bytes.chunks_exact_mut(element.size()) {
        element.reverse();
    }
}
