//! recipes, models and the training loop behind `softlabel run`.
