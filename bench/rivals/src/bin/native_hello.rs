//! Prints a line, as the guest `hello` does, without any engine: what a process costs.

fn main() {
    println!("hello");
}
