//! What an executor needs to know, out of the merged settings of its service directory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use klusterkite_wire::MigratorName;

/// Longest wait for an answer that moves nothing (`KlusterKite.NodeManager.Executor.CallTimeout`): reading a point is a query.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest move (`KlusterKite.NodeManager.Executor.MigrateTimeout`): rebuilding a large table takes minutes; an hour says that it hangs.
pub const MIGRATE_TIMEOUT: Duration = Duration::from_hours(1);

/// Longest wait for another executor's move (`KlusterKite.NodeManager.Executor.LockTimeout`).
pub const LOCK_TIMEOUT: Duration = Duration::from_mins(1);

/// Most bytes that a migrator may write to stdout during one call (`KlusterKite.NodeManager.Executor.OutputLimit`): half a
/// million progress messages.
pub const OUTPUT_BYTES_MAX: u64 = 64 << 20;

/// Name of the lock file unless `KlusterKite.NodeManager.Executor.LockFile` says otherwise; relative names are below
/// `KLUSTERKITE_DATA`, or below the service directory without it.
pub const LOCK_FILE: &str = "executor.lock";

/// What an executor runs and what it allows.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The template's migrators in the order of the setting, and how each is started; `None`: no manifest has it.
    pub migrators: Vec<(MigratorName, Option<Launch>)>,
    /// Longest wait for an answer that moves nothing.
    pub call_timeout: Duration,
    /// Longest move.
    pub migrate_timeout: Duration,
    /// Longest wait for another executor's move.
    pub lock_timeout: Duration,
    /// Most bytes on stdout during one call.
    pub output_bytes_max: u64,
    /// The lock file; the journal is beside it.
    pub lock_file: PathBuf,
}

/// How a migrator is started.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The service directory, its working directory.
    pub directory: PathBuf,
    /// The program.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables beside the executor's own.
    pub environment: BTreeMap<String, OsString>,
}
