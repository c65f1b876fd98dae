//! What a process has used, as the kernel tells.

use std::fs;

use anyhow::{Context, Result, ensure};

/// A process that runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process(pub(crate) u32);

impl Process {
    /// The processor time that it has used, in seconds, with threads that have ended; children aside.
    pub(crate) fn cpu_seconds(self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        // The name stands in brackets and may hold anything.
        let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
        // utime and stime are fields 14 and 15 of proc(5); the first two are cut off here.
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: Vec<u64> = ticks.map(str::parse).collect::<Result<_, _>>()?;
        ensure!(ticks.len() == 2, "no times in stat");
        // The kernel tells them in hundredths of a second whatever its own clock is.
        Ok(ticks.iter().sum::<u64>() as f64 / 100.0)
    }

    /// The memory that it has now, in MiB.
    pub(crate) fn resident_mib(self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line
            .context("no VmRSS")?
            .trim()
            .trim_end_matches("kB")
            .trim();
        Ok(kib.parse::<f64>()? / 1024.0)
    }
}
