//! Where a site is published.
//!
//! ```text
//! DIRECTORY/current           → points/0002_new, what a web server serves
//! DIRECTORY/points/0002_new/  a whole version
//! DIRECTORY/digests/0002_new  what it had in it when it was published
//! DIRECTORY/fence, lock       who may switch
//! ```
//!
//! A version is copied under another name, synced and renamed; then the link is replaced by a rename. At no moment there
//! is half a site or none, whoever is killed.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail, ensure};
use klusterkite_wire::Point;
use rustix::fs::{FlockOperation, flock};

use crate::tree;

const CURRENT: &str = "current";
const POINTS: &str = "points";
const DIGESTS: &str = "digests";
const FENCE: &str = "fence";
const LOCK: &str = "lock";

/// Begin of the names of what is being made or removed.
const PARTIAL: &str = ".partial-";

/// Longest wait for another migrator of the same directory.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// A site that nobody else publishes.
pub(crate) struct Site {
    directory: PathBuf,
    // Held until this is dropped.
    _lock: File,
}

/// Reads which point is published; nothing published: `None`.
pub(crate) fn published(directory: &Path) -> anyhow::Result<Option<Point>> {
    let link = directory.join(CURRENT);
    let shown = link.display();
    let target = match fs::read_link(&link) {
        Ok(target) => target,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) if error.kind() == ErrorKind::InvalidInput => {
            bail!("`{shown}` is no link: somebody else has put a directory or a file there")
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read the link `{shown}`")),
    };
    let name = target.file_name().and_then(|name| name.to_str());
    let is_ours = target.parent() == Some(Path::new(POINTS)) && link.is_dir();
    let name = name.filter(|_| is_ours);
    let name = name.with_context(|| format!("`{shown}` leads to no version in `{POINTS}`"))?;
    Ok(Some(name.parse()?))
}

