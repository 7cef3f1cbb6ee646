//! Calling an export that takes bytes and returns bytes.
//!
//! Invariant: what the guest says of where its result lies is checked before it is read. The memory for the
//! argument comes from the guest's own allocator; nothing is given back to it, as the instance ends with the call.
//!
//! The signatures that are known, by their types:
//!
//! | parameters | results | how the result is returned |
//! |---|---|---|
//! | `ptr: i32, len: i32` | `i64` | the pointer in the upper half, the length in the lower |
//! | `ptr: i32, len: i32` | `i32, i32` | pointer, length |
//! | `ret: i32, ptr: i32, len: i32` | none | pointer and length at address `ret`: a structure returned in C |
//!
//! The allocator is the export `alloc`, or else `malloc`, of a length, or else `cabi_realloc`.

use executor::{Error, Function, Instance, Val, ValType};

/// The exports that allocate `len` bytes, by name.
const ALLOCATORS: [&str; 2] = ["alloc", "malloc"];

/// Why such a call has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    #[error(transparent)]
    Call(#[from] Error),
    #[error(
        "`{name}` has another type than the protocol knows: (ptr: i32, len: i32) -> i64, (ptr: i32, len: i32) -> \
         (i32, i32), or (ret: i32, ptr: i32, len: i32)"
    )]
    Signature { name: String },
    #[error(
        "the module has no allocator: it exports neither `alloc` nor `malloc` nor `cabi_realloc`"
    )]
    NoAllocator,
    #[error("its allocator has no {0} bytes")]
    NoMemory(usize),
    #[error("its result of {len} bytes at {at:#x} is outside its memory")]
    Result { at: u32, len: u32 },
}

/// Gives the export bytes, and returns its.
pub(super) fn call(
    function: &Function,
    instance: &mut Instance,
    name: &str,
    bytes: &[u8],
) -> Result<Vec<u8>, ExportError> {
    use ValType::{I32, I64};
    let ty = function.function_type(name)?;
    let returns = match (&ty.params[..], &ty.results[..]) {
        ([I32, I32], [I64]) => Returns::Packed,
        ([I32, I32], [I32, I32]) => Returns::Pair,
        ([I32, I32, I32], []) => Returns::InMemory,
        _ => return Err(ExportError::Signature { name: name.to_owned() }),
    };
    let ret = match returns {
        Returns::InMemory => Some(allocate(function, instance, 8)?),
        _ => None,
    };
    let at = allocate(function, instance, bytes.len())?;
    instance.write(u64::from(at), bytes)?;
    let len = i32_of(bytes.len() as u32);
    let mut params = vec![i32_of(at), len];
    params.splice(0..0, ret.map(i32_of));
    let results = instance.call(name, &params)?;
    let (at, len) = match (&results[..], ret) {
        ([Val::I64(packed)], _) => {
            let packed = packed.cast_unsigned();
            ((packed >> 32) as u32, packed as u32)
        }
        ([Val::I32(at), Val::I32(len)], _) => (at.cast_unsigned(), len.cast_unsigned()),
        (_, Some(ret)) => {
            let pair = instance.read(u64::from(ret), 8)?;
            let word = |at: usize| {
                u32::from_le_bytes([pair[at], pair[at + 1], pair[at + 2], pair[at + 3]])
            };
            (word(0), word(4))
        }
        _ => return Err(ExportError::Signature { name: name.to_owned() }),
    };
    match instance.read(u64::from(at), u64::from(len)) {
        Ok(bytes) => Ok(bytes.to_vec()),
        Err(Error::OutOfBounds(_)) => Err(ExportError::Result { at, len }),
        Err(error) => Err(error.into()),
    }
}

/// How the place of the result is returned.
#[derive(Debug, Clone, Copy)]
enum Returns {
    Packed,
    Pair,
    InMemory,
}

/// Memory of the guest's.
fn allocate(function: &Function, instance: &mut Instance, len: usize) -> Result<u32, ExportError> {
    // An allocator may return null for nothing.
    let wanted = u32::try_from(len.max(1)).map_err(|_| ExportError::NoMemory(len))?;
    let has = |name: &str| function.function_type(name).is_ok();
    let simple = ALLOCATORS.into_iter().find(|name| has(name));
    let results = match simple {
        Some(name) => instance.call(name, &[i32_of(wanted)])?,
        None if has("cabi_realloc") => {
            let params = [Val::I32(0), Val::I32(0), Val::I32(8), i32_of(wanted)];
            instance.call("cabi_realloc", &params)?
        }
        None => return Err(ExportError::NoAllocator),
    };
    match results[..] {
        [Val::I32(at)] if at != 0 => Ok(at.cast_unsigned()),
        _ => Err(ExportError::NoMemory(len)),
    }
}

fn i32_of(n: u32) -> Val {
    Val::I32(n.cast_signed())
}
