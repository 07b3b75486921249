//! libtorch's own threads, for work that is not an operator of its.
//!
//! Between two operators libtorch's threads spin, and wait for the next.
//! Whoever has threads besides them waits for a processor first; on these, work starts within a microsecond or two.
//!
//! ```
//! use std::sync::atomic::{AtomicUsize, Ordering};
//!
//! let (next, sum) = (AtomicUsize::new(1), AtomicUsize::new(0));
//! softlabel_tensor::threads::run(4, &|| {
//!     loop {
//!         let number = next.fetch_add(1, Ordering::Relaxed);
//!         if number > 100 {
//!             break;
//!         }
//!         sum.fetch_add(number, Ordering::Relaxed);
//!     }
//! });
//! assert_eq!(sum.into_inner(), 5050);
//! ```

use std::any::Any;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;

/// Calls a function `count` times, at the same time on as many of libtorch's intra-op threads as there are, the calling
/// one among them, and returns when all calls have.
///
/// On a thread of libtorch's, and where `tch::set_num_threads` was told 1, the calls come one after the other.
///
/// # Panics
/// If a call of the function did, with what it panicked with, after the others.
#[allow(unsafe_code)]
pub fn run(count: usize, work: &(dyn Fn() + Sync)) {
    if count <= 1 {
        return work();
    }
    let context = Context { work, panic: Mutex::new(None) };
    let pointer = std::ptr::from_ref(&context).cast_mut().cast();
    // SAFETY: the context outlives the call, and its parts may be used by several threads.
    let is_done = unsafe { softlabel_on_threads(count as i64, call, pointer) };
    let panic = context.panic.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    match panic {
        Some(panic) => resume_unwind(panic),
        // Without memory for what it takes.
        None if !is_done => (0..count).for_each(|_| work()),
        None => {}
    }
}

struct Context<'a> {
    work: &'a (dyn Fn() + Sync),
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// What does not unwind into C++.
#[allow(unsafe_code)]
unsafe extern "C" fn call(context: *mut c_void) {
    // SAFETY: made from one by `run`.
    let context = unsafe { &*context.cast::<Context<'_>>() };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(context.work))
        && let Ok(mut first) = context.panic.lock()
    {
        first.get_or_insert(panic);
    }
}

#[allow(unsafe_code)]
// SAFETY: the function of threads.cpp, with its types.
unsafe extern "C" {
    fn softlabel_on_threads(
        count: i64,
        work: unsafe extern "C" fn(*mut c_void),
        context: *mut c_void,
    ) -> bool;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    #[test]
    fn calls_are_at_the_same_time() {
        if tch::get_num_threads() < 2 {
            return eprintln!("skipped: libtorch has one thread");
        }
        // Each waits for the other.
        let (here, start) = (AtomicUsize::new(0), Instant::now());
        super::run(2, &|| {
            here.fetch_add(1, Ordering::Relaxed);
            while here.load(Ordering::Relaxed) < 2 && start.elapsed() < Duration::from_secs(60) {
                std::thread::yield_now();
            }
            assert_eq!(here.load(Ordering::Relaxed), 2, "the other call did not come meanwhile");
        });
    }

    #[test]
    fn panics_arrive() {
        let panic = std::panic::catch_unwind(|| super::run(3, &|| panic!("as it was")));
        let message = *panic.unwrap_err().downcast::<&str>().unwrap();
        assert_eq!(message, "as it was");
    }

    #[test]
    fn calls_within_calls_end() {
        let calls = AtomicUsize::new(0);
        super::run(2, &|| {
            super::run(2, &|| {
                calls.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(calls.into_inner(), 4);
    }
}
