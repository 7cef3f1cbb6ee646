//! `executor serve`, run as a user runs it: requests in; responses, logs and processes out.
#![forbid(unsafe_code)]

mod admin;
mod client;
mod guests;
mod hostile;
mod isolation;
mod life;
mod limits;
mod page;
mod pages;
mod protocols;
mod server;
mod streaming;
