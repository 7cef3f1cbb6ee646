//! Tests of the whole; see the folders beside this one. Nothing is exported.
#![forbid(unsafe_code)]
