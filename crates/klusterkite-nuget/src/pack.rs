use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Cursor, Write};

use crate::hash::Sha256Hash;
use crate::nuspec::escaped;
use crate::package::MANIFEST_FILE;
use crate::zip::ArchiveWriter;
use crate::{Error, Limits, Nuspec, Package};

/// Makes a `.nupkg` whose bytes depend on nothing but its contents: entries are sorted and carry
/// no time.
#[derive(Clone, Debug)]
pub struct PackageBuilder {
    nuspec: Nuspec,
    files: BTreeMap<String, File>,
}

#[derive(Clone, Debug)]
struct File {
    contents: Vec<u8>,
    executable: bool,
}

impl PackageBuilder {
    /// Starts a package without files.
    pub fn new(nuspec: Nuspec) -> Self {
        Self {
            nuspec,
            files: BTreeMap::new(),
        }
    }

    /// Adds a file; a second one with the same path replaces the first.
    #[must_use]
    pub fn file(mut self, path: &str, contents: impl Into<Vec<u8>>, executable: bool) -> Self {
        self.files.insert(
            path.to_owned(),
            File {
                contents: contents.into(),
                executable,
            },
        );
        self
    }

    /// Adds the manifest.
    #[must_use]
    pub fn manifest(self, text: &str) -> Self {
        self.file(MANIFEST_FILE, text, false)
    }

    /// Returns the package's bytes; fails if a reader with the standard limits would refuse them.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.write(&mut bytes)?;
        Package::open(Cursor::new(&bytes), &Limits::STANDARD)?;
        Ok(bytes)
    }

    /// Writes the package without checking its paths.
    fn write(&self, out: &mut impl Write) -> Result<(), Error> {
        let nuspec_name = format!("{}.nuspec", self.nuspec.id);
        let nuspec = self.nuspec.to_xml();
        let properties_name = format!(
            "package/services/metadata/core-properties/{}.psmdcp",
            &Sha256Hash::of(nuspec.as_bytes()).to_string()[..32]
        );
        let parts = [
            ("[Content_Types].xml".to_owned(), self.content_types()),
            (
                "_rels/.rels".to_owned(),
                relationships(&nuspec_name, &properties_name),
            ),
            (nuspec_name, nuspec.clone()),
            (properties_name, self.core_properties()),
        ];

        let mut writer = ArchiveWriter::new(out);
        for (name, contents) in &parts {
            writer.add(name, contents.as_bytes(), false)?;
        }
        for (path, file) in &self.files {
            writer.add(&percent_encoded(path), &file.contents, file.executable)?;
        }
        writer.finish()?;
        Ok(())
    }

    /// Every extension and every file without one needs a content type, or .NET's packaging
    /// library does not see the file.
    fn content_types(&self) -> String {
        let mut extensions = BTreeSet::from(["nuspec".to_owned()]);
        let mut plain = Vec::new();
        for path in self.files.keys() {
            let name = path.rsplit('/').next().unwrap_or_default();
            match name.rsplit_once('.') {
                Some((_, extension)) if !extension.is_empty() => {
                    extensions.insert(extension.to_lowercase());
                }
                _ => plain.push(path),
            }
        }
        let mut xml = String::from(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
             <Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\">\n  \
             <Default Extension=\"rels\" ContentType=\"application/vnd.openxmlformats-package.relationships+xml\" />\n  \
             <Default Extension=\"psmdcp\" ContentType=\"application/vnd.openxmlformats-package.core-properties+xml\" />\n",
        );
        for extension in extensions {
            let extension = escaped(&extension);
            let _ = writeln!(
                xml,
                "  <Default Extension=\"{extension}\" ContentType=\"application/octet\" />"
            );
        }
        for path in plain {
            let path = escaped(&percent_encoded(path)).into_owned();
            let _ = writeln!(
                xml,
                "  <Override PartName=\"/{path}\" ContentType=\"application/octet\" />"
            );
        }
        xml.push_str("</Types>\n");
        xml
    }

    fn core_properties(&self) -> String {
        let nuspec = &self.nuspec;
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
             <coreProperties xmlns:dc=\"http://purl.org/dc/elements/1.1/\" \
             xmlns=\"http://schemas.openxmlformats.org/package/2006/metadata/core-properties\">\n  \
             <dc:creator>{}</dc:creator>\n  <dc:description>{}</dc:description>\n  \
             <dc:identifier>{}</dc:identifier>\n  <version>{}</version>\n  <keywords>{}</keywords>\n\
             </coreProperties>\n",
            escaped(&nuspec.authors),
            escaped(&nuspec.description),
            nuspec.id,
            nuspec.version,
            escaped(&nuspec.tags.join(" ")),
        )
    }
}

fn relationships(nuspec_name: &str, properties_name: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\">\n  \
         <Relationship Type=\"http://schemas.microsoft.com/packaging/2010/07/manifest\" Target=\"/{nuspec_name}\" Id=\"R1\" />\n  \
         <Relationship Type=\"http://schemas.openxmlformats.org/package/2006/relationships/metadata/core-properties\" \
         Target=\"/{properties_name}\" Id=\"R2\" />\n\
         </Relationships>\n"
    )
}

/// Encodes a path as the packaging format wants names of parts: everything but unreserved
/// characters and `/`.
fn percent_encoded(path: &str) -> String {
    let mut encoded = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
