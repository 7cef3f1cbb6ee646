#!/bin/sh
# Builds the executor and takes a function through its life: compile, initialise, snapshot, restore,
# call. Everything it stores goes to a temporary directory. Fails when an answer is wrong or a run
# that should restore does not.
set -eu
cd "$(dirname "$0")/.."
cargo build --release --locked --package executor-cli
executor=${CARGO_TARGET_DIR:-target}/release/executor
store=$(mktemp -d)
trap 'rm -rf "$store"' EXIT
export EXECUTOR_STORE="$store"

say() { printf '\n%s\n' "$*"; }
expect() {
  case $2 in
  *"$1"*) ;;
  *) printf 'expected %s in:\n%s\n' "$1" "$2" >&2; exit 1 ;;
  esac
}

say '$ executor snapshot create --name primes examples/primes.wat'
"$executor" snapshot create --name primes examples/primes.wat

say '$ executor run --invoke nth primes 283146     # the largest prime below four million'
answer=$("$executor" run --report "$store/report.json" --invoke nth primes 283146)
echo "$answer"
expect 3999971 "$answer"

say 'What that run did:'
cat "$store/report.json"
expect '"restored"' "$(cat "$store/report.json")"

say '$ executor run examples/hello.wat              # the first run compiles ...'
expect 'hello, world!' "$("$executor" run --report "$store/first.json" examples/hello.wat)"
expect '"compiled"' "$(cat "$store/first.json")"
echo 'hello, world!'

say '$ executor run examples/hello.wat              # ... and the second restores'
"$executor" run --report "$store/second.json" examples/hello.wat
expect '"restored"' "$(cat "$store/second.json")"

say '$ executor snapshot list'
"$executor" snapshot list
