//! Privileges: each operation has its own (the original shared one text between reading and migrating: B10).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! privileges {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Names what a user or client may do.
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
            utoipa::ToSchema,
        )]
        pub enum Privilege {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Privilege {
            /// All privileges, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns the name that the API uses.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

privileges! {
    /// Read configurations, their checks and differences.
    ConfigurationQuery = "Configuration.Query",
    /// Create a Draft.
    ConfigurationCreate = "Configuration.Create",
    /// Change a Draft.
    ConfigurationUpdate = "Configuration.Update",
    /// Delete a Draft.
    ConfigurationDelete = "Configuration.Delete",
    /// Check a Draft, make it Ready, make a Ready one Obsolete.
    ConfigurationFinish = "ConfigurationFinish",
    /// Mark the Active configuration as stable.
    ClusterUpdate = "ClusterUpdate",
    /// Read the state of migration and resources.
    GetResourceState = "GetResourceState",
    /// Read the history of migrations.
    MigrationQuery = "Migration.Query",
    /// Create, drive and end migrations; move resources.
    MigrateCluster = "MigrateCluster",
    /// Read the nodes.
    GetActiveNodeDescriptions = "GetActiveNodeDescriptions",
    /// Read the output of nodes, which may show anything.
    GetNodeLogs = "GetNodeLogs",
    /// Read the counts per template.
    GetTemplateStatistics = "GetTemplateStatistics",
    /// Restart, drain and cordon nodes.
    UpgradeNode = "UpgradeNode",
    /// Do so without regard to the minimum (audited).
    UpgradeNodeForce = "UpgradeNode.Force",
    /// Read the packages of the feed.
    GetPackages = "GetPackages",
    /// Read members and their endpoints.
    GetMembers = "GetMembers",
    /// Read events and their history.
    EventQuery = "Event.Query",
    /// Read the list of privileges.
    GetPrivilegesList = "GetPrivilegesList",
    /// Read users.
    UserQuery = "User.Query",
    /// Read roles.
    RoleQuery = "Role.Query",
    /// Read launcher clients.
    ClientQuery = "Client.Query",
    /// Ask for a start configuration (launchers).
    GetConfiguration = "GetConfiguration",
}

impl Privilege {
    /// Privileges that only launchers need; no user's role has them.
    pub const OF_CLIENTS: &'static [Self] = &[Self::GetConfiguration];

    /// What the seeded role `Guest` may do: look at the cluster.
    pub const OF_GUESTS: &'static [Self] = &[
        Self::GetActiveNodeDescriptions,
        Self::GetTemplateStatistics,
        Self::ConfigurationQuery,
    ];
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Privilege {
    type Err = UnknownPrivilege;

    fn from_str(text: &str) -> Result<Self, UnknownPrivilege> {
        let found = Self::ALL
            .iter()
            .find(|privilege| privilege.as_str() == text);
        found
            .copied()
            .ok_or_else(|| UnknownPrivilege(text.to_owned()))
    }
}

/// Says that a text names no privilege.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownPrivilege(String);

impl fmt::Display for UnknownPrivilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not a privilege; see `GET /api/v1/privileges`",
            self.0
        )
    }
}

impl std::error::Error for UnknownPrivilege {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn b10_each_privilege_has_a_text_of_its_own_that_parses_back() {
        let texts: BTreeSet<_> = Privilege::ALL
            .iter()
            .map(|privilege| privilege.as_str())
            .collect();
        assert_eq!(texts.len(), Privilege::ALL.len());
        for privilege in Privilege::ALL {
            assert_eq!(privilege.as_str().parse(), Ok(*privilege));
        }
    }
}
