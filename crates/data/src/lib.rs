//! datasets and predictions: the embedded digits, IDX and CIFAR-10 files, splits.
