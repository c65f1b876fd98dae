//! Arguments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use klusterkite_wire::ConfigurationId;

/// Operates a KlusterKite cluster.
#[derive(Debug, Parser)]
#[command(name = "klusterkite", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Shown below the help; the codes are those of [`Exit::TABLE`](crate::exit::Exit::TABLE).
const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: the server or a local file
  2  unusable arguments or input
  3  not logged in, or wrong password or key
  4  a privilege is missing
  5  no such object
  6  refused in the present state: conflict, findings, blockers
  7  manager or feed do not answer
  8  the watched migration did not complete

KLUSTERKITE_PASSWORD holds the password, for scripts that cannot use a file.";

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// URL of the manager, such as http://10.0.0.5:8080 or https://manager.example.org.
    #[arg(long, global = true, env = "KLUSTERKITE_URL", hide_env_values = true)]
    pub url: Option<String>,
    /// Login of the user.
    #[arg(long, global = true, env = "KLUSTERKITE_USER", hide_env_values = true)]
    pub user: Option<String>,
    /// File with the user's password.
    #[arg(
        long,
        global = true,
        env = "KLUSTERKITE_PASSWORD_FILE",
        value_name = "FILE",
        hide_env_values = true
    )]
    pub password_file: Option<PathBuf>,
    /// File that keeps the session, mode 0600 [default: klusterkite/session.json in the user's configuration directory].
    #[arg(
        long,
        global = true,
        env = "KLUSTERKITE_SESSION",
        value_name = "FILE",
        hide_env_values = true
    )]
    pub session: Option<PathBuf>,
    /// URL of the feed's service index [default: what the active configuration says].
    #[arg(
        long,
        global = true,
        env = "KLUSTERKITE_FEED",
        value_name = "URL",
        hide_env_values = true
    )]
    pub feed: Option<String>,
    /// File with the feed's key: {"apiKey": "…"}.
    #[arg(
        long,
        global = true,
        env = "KLUSTERKITE_FEED_KEY_FILE",
        value_name = "FILE",
        hide_env_values = true
    )]
    pub feed_key_file: Option<PathBuf>,
    /// File with the authority that has signed the certificates of manager and feed, PEM [default: the system's].
    #[arg(
        long,
        global = true,
        env = "KLUSTERKITE_CA",
        value_name = "FILE",
        hide_env_values = true
    )]
    pub ca: Option<PathBuf>,
    /// How results are written.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub output: Output,
}

/// How results are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs; long work writes one document per line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Log in and keep the session.
    Login,
    /// End the session.
    Logout,
    /// Show the state of the cluster at a glance.
    Status,
    /// Configurations: descriptions of the whole cluster.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Migrations: moves from one configuration to another.
    #[command(subcommand)]
    Migration(MigrationCommand),
    /// Nodes: running services.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Containers in which nothing runs.
    #[command(subcommand)]
    Container(ContainerCommand),
    /// Node templates: kinds of node.
    #[command(subcommand)]
    Template(TemplateCommand),
    /// Packages of the feed.
    #[command(subcommand)]
    Package(PackageCommand),
    /// Settings files on this machine; no manager is asked.
    #[command(subcommand)]
    Settings(SettingsCommand),
    /// Show what happened, and who did it.
    Events(EventsArguments),
}

