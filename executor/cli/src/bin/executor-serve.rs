//! The program behind `executor serve`.
#![forbid(unsafe_code)]

fn main() {
    std::process::exit(executor_serve::main(std::env::args_os()));
}
