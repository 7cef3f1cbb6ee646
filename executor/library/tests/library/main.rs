//! The library as an embedder uses it.
#![forbid(unsafe_code)]

mod archived_code;
mod archives;
mod calls;
mod corpus;
mod deploy;
mod functions;
mod given;
mod hosts;
mod runtimes;
mod stops;
mod stores;
