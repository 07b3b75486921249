//! knowledge distillation with smoothed and temperature-scaled teachers.
