;; A function worth snapshotting: `_initialize` sieves the primes below four million, which takes
;; tens of milliseconds; `count` and `nth` answer from the finished table.
(module $primes
  ;; One byte per number: 1 is composite. 4,000,000 bytes are 62 pages. The list of primes follows.
  (memory (export "memory") 80)
  (global $limit i32 (i32.const 4000000))
  (global $list i32 (i32.const 4063232))
  (global $found (mut i32) (i32.const 0))

  (func (export "_initialize") (local $n i32) (local $m i32)
    (local.set $n (i32.const 2))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $n) (global.get $limit)))
        (if (i32.eqz (i32.load8_u (local.get $n)))
          (then
            (call $remember (local.get $n))
            ;; Cross out its multiples from its square on, if that is below the limit.
            (if (i32.lt_u (local.get $n) (i32.const 2000))
              (then
                (local.set $m (i32.mul (local.get $n) (local.get $n)))
                (block $crossed
                  (loop $multiple
                    (br_if $crossed (i32.ge_u (local.get $m) (global.get $limit)))
                    (i32.store8 (local.get $m) (i32.const 1))
                    (local.set $m (i32.add (local.get $m) (local.get $n)))
                    (br $multiple)))))))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br $next))))

  ;; Appends a prime to the list.
  (func $remember (param $n i32)
    (i32.store
      (i32.add (global.get $list) (i32.shl (global.get $found) (i32.const 2)))
      (local.get $n))
    (global.set $found (i32.add (global.get $found) (i32.const 1))))

  ;; How many primes there are below the limit.
  (func (export "count") (result i32) (global.get $found))

  ;; The prime of a position, counted from 1; traps when the list is shorter.
  (func (export "nth") (param $n i32) (result i32)
    (if (i32.gt_u (i32.sub (local.get $n) (i32.const 1)) (i32.sub (global.get $found) (i32.const 1)))
      (then unreachable))
    (i32.load
      (i32.add (global.get $list)
        (i32.shl (i32.sub (local.get $n) (i32.const 1)) (i32.const 2))))))
