use std::borrow::Cow;
use std::fmt::Write as _;

use roxmltree::{Document, Node, ParsingOptions};

use crate::{Error, PackageId, Version, VersionRange};

/// The longest version that NuGet accepts in a nuspec, in characters.
const VERSION_CHARS_MAX: usize = 64;

/// The most XML nodes that a nuspec may have; the largest in use have some thousands.
const NODES_MAX: u32 = 100_000;

/// The namespace that current NuGet clients write.
const NAMESPACE: &str = "http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd";

/// What a package says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nuspec {
    /// The package's id.
    pub id: PackageId,
    /// The package's version.
    pub version: Version,
    /// What the package is; empty if the author left it out.
    pub description: String,
    /// The authors, separated by commas.
    pub authors: String,
    /// The owners, separated by commas.
    pub owners: Option<String>,
    /// A name to show instead of the id.
    pub title: Option<String>,
    /// A short description.
    pub summary: Option<String>,
    /// What is new in this version.
    pub release_notes: Option<String>,
    /// The copyright line.
    pub copyright: Option<String>,
    /// The language of the package, such as `en-US`.
    pub language: Option<String>,
    /// The project's home page.
    pub project_url: Option<String>,
    /// The license as an expression or a file of the package.
    pub license: Option<License>,
    /// The license's address, the older way.
    pub license_url: Option<String>,
    /// The icon's path in the package.
    pub icon: Option<String>,
    /// The icon's address, the older way.
    pub icon_url: Option<String>,
    /// The path of a read-me in the package.
    pub readme: Option<String>,
    /// Words to search for.
    pub tags: Vec<String>,
    /// Where the sources are.
    pub repository: Option<Repository>,
    /// What kinds of package it is; none stands for `Dependency`.
    pub package_types: Vec<PackageType>,
    /// What it needs, for each target framework.
    pub dependency_groups: Vec<DependencyGroup>,
    /// The oldest NuGet client that can use it.
    pub min_client_version: Option<String>,
    /// Whether a user must accept the license.
    pub require_license_acceptance: bool,
    /// Whether it is only needed to build.
    pub development_dependency: bool,
}

/// A license.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum License {
    /// An SPDX expression.
    Expression(String),
    /// A file of the package.
    File(String),
}

/// Where the sources of a package are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repository {
    /// The kind of version control, such as `git`.
    pub kind: Option<String>,
    /// The repository's address.
    pub url: Option<String>,
    /// The branch.
    pub branch: Option<String>,
    /// The commit.
    pub commit: Option<String>,
}

/// A kind of package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageType {
    /// Such as `Dependency`, `DotnetTool`.
    pub name: String,
    /// The version of the kind.
    pub version: Option<String>,
}

/// What a package needs under one target framework.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DependencyGroup {
    /// The framework as written; `None` stands for any.
    pub target_framework: Option<String>,
    /// The packages that are needed; none is "no dependencies", not "look at other groups".
    pub dependencies: Vec<Dependency>,
}

/// A package that is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// Its id.
    pub id: PackageId,
    /// The versions that will do.
    pub range: VersionRange,
    /// Kinds of its assets that are used, separated by commas.
    pub include: Option<String>,
    /// Kinds of its assets that are not used, separated by commas.
    pub exclude: Option<String>,
}

impl Nuspec {
    /// Makes a nuspec with what every package must have.
    pub fn new(id: PackageId, version: Version, authors: &str, description: &str) -> Self {
        Self {
            id,
            version,
            description: description.to_owned(),
            authors: authors.to_owned(),
            owners: None,
            title: None,
            summary: None,
            release_notes: None,
            copyright: None,
            language: None,
            project_url: None,
            license: None,
            license_url: None,
            icon: None,
            icon_url: None,
            readme: None,
            tags: Vec::new(),
            repository: None,
            package_types: Vec::new(),
            dependency_groups: Vec::new(),
            min_client_version: None,
            require_license_acceptance: false,
            development_dependency: false,
        }
    }

    /// Parses a nuspec of any of the six published namespaces or none. Elements that this type
    /// does not have are ignored; id, version and dependencies must be right.
    pub fn parse(xml: &str) -> Result<Self, Error> {
        let xml = xml.strip_prefix('\u{feff}').unwrap_or(xml);
        // Document types stay off: entities that grow are refused by the parser.
        let options = ParsingOptions {
            nodes_limit: NODES_MAX,
            ..ParsingOptions::default()
        };
        let document = Document::parse_with_options(xml, options).map_err(Error::NuspecXml)?;
        let root = document.root_element();
        if !has_name(root, "package") {
            return Err(unusable("its root element is not `package`"));
        }
        let metadata =
            child(root, "metadata").ok_or_else(|| unusable("it has no `metadata` element"))?;
        parse_metadata(metadata)
    }

