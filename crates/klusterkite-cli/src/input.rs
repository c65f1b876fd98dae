//! Files that a user names.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::exit::{Exit, Stop};

/// Reads a text of at most so many bytes, or fails with the code for local files.
pub(crate) fn read_text(path: &Path, bytes_max: u64) -> anyhow::Result<String> {
    let unusable = |reason: String| {
        let sentence = format!("cannot read `{}`: {reason}", path.display());
        anyhow::Error::from(Stop::new(Exit::Failed, sentence))
    };
    let file = File::open(path).map_err(|error| unusable(error.to_string()))?;
    let mut text = String::new();
    // The size that the system tells is none for a device or a pipe.
    let read = file.take(bytes_max + 1).read_to_string(&mut text);
    if read.map_err(|error| unusable(error.to_string()))? as u64 > bytes_max {
        return Err(unusable(format!("it is larger than {bytes_max} bytes")));
    }
    Ok(text)
}
