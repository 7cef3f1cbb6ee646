;; Drives CPython through the exports of its module, which is preloaded under the name "python": `turn`
;; runs Python source that lies in the interpreter's memory, and the interpreter stays as it is for
;; the next turn.
;;
;; `prepare` is called when the function is created, `run` in every run. Each takes its source from
;; standard input.
(module
  (import "python" "memory" (memory 1))
  (import "python" "host_alloc" (func $alloc (param i32) (result i32)))
  (import "python" "turn" (func $turn (param $at i32) (param $len i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param $fd i32) (param $iovs i32) (param $count i32) (param $read i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  ;; WASI's functions use the memory that their caller exports.
  (export "memory" (memory 0))

  (global $limit i32 (i32.const 0x100000)) ;; the longest source, 1 MiB

  ;; Runs all of standard input, and returns what `turn` does: 0 when the source ran to its end.
  (func $run_input (result i32)
    (local $iov i32) (local $at i32) (local $len i32)
    (local.set $iov (call $alloc (i32.const 12))) ;; where to read to, how much at most, how much was read
    (local.set $at (call $alloc (global.get $limit)))
    (if (i32.eqz (i32.and (local.get $iov) (local.get $at))) (then unreachable))
    (loop $more
      (i32.store (local.get $iov) (i32.add (local.get $at) (local.get $len)))
      (i32.store offset=4 (local.get $iov) (i32.sub (global.get $limit) (local.get $len)))
      (if (call $fd_read (i32.const 0) (local.get $iov) (i32.const 1)
            (i32.add (local.get $iov) (i32.const 8)))
        (then unreachable))
      (local.set $len (i32.add (local.get $len) (i32.load offset=8 (local.get $iov))))
      (br_if $more (i32.load offset=8 (local.get $iov))))
    (call $turn (local.get $at) (local.get $len)))

  ;; A trap keeps a function from being created of a source that fails.
  (func (export "prepare") (if (call $run_input) (then unreachable)))

  (func (export "run") (call $exit (call $run_input))))
