//! Arguments and environment.
//!
//! Invariant: both belong to the run, not to the state; a restored guest that looks at them again
//! sees those of the run that restored it. What it saw before is remembered.

use crate::{Environment, Errno, Memory, WasiCtx};

/// Strings as the guest takes them: each ended by a zero byte, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Strings {
    bytes: Vec<u8>,
    starts: Vec<u32>,
    /// Whether the guest looked at these.
    looked: bool,
    /// What it saw in an earlier run, if it looked then.
    earlier: Option<Vec<String>>,
}

impl Strings {
    /// Lays out strings; `None` when one has a zero byte in it, or all are too long for a guest.
    pub(crate) fn new<'a>(
        strings: impl Iterator<Item = &'a str>,
        earlier: Option<Vec<String>>,
    ) -> Option<Self> {
        let mut all = Self { earlier, ..Self::default() };
        for string in strings {
            all.starts.push(u32::try_from(all.bytes.len()).ok()?);
            if string.contains('\0') {
                return None;
            }
            all.bytes.extend_from_slice(string.as_bytes());
            all.bytes.push(0);
        }
        u32::try_from(all.bytes.len()).ok()?;
        Some(all)
    }

    /// The variables, which are laid out already.
    pub(crate) fn of(env: Environment, earlier: Option<Vec<String>>) -> Self {
        let (text, starts) = env.into_parts();
        Self { bytes: text.into_bytes(), starts, looked: false, earlier }
    }

    /// What the guest saw when it last looked, if it ever did.
    pub(crate) fn seen(&self) -> Option<Vec<String>> {
        if !self.looked {
            return self.earlier.clone();
        }
        let ends = self.starts.iter().skip(1).copied().chain([self.bytes.len() as u32]);
        let string = |(start, end): (u32, u32)| {
            String::from_utf8_lossy(&self.bytes[start as usize..end as usize - 1]).into_owned()
        };
        Some(self.starts.iter().copied().zip(ends).map(string).collect())
    }

    fn sizes(&mut self, memory: &mut Memory<'_>, count: u32, size: u32) -> Result<(), Errno> {
        self.looked = true;
        memory.write(count, &(self.starts.len() as u32))?;
        memory.write(size, &(self.bytes.len() as u32))
    }

    fn get(&mut self, memory: &mut Memory<'_>, pointers: u32, buffer: u32) -> Result<(), Errno> {
        self.looked = true;
        memory.write(buffer, self.bytes.as_slice())?;
        for (i, start) in (0u32..).zip(&self.starts) {
            let at = i.checked_mul(4).and_then(|i| pointers.checked_add(i)).ok_or(Errno::FAULT)?;
            let string = buffer.checked_add(*start).ok_or(Errno::FAULT)?;
            memory.write(at, &string)?;
        }
        Ok(())
    }
}

/// `args_sizes_get`.
pub(crate) fn args_sizes_get(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    count: u32,
    size: u32,
) -> Result<(), Errno> {
    ctx.observed.args = true;
    ctx.args.sizes(memory, count, size)
}

/// `args_get`.
pub(crate) fn args_get(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    pointers: u32,
    buffer: u32,
) -> Result<(), Errno> {
    ctx.observed.args = true;
    ctx.args.get(memory, pointers, buffer)
}

/// `environ_sizes_get`.
pub(crate) fn environ_sizes_get(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    count: u32,
    size: u32,
) -> Result<(), Errno> {
    ctx.observed.env = true;
    ctx.env.sizes(memory, count, size)
}

/// `environ_get`.
pub(crate) fn environ_get(
    ctx: &mut WasiCtx,
    memory: &mut Memory<'_>,
    pointers: u32,
    buffer: u32,
) -> Result<(), Errno> {
    ctx.observed.env = true;
    ctx.env.get(memory, pointers, buffer)
}
