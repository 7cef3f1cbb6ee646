//! `executor serve`, run as a user runs it: requests in; responses, logs and processes out.
#![forbid(unsafe_code)]

mod admin;
mod browser;
mod client;
mod guests;
mod hostile;
mod isolation;
mod life;
mod limits;
mod memory;
mod output;
mod page;
mod pages;
mod pages_in_a_browser;
mod protocols;
mod server;
mod spans;
mod streaming;
mod swept;
