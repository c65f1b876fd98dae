//! What tells, without reading it, that a file is the one that was looked at before.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

const NANOSECONDS: i64 = 1_000_000_000;

/// Size, inode and the times of the last change of content and of anything, in nanoseconds since
/// 1970. Whoever writes to a file, or puts another one in its place, changes one of them; a disk
/// that rots does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp(u64, u64, i64, i64);

impl Stamp {
    pub(crate) fn of(file: &Metadata) -> Self {
        let time = |seconds: i64, nanoseconds: i64| {
            seconds
                .saturating_mul(NANOSECONDS)
                .saturating_add(nanoseconds)
        };
        Self(
            file.size(),
            file.ino(),
            time(file.mtime(), file.mtime_nsec()),
            time(file.ctime(), file.ctime_nsec()),
        )
    }
}
