//! the checked passage between tch tensors and the softlabel vocabulary.
