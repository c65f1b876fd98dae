//! The container directory: what the launcher keeps between its runs.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use klusterkite_install::file;
use klusterkite_wire::{NodeId, Secret};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::console;
use crate::cycle::{Next, State};
use crate::random;

/// Mode of files that nobody else may read.
pub(crate) const SECRET_MODE: u32 = 0o600;

/// Mode of the other files of the launcher.
pub(crate) const FILE_MODE: u32 = 0o644;

/// Content of the lock's file after a launcher that has left nothing.
const ENDED: &[u8] = b"ended\n";

/// Largest `state.json` and `next.json`.
const STATE_BYTES_MAX: u64 = 16 << 20;

/// Largest `node-id` and `node-secret`.
const IDENTITY_BYTES_MAX: u64 = 1024;

/// The container directory, held by a lock as long as this lives.
pub(crate) struct Directory {
    root: PathBuf,
    lock: File,
    /// Whether the last launcher here has ended everything that it had started.
    was_ended: bool,
    /// What was stored last as the state: most of what happens does not change it.
    stored_state: Option<State>,
}

/// Who this launcher is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) node_id: NodeId,
    pub(crate) node_secret: Secret,
}

impl Directory {
    /// Makes the directory if it is missing and takes its lock.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        file::create_directory(path)?;
        let root = path
            .canonicalize()
            .with_context(|| format!("cannot open `{}`", path.display()))?;
        let (lock, was_ended) = lock(&root)?;
        let directory = Self {
            root,
            lock,
            was_ended,
            stored_state: None,
        };
        for path in [directory.data(), directory.releases()] {
            file::create_directory(&path)?;
        }
        Ok(directory)
    }

    /// Reads who this launcher is; at the first start it becomes somebody.
    pub(crate) fn identity(&self) -> Result<Identity> {
        let (id_path, secret_path) = (self.root.join("node-id"), self.root.join("node-secret"));
        let secret = read_line(&secret_path)?.filter(|secret| !secret.is_empty());
        if let (Some(id), Some(secret)) = (read_line(&id_path)?, secret) {
            let node_id = id.parse().with_context(|| {
                let path = id_path.display();
                format!("`{path}` holds no node id (remove it to become a new node)")
            })?;
            return Ok(Identity {
                node_id,
                node_secret: Secret::new(secret),
            });
        }
        let identity = Identity {
            node_id: NodeId::from_random_bytes(random::bytes()?),
            node_secret: Secret::from_random_bytes(random::bytes()?),
        };
        // The id comes last: a half-made identity is made anew.
        file::remove_durably(&id_path)?;
        file::write_durably(
            &secret_path,
            identity.node_secret.reveal().as_bytes(),
            SECRET_MODE,
        )?;
        file::write_durably(&id_path, identity.node_id.as_str().as_bytes(), SECRET_MODE)?;
        console::info(format_args!("this is a new node: {}", identity.node_id));
        Ok(identity)
    }

    pub(crate) fn load_state(&self) -> Result<State> {
        Ok(load(&self.state_path())?.unwrap_or_default())
    }

    pub(crate) fn load_next(&self) -> Result<Option<Next>> {
        load(&self.next_path())
    }

    pub(crate) fn store_state(&mut self, state: &State) -> Result<()> {
        if self.stored_state.as_ref() == Some(state) {
            return Ok(());
        }
        self.stored_state = None;
        store(&self.state_path(), state)?;
        self.stored_state = Some(state.clone());
        Ok(())
    }

    pub(crate) fn store_next(&self, next: Option<&Next>) -> Result<()> {
        match next {
            Some(next) => store(&self.next_path(), next),
            None => Ok(file::remove_durably(&self.next_path())?),
        }
    }

    /// Tells whether the last launcher here has ended everything that it had started.
    pub(crate) fn was_ended(&self) -> bool {
        self.was_ended
    }

    /// Notes that nothing is left of what this launcher has started, for the next one.
    pub(crate) fn note_end(&self) {
        // If it cannot be noted, the next one looks for left-overs and finds none.
        let _ = self
            .lock
            .set_len(0)
            .and_then(|()| self.lock.write_all_at(ENDED, 0));
    }

    /// The directory that the node's processes may keep things in.
    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// The content store.
    pub(crate) fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    pub(crate) fn releases(&self) -> PathBuf {
        self.root.join("releases")
    }

    /// The link to the release that runs.
    pub(crate) fn current(&self) -> PathBuf {
        self.root.join("current")
    }

    fn state_path(&self) -> PathBuf {
        self.root.join("state.json")
    }

    fn next_path(&self) -> PathBuf {
        self.root.join("next.json")
    }
}

