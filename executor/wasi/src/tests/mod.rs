//! The functions, called as a guest calls them, on a memory of its own.
//!
//! Layout of the fake guest's memory: results from [`OUT`], strings from [`PATH`] and [`PATH2`],
//! iovecs from [`IOVS`], data from [`DATA`].

mod files;
mod streams;
mod world;

use crate::{Errno, Input, Memory, Output, WasiCtx, WasiCtxBuilder};
use std::sync::{Arc, Mutex};

const OUT: u32 = 0;
const PATH: u32 = 1024;
const PATH2: u32 = 2048;
const IOVS: u32 = 4096;
const DATA: u32 = 8192;
const SIZE: usize = 65536;

/// An address from which nothing fits.
const END: u32 = SIZE as u32 - 1;

struct Guest {
    ctx: WasiCtx,
    bytes: Vec<u8>,
    stdout: Arc<Mutex<Vec<u8>>>,
}

impl Guest {
    fn new(build: impl FnOnce(&mut WasiCtxBuilder)) -> Self {
        let stdout = Arc::new(Mutex::new(Vec::new()));
        let mut builder = WasiCtxBuilder::new();
        builder.stdin(Input::Bytes(b"input".to_vec().into()));
        builder.stdout(Output::Capture(stdout.clone())).stderr(Output::Capture(stdout.clone()));
        build(&mut builder);
        Self { ctx: builder.build().unwrap(), bytes: vec![0; SIZE], stdout }
    }

    /// A guest with `dir` at `/`, as descriptor 3.
    fn with_dir(dir: &tempfile::TempDir) -> Self {
        Self::new(|builder| {
            builder.preopen(dir.path(), "/").unwrap();
        })
    }

    /// Calls a function with the context and the memory.
    fn call<R>(&mut self, function: impl FnOnce(&mut WasiCtx, &mut Memory<'_>) -> R) -> R {
        function(&mut self.ctx, &mut Memory::new(&mut self.bytes))
    }

    fn put(&mut self, at: u32, bytes: &[u8]) -> u32 {
        Memory::new(&mut self.bytes).write(at, bytes).unwrap();
        bytes.len() as u32
    }

    fn iovecs(&mut self, iovecs: &[(u32, u32)]) -> u32 {
        for (i, (at, len)) in (0..).zip(iovecs) {
            self.put(IOVS + i * 8, &at.to_le_bytes());
            self.put(IOVS + i * 8 + 4, &len.to_le_bytes());
        }
        iovecs.len() as u32
    }

    fn u32(&self, at: u32) -> u32 {
        u32::from_le_bytes(self.at(at, 4).try_into().unwrap())
    }

    fn u64(&self, at: u32) -> u64 {
        u64::from_le_bytes(self.at(at, 8).try_into().unwrap())
    }

    fn at(&self, at: u32, len: u32) -> &[u8] {
        &self.bytes[at as usize..][..len as usize]
    }

    fn open(&mut self, path: &str, oflags: u32, rights: u64, flags: u32) -> Result<u32, Errno> {
        let len = self.put(PATH, path.as_bytes());
        self.call(|ctx, memory| {
            crate::path::path_open(ctx, memory, 3, 1, PATH, len, oflags, rights, 0, flags, OUT)
        })?;
        Ok(self.u32(OUT))
    }

    fn write(&mut self, fd: u32, data: &[u8]) -> Result<u32, Errno> {
        let len = self.put(DATA, data);
        let count = self.iovecs(&[(DATA, len)]);
        self.call(|ctx, memory| crate::io::fd_write(ctx, memory, fd, IOVS, count, OUT))?;
        Ok(self.u32(OUT))
    }

    fn read(&mut self, fd: u32, len: u32) -> Result<Vec<u8>, Errno> {
        let count = self.iovecs(&[(DATA, len)]);
        self.call(|ctx, memory| crate::io::fd_read(ctx, memory, fd, IOVS, count, OUT))?;
        Ok(self.at(DATA, self.u32(OUT)).to_vec())
    }

    fn close(&mut self, fd: u32) -> Result<(), Errno> {
        self.call(|ctx, memory| crate::fd::fd_close(ctx, memory, fd))
    }
}