/// Configurations.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// List configurations, newest first.
    List {
        /// Only this state: draft, ready, active, archived, obsolete, faulted.
        #[arg(long)]
        state: Option<String>,
        /// Most entries.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Show a configuration.
    Show {
        /// Number of the configuration [default: the active one].
        id: Option<ConfigurationId>,
        /// Only its settings, as JSON that `config edit --file` takes.
        #[arg(long)]
        settings: bool,
    },
    /// Make a Draft from another configuration.
    Copy {
        /// Number of the configuration [default: the active one].
        id: Option<ConfigurationId>,
        /// Set every package to the newest version in the feed.
        #[arg(long)]
        newest: bool,
        /// Name of the Draft.
        #[arg(long)]
        name: Option<String>,
        /// Notes.
        #[arg(long)]
        notes: Option<String>,
    },
    /// Make a Draft from a settings file.
    Create {
        /// Settings (JSON or HOCON).
        file: PathBuf,
        /// Name of the Draft.
        #[arg(long)]
        name: Option<String>,
        /// Notes.
        #[arg(long)]
        notes: Option<String>,
    },
    /// Edit the settings of a Draft in $VISUAL or $EDITOR, or take them from a file.
    Edit {
        /// Number of the Draft.
        id: ConfigurationId,
        /// New settings (JSON or HOCON) instead of an editor.
        #[arg(long)]
        file: Option<PathBuf>,
        /// New name.
        #[arg(long)]
        name: Option<String>,
        /// New notes.
        #[arg(long)]
        notes: Option<String>,
    },
    /// Check a Draft.
    Check {
        /// Number of the Draft.
        id: ConfigurationId,
    },
    /// Check a Draft, freeze its packages and make it Ready.
    Ready {
        /// Number of the Draft.
        id: ConfigurationId,
    },
    /// Discard a Ready configuration.
    Obsolete {
        /// Number of the configuration.
        id: ConfigurationId,
    },
    /// Mark the active configuration as known to work well.
    Stable {
        /// Number of the configuration.
        id: ConfigurationId,
        /// Take the mark away.
        #[arg(long)]
        unset: bool,
    },
    /// Delete a Draft.
    Delete {
        /// Number of the Draft.
        id: ConfigurationId,
    },
    /// Compare a configuration with another one.
    Diff {
        /// Number of the configuration.
        id: ConfigurationId,
        /// The older side [default: the active one].
        #[arg(long)]
        against: Option<ConfigurationId>,
    },
}

/// Migrations.
#[derive(Debug, Subcommand)]
pub enum MigrationCommand {
    /// Show what a migration would do; ends with 6 when something blocks it.
    Plan {
        /// Number of the destination.
        to: ConfigurationId,
    },
    /// Start a migration.
    Start {
        /// Number of the destination.
        to: ConfigurationId,
        /// Run all steps without asking.
        #[arg(long)]
        automatic: bool,
        /// What the first failure of an automatic migration does.
        #[arg(long, value_enum, default_value_t, requires = "automatic")]
        on_failure: FailureArgument,
        /// Refuse when the plan with this id is no longer the plan.
        #[arg(long, value_name = "ID")]
        plan_id: Option<String>,
        /// Accept a destination that the cluster was turned back from.
        #[arg(long)]
        retry_faulted: bool,
        /// Follow it as `migration watch` does.
        #[arg(long)]
        watch: bool,
    },
    /// Show the running migration with its resources.
    Status,
    /// List migrations, newest first.
    List {
        /// Most entries.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Show the log of a migration.
    Log {
        /// Number of the migration [default: the running one].
        id: Option<i64>,
    },
    /// Show what migrators wrote while they moved resources.
    Logs {
        /// Only this resource: its code, or TEMPLATE:MIGRATOR:RESOURCE.
        resource: Option<String>,
        /// Number of the migration [default: the running one, else the newest].
        #[arg(long, value_name = "ID")]
        migration: Option<i64>,
        /// What was written while no migration ran, instead.
        #[arg(long, conflicts_with = "migration")]
        repairs: bool,
        /// Go on with what is written until the migration ends.
        #[arg(long, short)]
        follow: bool,
    },
    /// Move the nodes to one end of the migration.
    Nodes {
        /// Which end.
        #[arg(value_enum)]
        target: SideArgument,
        /// Follow it as `migration watch` does.
        #[arg(long)]
        watch: bool,
    },
    /// Move resources, now and in the manager's order.
    Resources {
        /// Resources as TEMPLATE:MIGRATOR:RESOURCE [default: all that can be moved].
        resources: Vec<String>,
        /// Which end; without a migration resources move to their last point.
        #[arg(long, value_enum, value_name = "END")]
        to: Option<SideArgument>,
        /// Follow it as `migration watch` does.
        #[arg(long)]
        watch: bool,
    },
    /// Hold the migration and the update of nodes.
    Pause,
    /// Go on, also with an update that failures had paused; they are forgotten.
    Resume,
    /// Send an automatic migration back to its source.
    Rollback,
    /// Read all resources again, with or without a migration.
    Recheck,
    /// End the migration at its start.
    Cancel,
    /// End the migration at its destination.
    Finish,
    /// Follow a migration until it ends, pauses, or (a manual one) waits for the next command; ends with 8
    /// when it was paused, failed or was rolled back.
    Watch {
        /// Number of the migration [default: the running one].
        id: Option<i64>,
    },
}

/// What the first failure does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum FailureArgument {
    /// Wait for an operator.
    #[default]
    Pause,
    /// Go back to the source.
    Rollback,
}