/// Takes the lock; tells whether the last holder has noted that it left nothing.
fn lock(root: &Path) -> Result<(File, bool)> {
    let path = root.join("lock");
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE);
    let mut lock = options
        .open(&path)
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    let locked = flock(&lock, FlockOperation::NonBlockingLockExclusive);
    let mut holder = Vec::new();
    let read = (&lock).take(IDENTITY_BYTES_MAX).read_to_end(&mut holder);
    match locked {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let holder = String::from_utf8_lossy(&holder);
            let holder = holder.trim();
            bail!(
                "another launcher (process {holder}) runs in `{}`",
                root.display()
            );
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot lock `{}`", path.display()));
        }
    }
    // From now on something may be left if this launcher is killed.
    lock.set_len(0)
        .and_then(|()| lock.seek(SeekFrom::Start(0)))
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    // The content only helps people; the lock is what counts.
    let _ = writeln!(lock, "{}", std::process::id());
    Ok((lock, read.is_ok() && holder == ENDED))
}

fn read_line(path: &Path) -> Result<Option<String>> {
    let Some(content) = file::read_bounded(path, IDENTITY_BYTES_MAX)? else {
        return Ok(None);
    };
    let text =
        String::from_utf8(content).with_context(|| format!("`{}` is not text", path.display()))?;
    Ok(Some(text.trim().to_owned()))
}

/// Reads a file of state. One that cannot be understood is set aside: the launcher can go on
/// without it, and somebody may want to look at it.
fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let Some(content) = file::read_bounded(path, STATE_BYTES_MAX)? else {
        return Ok(None);
    };
    match serde_json::from_slice(&content) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            let aside = path.with_extension("bad.json");
            let (path_text, aside_text) = (path.display(), aside.display());
            console::error(format_args!(
                "`{path_text}` cannot be understood and is moved to `{aside_text}`: {error}"
            ));
            std::fs::rename(path, &aside).with_context(|| format!("cannot move `{path_text}`"))?;
            Ok(None)
        }
    }
}

fn store(path: &Path, value: &impl Serialize) -> Result<()> {
    let content = serde_json::to_vec_pretty(value)
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    // It may hold the text of settings, and those may hold secrets.
    Ok(file::write_durably(path, &content, SECRET_MODE)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn an_identity_is_made_once_and_kept() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        let first = directory.identity().unwrap();
        let second = directory.identity().unwrap();
        assert_eq!(first.node_id, second.node_id);
        assert_eq!(first.node_secret, second.node_secret);
        for name in ["node-id", "node-secret"] {
            let metadata = std::fs::metadata(temporary.path().join(name)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        }
        // A crash between the two files leaves nobody.
        std::fs::remove_file(temporary.path().join("node-id")).unwrap();
        assert_ne!(directory.identity().unwrap().node_id, first.node_id);
        std::fs::write(temporary.path().join("node-id"), "garbage").unwrap();
        let error = format!("{:#}", directory.identity().unwrap_err());
        assert!(
            error.contains("node-id") && error.contains("remove it"),
            "{error}"
        );
    }

    #[test]
    fn a_directory_in_use_is_refused_with_the_process_that_uses_it() {
        let temporary = tempfile::tempdir().unwrap();
        let held = Directory::open(temporary.path()).unwrap();
        let error = Directory::open(temporary.path()).err().unwrap().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(held);
        Directory::open(temporary.path()).unwrap();
    }

    #[test]
    fn a_launcher_that_did_not_say_that_it_left_nothing_may_have_left_something() {
        let temporary = tempfile::tempdir().unwrap();
        let first = Directory::open(temporary.path()).unwrap();
        assert!(!first.was_ended(), "nobody has said so");
        drop(first);
        let second = Directory::open(temporary.path()).unwrap();
        assert!(!second.was_ended());
        second.note_end();
        drop(second);
        assert!(Directory::open(temporary.path()).unwrap().was_ended());
    }

    #[test]
    fn state_that_is_stored_already_is_not_written_again() {
        let temporary = tempfile::tempdir().unwrap();
        let mut directory = Directory::open(temporary.path()).unwrap();
        let mut state = State::default();
        let path = temporary.path().join("state.json");
        directory.store_state(&state).unwrap();
        std::fs::remove_file(&path).unwrap();
        directory.store_state(&state).unwrap();
        assert!(!path.exists());
        state.backoff_milliseconds = 1;
        directory.store_state(&state).unwrap();
        assert_eq!(directory.load_state().unwrap(), state);
    }

    #[test]
    fn state_that_cannot_be_understood_is_set_aside() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::open(temporary.path()).unwrap();
        std::fs::write(temporary.path().join("state.json"), "{\"incarnation\": -1").unwrap();
        assert_eq!(directory.load_state().unwrap(), State::default());
        assert!(temporary.path().join("state.bad.json").exists());
        assert!(!temporary.path().join("state.json").exists());
    }
}
