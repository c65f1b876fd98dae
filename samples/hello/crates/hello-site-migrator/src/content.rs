//! The sites that this package ships: one directory per point.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use klusterkite_wire::{Point, TemplateCode};
use serde::Deserialize;

/// Directory of the package's content, in the working directory.
const DIRECTORY: &str = "hello-site";

#[derive(Deserialize)]
struct Points {
    points: Vec<Point>,
}

/// Reads the list of points and sees that each is there; their names are names of directories.
pub(crate) fn load() -> anyhow::Result<Vec<Point>> {
    let path = Path::new(DIRECTORY).join("points.json");
    let list = std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let Points { points } = serde_json::from_slice(&list)
        .with_context(|| format!("cannot parse `{}`", path.display()))?;
    for point in &points {
        // The rule for names of templates is a rule for names of files: no separator, not only dots.
        let name = point.as_str().parse::<TemplateCode>();
        name.with_context(|| format!("point `{point}` is no name of a directory"))?;
        let site = site(point);
        if !site.is_dir() {
            bail!("the package has no site `{}`", site.display());
        }
    }
    Ok(points)
}

/// Returns the directory of a point's site.
pub(crate) fn site(point: &Point) -> PathBuf {
    Path::new(DIRECTORY).join(point.as_str())
}
