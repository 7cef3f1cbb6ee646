//! The threads that functions are validated and compiled on.
//!
//! Invariant: where no thread can be had (a limit on processes, or no room for a stack), the calling thread
//! does all the work. It becomes a pool of its own then, so that whoever works in parallel need not know.

use executor_code::CompileError;
use rayon::ThreadPoolBuilder;
use std::{error::Error, sync::OnceLock};

/// Makes sure that the calling thread can work in parallel, with others or alone. To be called before any
/// work in parallel is begun.
pub(crate) fn prepare() -> Result<(), CompileError> {
    /// Whether there is a pool of threads for the whole process.
    static POOL: OnceLock<bool> = OnceLock::new();
    // Somebody's pool, or its own from before.
    if rayon::current_thread_index().is_some() {
        return Ok(());
    }
    // An error without a source is that somebody else has made it.
    let made =
        || ThreadPoolBuilder::new().build_global().err().is_none_or(|e| e.source().is_none());
    if *POOL.get_or_init(made) {
        return Ok(());
    }
    alone()
}

/// Makes the calling thread a pool of one.
fn alone() -> Result<(), CompileError> {
    let pool = ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
    // It lasts as long as the thread.
    std::mem::forget(pool.map_err(|error| CompileError::Host(error.to_string()))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    #[test]
    fn a_thread_alone_does_all_the_work() {
        let worker = std::thread::spawn(|| {
            alone().expect("it needs nothing");
            prepare().expect("nothing is left to do");
            let own = std::thread::current().id();
            let work = |n: u64| (std::thread::current().id() == own).then_some(n);
            let sum: Option<u64> = (0..1000u64).into_par_iter().map(work).sum();
            let bridged: Option<u64> = (0..1000u64).par_bridge().map(work).sum();
            (sum, bridged)
        });
        assert_eq!(worker.join().expect("no panic"), (Some(499_500), Some(499_500)));
    }
}
