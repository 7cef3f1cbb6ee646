;; Allocation: `run(n)` makes and counts 2^(20 - d) trees of each depth d = 4, 6, 8 ... 16, n times, beside one of depth 16 that
;; stays. The answer is how many nodes there were, modulo 2^32.
(module
  (type $node (struct (field $left (ref null $node)) (field $right (ref null $node))))
  (global $kept (mut (ref null $node)) (ref.null $node))

  (func $make (param $depth i32) (result (ref $node))
    (if (result (ref $node)) (i32.eqz (local.get $depth))
      (then (struct.new_default $node))
      (else
        (struct.new $node
          (call $make (i32.sub (local.get $depth) (i32.const 1)))
          (call $make (i32.sub (local.get $depth) (i32.const 1)))))))

  (func $count (param $node (ref null $node)) (result i32)
    (if (result i32) (ref.is_null (local.get $node))
      (then (i32.const 0))
      (else
        (i32.add (i32.const 1)
          (i32.add
            (call $count (struct.get $node $left (local.get $node)))
            (call $count (struct.get $node $right (local.get $node))))))))

  (func (export "run") (param $n i32) (result i32)
    (local $depth i32) (local $trees i32) (local $sum i32)
    (global.set $kept (call $make (i32.const 16)))
    (loop $round
      (local.set $depth (i32.const 4))
      (loop $deeper
        (local.set $trees (i32.shl (i32.const 1) (i32.sub (i32.const 20) (local.get $depth))))
        (loop $tree
          (local.set $sum (i32.add (local.get $sum) (call $count (call $make (local.get $depth)))))
          (local.set $trees (i32.sub (local.get $trees) (i32.const 1)))
          (br_if $tree (local.get $trees)))
        (local.set $depth (i32.add (local.get $depth) (i32.const 2)))
        (br_if $deeper (i32.le_u (local.get $depth) (i32.const 16))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $round (local.get $n)))
    (i32.add (local.get $sum) (call $count (global.get $kept)))))