/// One end of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SideArgument {
    /// Where it came from.
    Source,
    /// Where it leads.
    Destination,
}

/// Nodes.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List nodes, and containers that are out of service.
    List {
        /// Only this template.
        #[arg(long)]
        template: Option<String>,
        /// Only this status.
        #[arg(long)]
        status: Option<String>,
    },
    /// Show a node.
    Show {
        /// Node id, or the beginning of one.
        id: String,
    },
    /// Tell why a node has its template.
    Explain {
        /// Node id, or the beginning of one.
        id: String,
    },
    /// Show what the processes of a node wrote.
    Logs {
        /// Node id, or the beginning of one.
        id: String,
        /// Go on with lines as they come, also over restarts of the node.
        #[arg(long)]
        follow: bool,
        /// Only this process; `klusterkite-service` is the service host itself.
        #[arg(long, value_name = "NAME")]
        process: Option<String>,
        /// Last lines to begin with.
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        lines: u32,
    },
    /// Restart a node without dropping its template below the minimum.
    Restart(NodeArguments),
    /// Stop a node and give its container no new work.
    Drain(NodeArguments),
    /// Give a node's container no new work.
    Cordon {
        /// Node id, or the beginning of one.
        id: String,
    },
    /// Give a node's container work again.
    Uncordon {
        /// Node id, or the beginning of one.
        id: String,
    },
}

/// A node and how gently it is treated.
#[derive(Debug, Args)]
pub struct NodeArguments {
    /// Node id, or the beginning of one.
    pub id: String,
    /// At once, even below the minimum; needs a privilege of its own and is audited.
    #[arg(long)]
    pub force: bool,
}

/// Containers in which nothing runs.
#[derive(Debug, Subcommand)]
pub enum ContainerCommand {
    /// List them, and why nothing runs there; `node cordon` and `node uncordon` take their ids.
    List {
        /// Only this state: cordoned, waiting, away.
        #[arg(long)]
        state: Option<String>,
    },
}

/// Node templates.
#[derive(Debug, Subcommand)]
pub enum TemplateCommand {
    /// Count nodes per template.
    List,
}

