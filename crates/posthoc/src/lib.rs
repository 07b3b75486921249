//! calibration maps fitted on held-out predictions: temperature and Platt scaling.
