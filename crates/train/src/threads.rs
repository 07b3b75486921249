//! How many threads libtorch computes with while experiments run.

use std::sync::{Mutex, PoisonError};

/// libtorch's own number of threads, which belongs to the process, for as long as runs need another.
pub(crate) struct LibtorchThreads;

/// How many runs there are, and the number of threads before the first of them.
static RUNS: Mutex<(usize, i32)> = Mutex::new((0, 0));

impl LibtorchThreads {
    pub(crate) fn set(threads: usize) -> Self {
        let mut runs = RUNS.lock().unwrap_or_else(PoisonError::into_inner);
        if runs.0 == 0 {
            runs.1 = tch::get_num_threads();
        }
        runs.0 += 1;
        tch::set_num_threads(i32::try_from(threads).unwrap_or(1));
        Self
    }
}

impl Drop for LibtorchThreads {
    /// As it was, once no run is left: one that ends must not change the numbers of one that goes on.
    fn drop(&mut self) {
        let mut runs = RUNS.lock().unwrap_or_else(PoisonError::into_inner);
        runs.0 -= 1;
        if runs.0 == 0 {
            tch::set_num_threads(runs.1);
        }
    }
}
