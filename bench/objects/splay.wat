;; Mutation of what lives long: a splay tree of 8,000 nodes, each with a payload of arrays, in which `run(n)` n times inserts a
;; key and takes out the greatest one that is less. The answer is a checksum of the keys and of the payloads.
;; (Sleator and Tarjan, "Self-adjusting binary search trees", 1985.)
(module
  (type $numbers (array (mut i32)))
  (type $text (array (mut i8)))
  (type $payload (sub (struct)))
  (type $leaf (sub final $payload (struct (field $numbers (ref $numbers)) (field $text (ref $text)))))
  (type $pair (sub final $payload (struct (field $first (ref $payload)) (field $second (ref $payload)))))
  (type $node
    (struct
      (field $key i32)
      (field $left (mut (ref null $node)))
      (field $right (mut (ref null $node)))
      (field $payload (ref $payload))))

  (global $root (mut (ref null $node)) (ref.null $node))
  (global $random (mut i32) (i32.const 49734321))

  (func $next_key (result i32)
    (global.set $random
      (i32.add (i32.mul (global.get $random) (i32.const 1664525)) (i32.const 1013904223)))
    (i32.shr_u (global.get $random) (i32.const 1)))

  (func $make_payload (param $depth i32) (param $key i32) (result (ref $payload))
    (if (result (ref $payload)) (i32.eqz (local.get $depth))
      (then
        (struct.new $leaf
          (array.new $numbers (local.get $key) (i32.const 10))
          (array.new $text (local.get $key) (i32.const 24))))
      (else
        (struct.new $pair
          (call $make_payload (i32.sub (local.get $depth) (i32.const 1)) (local.get $key))
          (call $make_payload (i32.sub (local.get $depth) (i32.const 1)) (local.get $key))))))

  (func $sum_payload (param $payload (ref $payload)) (result i32)
    (local $leaf (ref $leaf)) (local $pair (ref $pair))
    (block $is_pair (result (ref $pair))
      (local.set $leaf (ref.cast (ref $leaf) (br_on_cast $is_pair (ref $payload) (ref $pair) (local.get $payload))))
      (return
        (i32.add
          (array.get $numbers (struct.get $leaf $numbers (local.get $leaf)) (i32.const 3))
          (array.get_u $text (struct.get $leaf $text (local.get $leaf)) (i32.const 7)))))
    (local.set $pair)
    (i32.add
      (call $sum_payload (struct.get $pair $first (local.get $pair)))
      (call $sum_payload (struct.get $pair $second (local.get $pair)))))

  ;; Brings the node with the key, or a neighbour of it, to the root.
  (func $splay (param $key i32)
    (local $header (ref $node)) (local $left (ref $node)) (local $right (ref $node))
    (local $at (ref $node)) (local $next (ref $node))
    (if (ref.is_null (global.get $root)) (then (return)))
    (local.set $header
      (struct.new $node (i32.const 0) (ref.null $node) (ref.null $node)
        (struct.get $node $payload (global.get $root))))
    (local.set $left (local.get $header))
    (local.set $right (local.get $header))
    (local.set $at (ref.as_non_null (global.get $root)))
    (block $done
      (loop $down
        (if (i32.lt_u (local.get $key) (struct.get $node $key (local.get $at)))
          (then
            (local.set $next (br_on_null $done (struct.get $node $left (local.get $at))))
            (if (i32.lt_u (local.get $key) (struct.get $node $key (local.get $next)))
              (then
                ;; Rotate right.
                (struct.set $node $left (local.get $at) (struct.get $node $right (local.get $next)))
                (struct.set $node $right (local.get $next) (local.get $at))
                (local.set $at (local.get $next))
                (local.set $next (br_on_null $done (struct.get $node $left (local.get $at))))))
            ;; Link right.
            (struct.set $node $left (local.get $right) (local.get $at))
            (local.set $right (local.get $at))
            (local.set $at (local.get $next))
            (br $down)))
        (if (i32.gt_u (local.get $key) (struct.get $node $key (local.get $at)))
          (then
            (local.set $next (br_on_null $done (struct.get $node $right (local.get $at))))
            (if (i32.gt_u (local.get $key) (struct.get $node $key (local.get $next)))
              (then
                ;; Rotate left.
                (struct.set $node $right (local.get $at) (struct.get $node $left (local.get $next)))
                (struct.set $node $left (local.get $next) (local.get $at))
                (local.set $at (local.get $next))
                (local.set $next (br_on_null $done (struct.get $node $right (local.get $at))))))
            ;; Link left.
            (struct.set $node $right (local.get $left) (local.get $at))
            (local.set $left (local.get $at))
            (local.set $at (local.get $next))
            (br $down)))))
    (struct.set $node $right (local.get $left) (struct.get $node $left (local.get $at)))
    (struct.set $node $left (local.get $right) (struct.get $node $right (local.get $at)))
    (struct.set $node $left (local.get $at) (struct.get $node $right (local.get $header)))
    (struct.set $node $right (local.get $at) (struct.get $node $left (local.get $header)))
    (global.set $root (local.get $at)))

  ;; Inserts a key that is not there, and says whether it was not.
  (func $insert (param $key i32) (result i32)
    (local $root (ref $node)) (local $new (ref $node)) (local $payload (ref $payload))
    (local.set $payload (call $make_payload (i32.const 2) (local.get $key)))
    (call $splay (local.get $key))
    (local.set $new
      (struct.new $node (local.get $key) (ref.null $node) (ref.null $node) (local.get $payload)))
    (block $empty
      (local.set $root (br_on_null $empty (global.get $root)))
      (if (i32.eq (struct.get $node $key (local.get $root)) (local.get $key))
        (then (return (i32.const 0))))
      (if (i32.gt_u (local.get $key) (struct.get $node $key (local.get $root)))
        (then
          (struct.set $node $left (local.get $new) (local.get $root))
          (struct.set $node $right (local.get $new) (struct.get $node $right (local.get $root)))
          (struct.set $node $right (local.get $root) (ref.null $node)))
        (else
          (struct.set $node $right (local.get $new) (local.get $root))
          (struct.set $node $left (local.get $new) (struct.get $node $left (local.get $root)))
          (struct.set $node $left (local.get $root) (ref.null $node)))))
    (global.set $root (local.get $new))
    (i32.const 1))

  ;; Takes out the greatest node whose key is less, or else this one; returns a checksum of it.
  (func $remove_below (param $key i32) (result i32)
    (local $root (ref $node)) (local $removed (ref $node))
    (call $splay (local.get $key))
    (local.set $root (ref.as_non_null (global.get $root)))
    (block $none
      (local.set $removed (br_on_null $none (struct.get $node $left (local.get $root))))
      (block $found
        (loop $right
          (local.set $removed (br_on_null $found (struct.get $node $right (local.get $removed))))
          (br $right)))
      (local.set $key (struct.get $node $key (local.get $removed))))
    (call $splay (local.get $key))
    (local.set $removed (ref.as_non_null (global.get $root)))
    (if (ref.is_null (struct.get $node $left (local.get $removed)))
      (then (global.set $root (struct.get $node $right (local.get $removed))))
      (else
        (global.set $root (struct.get $node $left (local.get $removed)))
        (call $splay (local.get $key))
        (struct.set $node $right (global.get $root) (struct.get $node $right (local.get $removed)))))
    (i32.xor
      (struct.get $node $key (local.get $removed))
      (call $sum_payload (struct.get $node $payload (local.get $removed)))))

  (func $insert_new (result i32)
    (local $key i32)
    (loop $again
      (local.set $key (call $next_key))
      (br_if $again (i32.eqz (call $insert (local.get $key)))))
    (local.get $key))

  (func (export "run") (param $n i32) (result i32)
    (local $i i32) (local $sum i32)
    (loop $fill
      (drop (call $insert_new))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $fill (i32.lt_u (local.get $i) (i32.const 8000))))
    (loop $change
      (local.set $sum
        (i32.add (i32.rotl (local.get $sum) (i32.const 5)) (call $remove_below (call $insert_new))))
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $change (local.get $n)))
    (local.get $sum)))
