//! Publishing a directory at once: everything is copied and on disk before one rename shows it.
//!
//! `DIRECTORY/points/<point>` holds a whole site, `DIRECTORY/current` is a symbolic link to the published one. A web
//! server serves `current`; at no moment it finds half a site or none.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use klusterkite_wire::Point;

const CURRENT: &str = "current";
const POINTS: &str = "points";

/// Deepest directory of a site.
const DEPTH_MAX: usize = 32;

/// Reads which point is published; nothing published: `None`.
pub(crate) fn published(directory: &Path) -> anyhow::Result<Option<Point>> {
    let link = directory.join(CURRENT);
    let target = match fs::read_link(&link) {
        Ok(target) => target,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => {
            return Err(error)
                .with_context(|| format!("cannot read the link `{}`", link.display()));
        }
    };
    let name = target.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("`{}` leads nowhere", link.display()))?;
    Ok(Some(name.parse()?))
}

/// Publishes the site in `content` as `point`. Can be cut off and repeated at any moment.
pub(crate) fn publish(directory: &Path, point: &Point, content: &Path) -> anyhow::Result<()> {
    let points = directory.join(POINTS);
    create_directories(&points)?;
    let site = points.join(point.as_str());
    if !site.try_exists()? {
        let copy = points.join(format!(".{point}.new"));
        remove_if_there(&copy)?;
        copy_tree(content, &copy, DEPTH_MAX)?;
        rename(&copy, &site)?;
        sync_directory(&points)?;
    }
    let link = directory.join(format!(".{CURRENT}.new"));
    remove_if_there(&link)?;
    let target = Path::new(POINTS).join(point.as_str());
    symlink(&target, &link).with_context(|| format!("cannot link `{}`", link.display()))?;
    rename(&link, &directory.join(CURRENT))?;
    sync_directory(directory)
}

fn copy_tree(from: &Path, to: &Path, depth: usize) -> anyhow::Result<()> {
    if depth == 0 {
        bail!("`{}` is nested too deeply", from.display());
    }
    fs::create_dir(to).with_context(|| format!("cannot make `{}`", to.display()))?;
    let entries =
        fs::read_dir(from).with_context(|| format!("cannot read `{}`", from.display()))?;
    for entry in entries {
        let entry = entry?;
        let (source, copy) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&source, &copy, depth - 1)?;
        } else if kind.is_file() {
            copy_file(&source, &copy)?;
        } else {
            bail!("`{}` is neither a file nor a directory", source.display());
        }
    }
    sync_directory(to)
}

fn copy_file(source: &Path, copy: &Path) -> anyhow::Result<()> {
    let copied = fs::copy(source, copy).and_then(|_| File::open(copy)?.sync_all());
    copied.with_context(|| format!("cannot copy `{}` to `{}`", source.display(), copy.display()))
}

fn create_directories(path: &PathBuf) -> anyhow::Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make `{}`", path.display()))
}

fn remove_if_there(path: &Path) -> anyhow::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.with_context(|| format!("cannot remove `{}`", path.display()))
}

fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    let renamed = fs::rename(from, to);
    renamed.with_context(|| format!("cannot rename `{}` to `{}`", from.display(), to.display()))
}

fn sync_directory(path: &Path) -> anyhow::Result<()> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.with_context(|| format!("cannot sync `{}`", path.display()))
}