impl Site {
    /// Takes a site for a move, unless the order is older than one that was carried out.
    pub(crate) fn lock(directory: &Path, fence: u64) -> anyhow::Result<Self> {
        for name in [POINTS, DIGESTS] {
            let path = directory.join(name);
            fs::create_dir_all(&path)
                .with_context(|| format!("cannot make `{}`", path.display()))?;
        }
        let site = Self {
            directory: directory.to_owned(),
            _lock: lock(&directory.join(LOCK))?,
        };
        let file = directory.join(FENCE);
        let last = match fs::read_to_string(&file) {
            Ok(text) => {
                let number = text.trim().parse::<u64>();
                number.with_context(|| format!("`{}` is no number", file.display()))?
            }
            Err(error) if error.kind() == ErrorKind::NotFound => 0,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read `{}`", file.display()));
            }
        };
        ensure!(
            fence >= last,
            "the order is old: its fence is {fence}, the site was moved with {last}"
        );
        if fence > last {
            write(&file, &fence.to_string())?;
        }
        site.remove_leftovers()?;
        Ok(site)
    }

    /// Makes sure that the version is there, whole and as it always was; `content` is what the package has of it.
    pub(crate) fn prepare(&self, point: &Point, content: Option<&Path>) -> anyhow::Result<()> {
        let version = self.version(point);
        let recorded = self.recorded(point)?;
        let Some(content) = content else {
            let recorded = recorded.filter(|_| version.is_dir());
            let recorded = recorded.with_context(|| {
                format!(
                    "this package does not bring `{point}`, and it is not kept in `{}`",
                    version.display()
                )
            })?;
            ensure!(
                tree::digest(&version)? == recorded,
                "`{}` was changed since it was published, and this package does not bring it",
                version.display()
            );
            return Ok(());
        };
        let digest = tree::digest(content)?;
        let is_other = recorded
            .as_ref()
            .is_some_and(|recorded| *recorded != digest);
        ensure!(
            !is_other || !version.is_dir(),
            "`{point}` was published with other files: give what is new a point of its own"
        );
        if version.is_dir() {
            if tree::digest(&version)? == digest {
                return Ok(());
            }
            // Somebody has changed it, and the package knows how it was.
            self.remove(point)?;
        }
        let partial = self.partial(point);
        let copied = tree::copy(content, &partial)?;
        ensure!(
            copied == digest,
            "`{}` changes while it is copied",
            content.display()
        );
        write(&self.directory.join(DIGESTS).join(point.as_str()), &digest)?;
        rename(&partial, &version)?;
        tree::sync_directory(&self.directory.join(POINTS))
    }

    /// Publishes a version that is prepared, at once.
    pub(crate) fn switch(&self, point: &Point) -> anyhow::Result<()> {
        let link = self.directory.join(format!("{PARTIAL}{CURRENT}"));
        let target = Path::new(POINTS).join(point.as_str());
        symlink(&target, &link).with_context(|| format!("cannot link `{}`", link.display()))?;
        rename(&link, &self.directory.join(CURRENT))?;
        tree::sync_directory(&self.directory)
    }

    /// Removes versions that are neither published nor held, but for the `keep` newest; returns their points.
    pub(crate) fn collect_garbage(
        &self,
        held: &[Point],
        keep: usize,
    ) -> anyhow::Result<Vec<Point>> {
        let published = published(&self.directory)?;
        let mut others: Vec<(SystemTime, Point)> = Vec::new();
        for name in self.names(POINTS)? {
            let Ok(point) = name.parse::<Point>() else {
                continue;
            };
            if Some(&point) == published.as_ref() || held.contains(&point) {
                continue;
            }
            // When its record was written is when it was published first.
            let record = self.directory.join(DIGESTS).join(point.as_str());
            let written = fs::metadata(&record).and_then(|record| record.modified());
            others.push((written.unwrap_or(SystemTime::UNIX_EPOCH), point));
        }
        others.sort();
        let surplus = others.len().saturating_sub(keep);
        let surplus: Vec<Point> = others
            .into_iter()
            .take(surplus)
            .map(|(_, point)| point)
            .collect();
        for point in &surplus {
            self.remove(point)?;
        }
        Ok(surplus)
    }

    /// Removes a version; what is left of it after a crash has another name.
    fn remove(&self, point: &Point) -> anyhow::Result<()> {
        let partial = self.partial(point);
        rename(&self.version(point), &partial)?;
        remove(&partial)
    }

    fn remove_leftovers(&self) -> anyhow::Result<()> {
        for place in ["", POINTS] {
            for name in self.names(place)? {
                if name.starts_with(PARTIAL) {
                    remove(&self.directory.join(place).join(name))?;
                }
            }
        }
        Ok(())
    }

    fn names(&self, place: &str) -> anyhow::Result<Vec<String>> {
        let path = self.directory.join(place);
        let unreadable = || format!("cannot read `{}`", path.display());
        let entries = fs::read_dir(&path).with_context(unreadable)?;
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.with_context(unreadable)?.file_name();
            names.extend(name.into_string().ok());
        }
        Ok(names)
    }

    fn version(&self, point: &Point) -> PathBuf {
        self.directory.join(POINTS).join(point.as_str())
    }

    fn partial(&self, point: &Point) -> PathBuf {
        self.directory
            .join(POINTS)
            .join(format!("{PARTIAL}{point}"))
    }

    fn recorded(&self, point: &Point) -> anyhow::Result<Option<String>> {
        let file = self.directory.join(DIGESTS).join(point.as_str());
        match fs::read_to_string(&file) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read `{}`", file.display())),
        }
    }
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let failed = || format!("cannot lock `{}`", path.display());
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(failed)?;
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(error) if error != rustix::io::Errno::WOULDBLOCK => {
                return Err(error).with_context(failed);
            }
            Err(_) if Instant::now() >= deadline => bail!(
                "another migrator holds `{}` for more than {LOCK_TIMEOUT:?}",
                path.display()
            ),
            Err(_) => std::thread::sleep(LOCK_PAUSE),
        }
    }
}

/// Writes a small file, whole or not at all.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!("{PARTIAL}{name}"));
    let written = File::create(&partial).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, path)
    });
    written.with_context(|| format!("cannot write `{}`", path.display()))?;
    path.parent().map_or(Ok(()), tree::sync_directory)
}

fn remove(path: &Path) -> anyhow::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed.with_context(|| format!("cannot remove `{}`", path.display()))
}

fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    let renamed = fs::rename(from, to);
    renamed.with_context(|| format!("cannot rename `{}` to `{}`", from.display(), to.display()))
}
