//! Which upstream may be asked for which package.
//!
//! The danger is a package of ours whose name somebody else registers at a public feed with a
//! higher version: whoever asks this feed for the id would get theirs. So ids that exist here are
//! never looked for elsewhere unless the settings say so.

/// What an upstream is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The beginnings of the ids that are looked for, in lower case; empty for all.
    pub prefixes: Vec<String>,
    /// The beginnings of the ids that are never looked for, in lower case.
    pub except: Vec<String>,
    /// Whether ids are looked for that exist in this feed, or existed.
    pub local_ids: bool,
}

impl Policy {
    /// Tells whether the upstream may be asked for an id (in lower case) that is or is not known
    /// to this feed as its own.
    pub(crate) fn allows(&self, id: &str, is_local: bool) -> bool {
        let starts = |prefixes: &[String]| prefixes.iter().any(|prefix| id.starts_with(prefix));
        (self.prefixes.is_empty() || starts(&self.prefixes))
            && !starts(&self.except)
            && (self.local_ids || !is_local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_looked_for_only_where_the_settings_say() {
        let policy = |prefixes: &[&str], except: &[&str], local_ids| Policy {
            prefixes: prefixes.iter().map(|&prefix| prefix.to_owned()).collect(),
            except: except.iter().map(|&prefix| prefix.to_owned()).collect(),
            local_ids,
        };
        for (policy, id, is_local, expected) in [
            (policy(&[], &[], false), "other", false, true),
            (policy(&[], &[], false), "ours", true, false),
            (policy(&[], &[], true), "ours", true, true),
            (
                policy(&["serilog"], &[], false),
                "serilog.sinks",
                false,
                true,
            ),
            (policy(&["serilog"], &[], false), "other", false, false),
            (policy(&["serilog"], &[], true), "other", true, false),
            (policy(&[], &["acme."], false), "acme.orders", false, false),
            (
                policy(&["acme."], &["acme.own"], true),
                "acme.own.x",
                false,
                false,
            ),
            (
                policy(&["acme."], &["acme.own"], false),
                "acme.x",
                false,
                true,
            ),
        ] {
            assert_eq!(policy.allows(id, is_local), expected, "{policy:?} {id}");
        }
    }
}
