//! The compressed image: zstd, on all cores, the same bits on any number of them.
//!
//! zstd cuts its input into jobs whose size follows from the level alone, and each job sees the same bytes of the one before
//! it whoever compresses that: so only whether there are workers matters, and here there always are. (With none it writes
//! one stream without jobs, which is another.)

use anyhow::{Context, Result};
use std::io::Write;
use zstd::stream::write::Encoder;

/// zstd's own default: higher ones take minutes for a few percent of what are mostly compressed kernels and firmware.
const LEVEL: i32 = 3;

/// Compresses what is written to it into `out`.
pub struct Compressed<W: Write> {
    encoder: Encoder<'static, W>,
}

impl<W: Write> Compressed<W> {
    /// For `size` bytes to come, by `workers` threads, at least one.
    pub fn new(out: W, size: u64, workers: u32) -> Result<Compressed<W>> {
        let mut encoder = Encoder::new(out, LEVEL).context("starting zstd")?;
        encoder.multithread(workers.max(1)).context("starting zstd's threads")?;
        encoder.include_checksum(true).context("starting zstd")?;
        encoder.set_pledged_src_size(Some(size)).context("starting zstd")?;
        Ok(Compressed { encoder })
    }

    pub fn take(&mut self, bytes: &[u8]) -> Result<()> {
        self.encoder.write_all(bytes).context("compressing the image")
    }

    pub fn finish(self) -> Result<W> {
        self.encoder.finish().context("compressing the image")
    }
}
