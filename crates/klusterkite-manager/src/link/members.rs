//! What links are told of the members: filtered and written once per change, not once per link.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::body::Bytes;
use klusterkite_wire::link::{ManagerMessage, Member, Members};

use super::frames;

/// Lists that are kept; nodes of one template watch the same roles, and few templates watch any.
const LISTS_MAX: usize = 16;

/// The lists that watching links were told last, by the roles that they watch.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<BTreeMap<Vec<String>, Told>>);

/// A list as it was written.
#[derive(Debug)]
struct Told {
    /// The version that is in it.
    version: u64,
    /// The newest version that has the same list.
    holds_for: u64,
    frame: Bytes,
}

impl Board {
    /// Returns the frame with the members of these roles. As long as their list stays the same the frame does, too: it
    /// lies at the same place.
    pub(super) fn frame(&self, all: &Members, roles: &[String]) -> Bytes {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = lists.get(roles)
            && told.holds_for == all.version
        {
            return told.frame.clone();
        }
        let mut members = watched(all, roles);
        if let Some(told) = lists.get_mut(roles) {
            members.version = told.version;
            let (again, list) = written(members);
            if again == told.frame {
                told.holds_for = all.version;
                return told.frame.clone();
            }
            members = list;
            members.version = all.version;
        }
        let (frame, _) = written(members);
        if lists.len() < LISTS_MAX || lists.contains_key(roles) {
            let told = Told {
                version: all.version,
                holds_for: all.version,
                frame: frame.clone(),
            };
            lists.insert(roles.to_vec(), told);
        }
        frame
    }
}

/// Returns the frame with a list, and the list.
fn written(members: Members) -> (Bytes, Members) {
    let message = ManagerMessage::Members(members);
    let text = serde_json::to_vec(&message).expect("it has only text for keys");
    let ManagerMessage::Members(members) = message else {
        unreachable!("it was made of members");
    };
    (frames::text(&text).into(), members)
}

/// Returns the members of the watched roles.
fn watched(all: &Members, roles: &[String]) -> Members {
    let is_watched = |role: &String| roles.contains(role);
    let is_any = roles.iter().any(|role| role == "*");
    let is_told = |member: &&Member| is_any || member.roles.iter().any(is_watched);
    Members {
        version: all.version,
        members: all.members.iter().filter(is_told).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use klusterkite_wire::NodeId;

    use super::*;

    fn members(version: u64, roles: &[&str]) -> Members {
        let member = |(number, role): (usize, &&str)| Member {
            node_id: NodeId::from_random_bytes([number as u8; 16]),
            template: "hello".parse().unwrap(),
            roles: vec![(*role).to_owned()],
            address: String::new(),
            endpoints: Vec::new(),
        };
        Members {
            version,
            members: roles.iter().enumerate().map(member).collect(),
        }
    }

    fn list(board: &Board, all: &Members, roles: &[&str]) -> (Bytes, u64, usize) {
        let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
        let frame = board.frame(all, &roles);
        let start = frame.iter().position(|byte| *byte == b'{').unwrap();
        let ManagerMessage::Members(told) = serde_json::from_slice(&frame[start..]).unwrap() else {
            panic!("members are told");
        };
        (frame, told.version, told.members.len())
    }

    #[test]
    fn links_that_watch_the_same_roles_get_the_same_frame() {
        let board = Board::default();
        let all = members(7, &["a", "b", "a"]);
        let (first, version, count) = list(&board, &all, &["a"]);
        assert_eq!((version, count), (7, 2));
        let (again, ..) = list(&board, &all, &["a"]);
        assert_eq!(first.as_ptr(), again.as_ptr());
        assert_eq!(list(&board, &all, &["*"]).2, 3);
        assert_eq!(list(&board, &all, &["b", "c"]).2, 1);
    }

    #[test]
    fn a_list_that_stays_the_same_is_not_told_again() {
        let board = Board::default();
        let (first, ..) = list(&board, &members(7, &["a", "b"]), &["a"]);
        // Somebody else came.
        let (same, version, _) = list(&board, &members(8, &["a", "b", "b"]), &["a"]);
        assert_eq!((same.as_ptr(), version), (first.as_ptr(), 7));
        let (same, ..) = list(&board, &members(9, &["a"]), &["a"]);
        assert_eq!(same.as_ptr(), first.as_ptr());
        let (other, version, count) = list(&board, &members(10, &["a", "a"]), &["a"]);
        assert_ne!(other.as_ptr(), first.as_ptr());
        assert_eq!((version, count), (10, 2));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let board = Board::default();
        let all = members(7, &["a"]);
        for number in 0..2 * LISTS_MAX {
            assert_eq!(list(&board, &all, &["a", &number.to_string()]).2, 1);
        }
        assert_eq!(board.0.lock().unwrap().len(), LISTS_MAX);
    }
}