    /// Writes the nuspec as current clients do.
    pub fn to_xml(&self) -> String {
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n");
        let _ = writeln!(xml, "<package xmlns=\"{NAMESPACE}\">");
        match &self.min_client_version {
            Some(version) => {
                let _ = writeln!(
                    xml,
                    "  <metadata minClientVersion=\"{}\">",
                    escaped(version)
                );
            }
            None => xml.push_str("  <metadata>\n"),
        }
        self.write_metadata(&mut xml);
        xml.push_str("  </metadata>\n</package>\n");
        xml
    }

    fn write_metadata(&self, xml: &mut String) {
        let tags = (!self.tags.is_empty()).then(|| self.tags.join(" "));
        let flag = |set: bool| set.then(|| "true".to_owned());
        for (name, text) in [
            ("id", Some(self.id.to_string())),
            ("version", Some(self.version.full())),
            ("title", self.title.clone()),
            ("authors", Some(self.authors.clone())),
            ("owners", self.owners.clone()),
            (
                "requireLicenseAcceptance",
                flag(self.require_license_acceptance),
            ),
            ("developmentDependency", flag(self.development_dependency)),
            ("licenseUrl", self.license_url.clone()),
            ("icon", self.icon.clone()),
            ("iconUrl", self.icon_url.clone()),
            ("readme", self.readme.clone()),
            ("projectUrl", self.project_url.clone()),
            ("description", Some(self.description.clone())),
            ("summary", self.summary.clone()),
            ("releaseNotes", self.release_notes.clone()),
            ("copyright", self.copyright.clone()),
            ("language", self.language.clone()),
            ("tags", tags),
        ] {
            if let Some(text) = text {
                let _ = writeln!(xml, "    <{name}>{}</{name}>", escaped(&text));
            }
        }
        if let Some(license) = &self.license {
            let (kind, text) = match license {
                License::Expression(text) => ("expression", text),
                License::File(text) => ("file", text),
            };
            let _ = writeln!(
                xml,
                "    <license type=\"{kind}\">{}</license>",
                escaped(text)
            );
        }
        if let Some(Repository {
            kind,
            url,
            branch,
            commit,
        }) = &self.repository
        {
            xml.push_str("    <repository");
            for (name, value) in [
                ("type", kind),
                ("url", url),
                ("branch", branch),
                ("commit", commit),
            ] {
                write_attribute(xml, name, value.as_deref());
            }
            xml.push_str(" />\n");
        }
        if !self.package_types.is_empty() {
            xml.push_str("    <packageTypes>\n");
            for PackageType { name, version } in &self.package_types {
                xml.push_str("      <packageType");
                write_attribute(xml, "name", Some(name));
                write_attribute(xml, "version", version.as_deref());
                xml.push_str(" />\n");
            }
            xml.push_str("    </packageTypes>\n");
        }
        self.write_dependencies(xml);
    }

    fn write_dependencies(&self, xml: &mut String) {
        if self.dependency_groups.is_empty() {
            return;
        }
        xml.push_str("    <dependencies>\n");
        for group in &self.dependency_groups {
            xml.push_str("      <group");
            write_attribute(xml, "targetFramework", group.target_framework.as_deref());
            xml.push_str(">\n");
            for dependency in &group.dependencies {
                xml.push_str("        <dependency");
                write_attribute(xml, "id", Some(dependency.id.as_str()));
                write_attribute(xml, "version", Some(&dependency.range.to_string()));
                write_attribute(xml, "include", dependency.include.as_deref());
                write_attribute(xml, "exclude", dependency.exclude.as_deref());
                xml.push_str(" />\n");
            }
            xml.push_str("      </group>\n");
        }
        xml.push_str("    </dependencies>\n");
    }
}

