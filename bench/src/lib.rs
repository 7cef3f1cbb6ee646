//! The modules that the cold-start benchmarks run, and each of them made ready to be measured. Compiling,
//! instantiating and restoring are measured one by one, so this works on the crates behind the library.
//!
//! Invariant: nothing is measured before its answer was found right: a [`Prepared`] has run its
//! guest both fresh and restored, and compared.
#![forbid(unsafe_code)]

mod generated;
mod guest;
mod prepared;
mod process;
mod suspended;

pub use generated::{Shape, function};
pub use guest::{Answer, Call, Guest, input};
pub use prepared::Prepared;
pub use process::{Executable, Finished, answers, finish};
pub use suspended::Suspended;
