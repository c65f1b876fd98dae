//! Names of the files in a service directory: the contract of launcher and service host.

/// Start settings, written by the launcher (highest priority), HOCON.
pub const START_SETTINGS: &str = "start.hocon";
/// The template's top-level settings, HOCON.
pub const TEMPLATE_SETTINGS: &str = "service.hocon";
/// The [`StartConfiguration`](crate::start::StartConfiguration) that the directory was made from, without token, JSON.
pub const RELEASE: &str = "release.json";
/// Directory with one directory per package that has a manifest.
pub const PACKAGES: &str = "packages";
/// Manifest of a package inside its directory below [`PACKAGES`].
pub const MANIFEST: &str = "klusterkite.hocon";
/// Node token, mode 0600; the host waits for it, its processes do not.
pub const NODE_TOKEN: &str = "node-token";
/// Unix socket between host and launcher, made by the launcher.
pub const LAUNCHER_SOCKET: &str = "launcher.sock";
/// Unix socket that serves `/members` to the node's processes, made by the host.
pub const MEMBERS_SOCKET: &str = "members.sock";
/// Resolved settings, JSON, written by the host (`KLUSTERKITE_CONFIG`).
pub const SETTINGS_JSON: &str = "settings.json";
/// Resolved settings, HOCON, written by the host (`KLUSTERKITE_CONFIG_HOCON`).
pub const SETTINGS_HOCON: &str = "settings.hocon";
/// Sizes and times of the files as they were unpacked, JSON, written and read by the launcher.
pub const FILES: &str = "files.json";
