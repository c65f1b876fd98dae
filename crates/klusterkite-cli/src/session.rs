//! The file that keeps the session between commands.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use klusterkite_client::api::Session;

/// Nobody but the owner reads a session.
const MODE: u32 = 0o600;

/// Returns where the session is kept unless something else is said.
pub(crate) fn default_path() -> anyhow::Result<PathBuf> {
    let directory = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    let home = || std::env::home_dir().map(|home| home.join(".config"));
    let directory = directory
        .or_else(home)
        .context("there is no home directory; name a file with `--session`")?;
    Ok(directory.join("klusterkite").join("session.json"))
}

/// Reads the session; `None` when there is none, or what is there is none of ours.
pub(crate) fn read(path: &Path) -> anyhow::Result<Option<Session>> {
    match fs::read(path) {
        // A file that cannot be understood is as good as none: logging in replaces it.
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", path.display())),
    }
}

/// Writes the session, whole or not at all.
pub(crate) fn write(path: &Path, session: &Session) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(directory)?;
    let mut file = tempfile::Builder::new()
        .prefix(".session-")
        .permissions(fs::Permissions::from_mode(MODE))
        .tempfile_in(directory)?;
    file.write_all(&serde_json::to_vec(session)?)?;
    file.persist(path)?;
    Ok(())
}

/// Removes the session; none is fine.
pub(crate) fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", path.display()))
        }
        _ => Ok(()),
    }
}