/// Packages.
#[derive(Debug, Subcommand)]
pub enum PackageCommand {
    /// List packages of the feed.
    List {
        /// Only those that match a text.
        text: Option<String>,
        /// Most entries.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Show the versions of a package.
    Show {
        /// Package id.
        id: String,
    },
    /// Make a package of a directory with a `pack.hocon`.
    Pack(PackArguments),
    /// Publish packages. The same bytes again are no error.
    Push {
        /// Package files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// A version that is there with other content is no error either.
        #[arg(long)]
        skip_duplicate: bool,
    },
    /// Hide a version from searches; its bytes stay.
    Unlist {
        /// Package id.
        id: String,
        /// Version.
        version: String,
    },
}

/// What to pack.
#[derive(Debug, Args)]
pub struct PackArguments {
    /// Directory with `pack.hocon`, `klusterkite.hocon` and `content/`.
    pub directory: PathBuf,
    /// Where the package goes: a directory, or a file ending in `.nupkg`.
    #[arg(long, short, value_name = "PATH", default_value = ".")]
    pub out: PathBuf,
    /// Directory with the programs that `binaries` of `pack.hocon` names.
    #[arg(long, value_name = "DIR")]
    pub binaries: Option<PathBuf>,
    /// Version; wins over `pack.hocon`.
    #[arg(long, value_name = "VERSION")]
    pub version: Option<String>,
    /// Runtime of the programs.
    #[arg(long, value_name = "RID", default_value = "linux-x64")]
    pub runtime: String,
}

/// Settings files, in HOCON, JSON or properties syntax by their extension.
///
/// The first file has the highest priority. Substitutions see all files and the environment of the process.
/// Includes are read, relative to the including file.
#[derive(Debug, Subcommand)]
pub enum SettingsCommand {
    /// Merge files, resolve their substitutions and write the result.
    Resolve {
        /// Files, highest priority first.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Write JSON instead of HOCON.
        #[arg(long)]
        json: bool,
    },
    /// Tell which file gave a setting its value, and what that overrode.
    ///
    /// Of an object every setting in it is explained.
    Explain {
        /// Path of the setting, such as `Acme.Orders.port`.
        path: String,
        /// Files, highest priority first.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Write JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Which events.
#[derive(Debug, Args)]
pub struct EventsArguments {
    /// Go on with those that happen.
    #[arg(long, short)]
    pub follow: bool,
    /// Begin with this event [default: show the newest ones].
    #[arg(long, value_name = "ID")]
    pub from: Option<i64>,
    /// Most entries.
    #[arg(long, default_value_t = 50)]
    pub limit: u32,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use expect_test::expect_file;

    use super::*;
    use crate::exit::Exit;

    /// Width of the reference, in characters.
    const REFERENCE_COLUMNS: usize = 100;

    /// Renders the help of every command as one Markdown text.
    fn reference() -> String {
        let mut command = Arguments::command().term_width(REFERENCE_COLUMNS);
        command.build();
        let mut text =
            "# `klusterkite`\n\n<!-- Generated: `UPDATE_EXPECT=1 cargo test -p klusterkite-cli`. -->\n"
                .to_owned();
        add_reference(&command, &mut text);
        text
    }

    fn add_reference(command: &clap::Command, text: &mut String) {
        // Every command has the global options; they are shown once.
        let is_root = !command.get_bin_name().unwrap_or_default().contains(' ');
        let help = command.clone().mut_args(|argument| {
            let is_shown = is_root || !argument.is_global_set() && argument.get_id() != "help";
            argument.hide(!is_shown)
        });
        let help = help
            .disable_help_flag(true)
            .disable_help_subcommand(true)
            .render_long_help()
            .to_string();
        let help: Vec<&str> = help.lines().map(str::trim_end).collect();
        let title = command.get_bin_name().unwrap_or_else(|| command.get_name());
        if !is_root {
            *text += &["\n## `", title, "`\n"].concat();
        }
        *text += &["\n```text\n", help.join("\n").trim_end(), "\n```\n"].concat();
        for subcommand in command
            .get_subcommands()
            .filter(|subcommand| subcommand.get_name() != "help")
        {
            add_reference(subcommand, text);
        }
    }

    #[test]
    fn the_reference_in_the_docs_is_what_the_help_says() {
        expect_file!["../../../docs/cli.md"].assert_eq(&reference());
    }

    fn parse(line: &str) -> Result<Command, clap::Error> {
        let words = std::iter::once("klusterkite").chain(line.split_whitespace());
        Arguments::try_parse_from(words).map(|arguments| arguments.command)
    }

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_help_names_every_exit_code() {
        let help = Arguments::command().render_long_help().to_string();
        for (exit, meaning) in Exit::TABLE {
            assert!(
                help.contains(&format!("{}  {meaning}", *exit as u8)),
                "{meaning}"
            );
        }
    }

    #[test]
    fn commands_of_the_story_are_understood() {
        let lines = [
            "login --url http://m:8080 --user admin --password-file p",
            "status --output json",
            "config list",
            "config show 1 --settings",
            "config copy --newest",
            "config copy 3 --name next",
            "config edit 2 --file settings.json",
            "config check 2",
            "config ready 2",
            "config obsolete 2",
            "config diff 2 --against 1",
            "migration plan 2",
            "migration start 2 --automatic --on-failure rollback --watch",
            "migration status",
            "migration logs schema --follow",
            "migration logs hello:Hello.Db:schema --migration 2",
            "migration nodes destination",
            "migration resources hello:Hello.Db:schema --to destination",
            "migration resources",
            "migration cancel",
            "migration finish",
            "migration watch",
            "node list --template hello",
            "node show 0a",
            "node explain 0a",
            "node logs 0a --follow --process hello --lines 20",
            "node restart 0a --force",
            "node drain 0a",
            "node cordon 0a",
            "container list --state cordoned",
            "template list",
            "package list hello",
            "package show Hello",
            "package pack samples/hello/packages/Hello/1.0.0 -o out --binaries target/debug --version 1.0.0",
            "package push a.nupkg b.nupkg --skip-duplicate",
            "settings resolve app.conf defaults.conf --json",
            "settings explain Acme.port app.conf defaults.conf",
            "events --follow --from 5",
        ];
        for line in lines {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn wrong_arguments_are_refused_with_the_code_for_usage() {
        let lines = [
            "",
            "config show x",
            "config edit",
            "migration start",
            "migration start 2 --on-failure rollback",
            "migration logs --repairs --migration 2",
            "migration nodes both",
            "node logs 0a --lines 0",
            "package push",
            "settings resolve",
            "settings explain Acme.port",
            "status --output xml",
            "unknown",
        ];
        for line in lines {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), Exit::Usage as i32, "{line}");
        }
    }
}
