//! The functions of WASI preview 1, each called as a guest calls it: through the linker and machine
//! code, on the memory of an instance; and what becomes of a guest's WASI state.

mod allocations;
mod args;
mod clocks;
mod descriptors;
mod directories;
mod entropy;
mod escape;
mod files;
mod guest;
mod guests;
mod hostile;
mod links;
mod native;
mod observed;
mod polling;
mod preview0;
mod read_only;
mod rights;
mod sockets;
mod state;
mod streams;
mod times;
