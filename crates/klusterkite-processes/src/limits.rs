//! What processes may use together, and the files that say so to the kernel.

use std::fmt;

/// What processes may use together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u32>,
    /// Thousandths of one processor.
    pub cpu_thousandths: Option<u32>,
}

/// Part of the kernel that enforces one kind of limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Processor time.
    Cpu,
    /// Memory.
    Memory,
    /// Number of processes and threads.
    Pids,
}

/// Time in which a processor share is counted, in microseconds: the kernel's default.
const CPU_PERIOD: u64 = 100_000;

/// Smallest share of a period that kernels accept, in microseconds.
const CPU_QUOTA_MIN: u64 = 1000;

impl Controller {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::Pids];

    /// Returns the kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }

    /// Returns the files of the unified hierarchy and what is written into them; nothing without a limit.
    pub(crate) fn unified_files(self, limits: &Limits) -> Vec<(&'static str, String)> {
        match self {
            Self::Cpu => limits.quota().map_or(Vec::new(), |quota| {
                vec![("cpu.max", format!("{quota} {CPU_PERIOD}"))]
            }),
            Self::Memory => limits.memory_bytes.map_or(Vec::new(), |bytes| {
                // All of the group dies together: half a service is worse than none. Swap would only delay it.
                vec![
                    ("memory.max", bytes.to_string()),
                    ("memory.swap.max", "0".to_owned()),
                    ("memory.oom.group", "1".to_owned()),
                ]
            }),
            Self::Pids => limits.pids(),
        }
    }

    /// Returns the same for a hierarchy of this controller alone.
    pub(crate) fn single_files(self, limits: &Limits) -> Vec<(&'static str, String)> {
        match self {
            Self::Cpu => limits.quota().map_or(Vec::new(), |quota| {
                vec![
                    ("cpu.cfs_period_us", CPU_PERIOD.to_string()),
                    ("cpu.cfs_quota_us", quota.to_string()),
                ]
            }),
            Self::Memory => limits.memory_bytes.map_or(Vec::new(), |bytes| {
                vec![("memory.limit_in_bytes", bytes.to_string())]
            }),
            Self::Pids => limits.pids(),
        }
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Limits {
    /// Tells whether a controller has something to enforce.
    pub fn uses(&self, controller: Controller) -> bool {
        match controller {
            Controller::Cpu => self.cpu_thousandths.is_some(),
            Controller::Memory => self.memory_bytes.is_some(),
            Controller::Pids => self.processes.is_some(),
        }
    }

    fn quota(&self) -> Option<u64> {
        let thousandths = u64::from(self.cpu_thousandths?);
        Some((thousandths * CPU_PERIOD / 1000).max(CPU_QUOTA_MIN))
    }

    fn pids(&self) -> Vec<(&'static str, String)> {
        let limit = self
            .processes
            .map(|processes| ("pids.max", processes.to_string()));
        limit.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_as_each_kind_of_hierarchy_wants_them() {
        let limits = Limits {
            memory_bytes: Some(64 << 20),
            processes: Some(20),
            cpu_thousandths: Some(250),
        };
        let written = |controller: Controller, single: bool| {
            let files = if single {
                controller.single_files(&limits)
            } else {
                controller.unified_files(&limits)
            };
            let files = files.iter().map(|(name, text)| format!("{name} = {text}"));
            files.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(written(Controller::Cpu, false), "cpu.max = 25000 100000");
        assert_eq!(
            written(Controller::Cpu, true),
            "cpu.cfs_period_us = 100000, cpu.cfs_quota_us = 25000"
        );
        assert_eq!(
            written(Controller::Memory, false),
            "memory.max = 67108864, memory.swap.max = 0, memory.oom.group = 1"
        );
        assert_eq!(
            written(Controller::Memory, true),
            "memory.limit_in_bytes = 67108864"
        );
        assert_eq!(written(Controller::Pids, false), "pids.max = 20");
        assert_eq!(written(Controller::Pids, true), "pids.max = 20");
        for controller in Controller::ALL {
            assert!(limits.uses(controller));
            assert!(!Limits::default().uses(controller));
            assert!(controller.unified_files(&Limits::default()).is_empty());
            assert!(controller.single_files(&Limits::default()).is_empty());
        }
    }
}