fn parse_metadata(metadata: Node<'_, '_>) -> Result<Nuspec, Error> {
    let required = |name: &str| {
        text(metadata, name).ok_or_else(|| unusable(&format!("`{name}` is missing or empty")))
    };
    let version_text = required("version")?;
    if version_text.chars().count() > VERSION_CHARS_MAX {
        return Err(unusable("`version` is longer than 64 characters"));
    }
    let id = required("id")?.parse().map_err(field("id"))?;
    let version = version_text.parse().map_err(field("version"))?;

    let mut nuspec = Nuspec::new(id, version, "", "");
    nuspec.description = text(metadata, "description").unwrap_or_default();
    nuspec.authors = text(metadata, "authors").unwrap_or_default();
    nuspec.owners = text(metadata, "owners");
    nuspec.title = text(metadata, "title");
    nuspec.summary = text(metadata, "summary");
    nuspec.release_notes = text(metadata, "releaseNotes");
    nuspec.copyright = text(metadata, "copyright");
    nuspec.language = text(metadata, "language");
    nuspec.project_url = text(metadata, "projectUrl");
    nuspec.license_url = text(metadata, "licenseUrl");
    nuspec.icon = text(metadata, "icon");
    nuspec.icon_url = text(metadata, "iconUrl");
    nuspec.readme = text(metadata, "readme");
    nuspec.license = child(metadata, "license").and_then(parse_license);
    nuspec.tags = text(metadata, "tags")
        .map(|tags| {
            tags.split([' ', ',', ';', '\t', '\r', '\n'])
                .filter(|tag| !tag.is_empty())
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default();
    nuspec.repository = child(metadata, "repository").map(|node| Repository {
        kind: attribute(node, "type"),
        url: attribute(node, "url"),
        branch: attribute(node, "branch"),
        commit: attribute(node, "commit"),
    });
    nuspec.package_types = child(metadata, "packageTypes")
        .map(parse_package_types)
        .unwrap_or_default();
    nuspec.dependency_groups = match child(metadata, "dependencies") {
        Some(node) => parse_dependencies(node)?,
        None => Vec::new(),
    };
    nuspec.min_client_version = attribute(metadata, "minClientVersion");
    nuspec.require_license_acceptance = flag(metadata, "requireLicenseAcceptance");
    nuspec.development_dependency = flag(metadata, "developmentDependency");
    Ok(nuspec)
}

fn parse_license(node: Node<'_, '_>) -> Option<License> {
    let text = node
        .text()
        .map(str::trim)
        .filter(|text| !text.is_empty())?
        .to_owned();
    match node.attribute("type") {
        Some("file") => Some(License::File(text)),
        _ => Some(License::Expression(text)),
    }
}

fn parse_package_types(node: Node<'_, '_>) -> Vec<PackageType> {
    let types = node
        .children()
        .filter(|node| has_name(*node, "packageType"));
    types
        .filter_map(|node| {
            Some(PackageType {
                name: attribute(node, "name")?,
                version: attribute(node, "version"),
            })
        })
        .collect()
}

/// Dependencies stand in groups, or (the older way) directly; those form the group for any
/// framework. Both at once is not valid; groups win then, as in NuGet.
fn parse_dependencies(node: Node<'_, '_>) -> Result<Vec<DependencyGroup>, Error> {
    let mut groups = Vec::new();
    for group in node.children().filter(|node| has_name(*node, "group")) {
        groups.push(DependencyGroup {
            target_framework: attribute(group, "targetFramework"),
            dependencies: parse_group(group)?,
        });
    }
    if groups.is_empty() {
        let dependencies = parse_group(node)?;
        if !dependencies.is_empty() {
            groups.push(DependencyGroup {
                target_framework: None,
                dependencies,
            });
        }
    }
    Ok(groups)
}

fn parse_group(node: Node<'_, '_>) -> Result<Vec<Dependency>, Error> {
    let mut dependencies = Vec::new();
    for node in node.children().filter(|node| has_name(*node, "dependency")) {
        let id = attribute(node, "id").ok_or_else(|| unusable("a `dependency` has no id"))?;
        let range = match attribute(node, "version") {
            Some(range) => range.parse().map_err(field("dependency version"))?,
            None => VersionRange::any(),
        };
        dependencies.push(Dependency {
            id: id.parse().map_err(field("dependency id"))?,
            range,
            include: attribute(node, "include"),
            exclude: attribute(node, "exclude"),
        });
    }
    Ok(dependencies)
}

fn unusable(reason: &str) -> Error {
    Error::Nuspec {
        reason: reason.to_owned(),
    }
}

fn field(field: &'static str) -> impl Fn(Error) -> Error {
    move |source| Error::NuspecField {
        field,
        source: Box::new(source),
    }
}

fn has_name(node: Node<'_, '_>, name: &str) -> bool {
    node.is_element() && node.tag_name().name() == name
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|node| has_name(*node, name))
}

fn text(node: Node<'_, '_>, name: &str) -> Option<String> {
    let text: String = child(node, name)?
        .children()
        .filter_map(|node| node.text())
        .collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn attribute(node: Node<'_, '_>, name: &str) -> Option<String> {
    node.attribute(name)
        .map(|value| value.trim().to_owned())
        .filter(|value| !value.is_empty())
}

fn flag(node: Node<'_, '_>, name: &str) -> bool {
    text(node, name).is_some_and(|text| text.eq_ignore_ascii_case("true") || text == "1")
}

fn write_attribute(xml: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        let _ = write!(xml, " {name}=\"{}\"", escaped(value));
    }
}

/// Escapes a text for XML content and attributes; characters that XML cannot hold are dropped.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    let is_plain =
        |c: char| !matches!(c, '<' | '>' | '&' | '"' | '\u{fffe}' | '\u{ffff}') && c >= ' ';
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut result = String::new();
    for c in text.chars() {
        match c {
            '<' => result.push_str("&lt;"),
            '>' => result.push_str("&gt;"),
            '&' => result.push_str("&amp;"),
            '"' => result.push_str("&quot;"),
            '\n' | '\r' | '\t' => {
                let _ = write!(result, "&#{};", u32::from(c));
            }
            c if is_plain(c) => result.push(c),
            _ => {}
        }
    }
    Cow::Owned(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "\u{feff}<?xml version=\"1.0\"?>
        <package xmlns=\"http://schemas.microsoft.com/packaging/2011/08/nuspec.xsd\">
          <metadata minClientVersion=\"2.12\">
            <id>Acme.Orders</id><version> 1.2.0-Beta.1+sha </version>
            <description>Orders &amp; more</description><authors>Acme</authors>
            <tags>orders, shop  web</tags><license type=\"expression\">MIT</license>
            <repository type=\"git\" url=\"https://example.org/a\" commit=\"abc\" />
            <packageTypes><packageType name=\"Dependency\" /></packageTypes>
            <requireLicenseAcceptance>TRUE</requireLicenseAcceptance>
            <unknown><id>Other</id></unknown>
            <dependencies>
              <group targetFramework=\"net6.0\"><dependency id=\"A\" version=\"[1.0,2.0)\" exclude=\"Build\" /></group>
              <group />
            </dependencies>
          </metadata>
          <files />
        </package>";

    #[test]
    fn a_nuspec_is_read_with_byte_order_mark_and_older_namespace() {
        let nuspec = Nuspec::parse(FULL).unwrap();
        assert_eq!(nuspec.id.as_str(), "Acme.Orders");
        assert_eq!(nuspec.version.full(), "1.2.0-Beta.1+sha");
        assert_eq!(nuspec.description, "Orders & more");
        assert_eq!(nuspec.tags, ["orders", "shop", "web"]);
        assert_eq!(nuspec.license, Some(License::Expression("MIT".to_owned())));
        assert!(nuspec.require_license_acceptance);
        assert_eq!(nuspec.min_client_version.as_deref(), Some("2.12"));
        assert_eq!(nuspec.dependency_groups.len(), 2);
        assert_eq!(
            nuspec.dependency_groups[0].dependencies[0]
                .range
                .to_string(),
            "[1.0.0, 2.0.0)"
        );
    }

    #[test]
    fn a_written_nuspec_reads_the_same() {
        let mut nuspec = Nuspec::parse(FULL).unwrap();
        nuspec.release_notes = Some("<b> \"quoted\"\nand & more".to_owned());
        assert_eq!(Nuspec::parse(&nuspec.to_xml()).unwrap(), nuspec);
    }

    #[test]
    fn dependencies_without_groups_are_for_any_framework() {
        let xml = "<package><metadata><id>A</id><version>1</version>
            <dependencies><dependency id=\"B\" /></dependencies></metadata></package>";
        let nuspec = Nuspec::parse(xml).unwrap();
        assert_eq!(nuspec.dependency_groups[0].target_framework, None);
        assert_eq!(
            nuspec.dependency_groups[0].dependencies[0].range,
            VersionRange::any()
        );
    }

    #[test]
    fn a_nuspec_without_what_a_package_needs_is_refused() {
        let with = |metadata: &str| format!("<package><metadata>{metadata}</metadata></package>");
        for xml in [
            String::new(),
            "<package/>".to_owned(),
            "<other><metadata/></other>".to_owned(),
            "<!DOCTYPE a [<!ENTITY b \"c\">]><package/>".to_owned(),
            with(""),
            with("<id>A</id>"),
            with("<id>A/B</id><version>1</version>"),
            with("<id>A</id><version>x</version>"),
            with(&format!(
                "<id>A</id><version>1-{}</version>",
                "a".repeat(64)
            )),
            with(
                "<id>A</id><version>1</version><dependencies><dependency id=\"B\" version=\"]\"/></dependencies>",
            ),
        ] {
            assert!(Nuspec::parse(&xml).is_err(), "{xml}");
        }
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let xml = format!("<package>{}", "<a>".repeat(200_000));
        assert!(Nuspec::parse(&xml).is_err());
        let xml = format!(
            "<package>{}{}</package>",
            "<a>".repeat(99_000),
            "</a>".repeat(99_000)
        );
        assert!(Nuspec::parse(&xml).is_err());
    }
}
