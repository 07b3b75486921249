use serde::{Deserialize, Serialize};

/// Where the class axis of logits or dense targets lies. For `[N, K]` both are the same.
///
/// In serialized form `"last"` or `"second"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassAxis {
    /// `[.., K]`: `[N, K]` for classification, `[N, T, K]` for sequences. The classes of a position lie side by side.
    #[default]
    Last,
    /// `[N, K, d1, ..]`: PyTorch's layout, `[N, K, H, W]` for dense prediction. A plane for each class.
    Second,
}
