//! Lists of members, for links that watch some roles and for clients that ask: filtered and written once per change and
//! roles, not once per link or client.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use axum::body::Bytes;
use klusterkite_wire::link::{ManagerMessage, Member, Members};
use serde::Serialize;

use super::frames;

/// Lists that are kept: nodes of one template watch the same roles, few templates watch any, and clients ask for a handful.
const LISTS_MAX: usize = 64;

/// Stands for all roles.
const ANY_ROLE: &str = "*";

/// The lists of the newest members, and older ones that links were told last, by their roles.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<BTreeMap<Vec<String>, List>>);

/// The members that have one of some roles.
#[derive(Debug)]
struct List {
    /// The newest version that has this list.
    version: u64,
    /// What links are told, with the oldest version that has this list. They hold it as long as it is true.
    frame: Bytes,
    /// Where the members stand in it.
    members: Range<usize>,
    /// What clients are answered, with the newest version: they wait for a larger one.
    answer: Option<Bytes>,
}

impl Board {
    /// Returns the frame with the members of these roles. As long as their list stays the same the frame does, too: it
    /// lies at the same place.
    pub(super) fn frame(&self, all: &Members, roles: &[String]) -> Bytes {
        self.with(all, roles, |list| list.frame.clone())
    }

    /// Returns the members with a role, or all, as JSON.
    pub(crate) fn answer(&self, all: &Members, role: Option<&str>) -> Bytes {
        let roles = [role.unwrap_or(ANY_ROLE).to_owned()];
        self.with(all, &roles, |list| list.answer().clone())
    }

    fn with<T>(&self, all: &Members, roles: &[String], take: impl FnOnce(&mut List) -> T) -> T {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = lists.get_mut(roles)
            && list.version == all.version
        {
            return take(list);
        }
        let members = json(&with_role(all, roles));
        if let Some(list) = lists.get_mut(roles)
            && list.members() == members
        {
            list.version = all.version;
            list.answer = None;
            return take(list);
        }
        lists.remove(roles);
        lists.retain(|_, list| list.version == all.version || list.is_held());
        if lists.len() >= LISTS_MAX {
            // One that nobody holds makes room.
            lists.extract_if(.., |_, list| !list.is_held()).next();
        }
        let mut list = List::new(all.version, &members);
        let taken = take(&mut list);
        if lists.len() < LISTS_MAX {
            lists.insert(roles.to_vec(), list);
        }
        taken
    }
}

impl List {
    fn new(version: u64, members: &[u8]) -> Self {
        let payload = with_members(version, ManagerMessage::Members, members);
        let frame: Bytes = frames::text(&payload).into();
        // Behind them is only the end of the message.
        let end = frame.len() - 1;
        Self {
            version,
            members: end - members.len()..end,
            frame,
            answer: None,
        }
    }

    fn members(&self) -> &[u8] {
        &self.frame[self.members.clone()]
    }

    /// Tells whether some link was told this last.
    fn is_held(&self) -> bool {
        !self.frame.is_unique()
    }

    fn answer(&mut self) -> &Bytes {
        let members = &self.frame[self.members.clone()];
        self.answer
            .get_or_insert_with(|| with_members(self.version, |of| of, members).into())
    }
}

/// Writes a message about members that are written already.
fn with_members<T: Serialize>(
    version: u64,
    message: impl FnOnce(Members) -> T,
    members: &[u8],
) -> Vec<u8> {
    let nobody = Members {
        version,
        members: Vec::new(),
    };
    let nobody = json(&message(nobody));
    let before = nobody.strip_suffix(b"[]}");
    let before = before.expect("the members are the last field");
    [before, members, b"}"].concat()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("it has only text for keys")
}

/// Returns the members that have one of these roles.
fn with_role<'a>(all: &'a Members, roles: &[String]) -> Vec<&'a Member> {
    let is_asked = |role: &String| roles.contains(role);
    let is_any = roles.iter().any(|role| role == ANY_ROLE);
    let is_listed = |member: &&Member| is_any || member.roles.iter().any(is_asked);
    all.members.iter().filter(is_listed).collect()
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

    fn answered(board: &Board, all: &Members, role: Option<&str>) -> Members {
        serde_json::from_slice(&board.answer(all, role)).unwrap()
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
    fn clients_that_ask_for_the_same_role_get_the_same_bytes() {
        let board = Board::default();
        let first = members(7, &["a", "b"]);
        assert_eq!(answered(&board, &first, None), first);
        assert_eq!(
            answered(&board, &first, Some("a")).members,
            first.members[..1]
        );
        assert!(answered(&board, &first, Some("c")).members.is_empty());
        let (once, again) = (
            board.answer(&first, Some("a")),
            board.answer(&first, Some("a")),
        );
        assert_eq!(once.as_ptr(), again.as_ptr());
    }

    #[test]
    fn who_asks_hears_the_newest_version_of_a_list_that_stays_the_same() {
        let board = Board::default();
        let (told, ..) = list(&board, &members(7, &["a", "b"]), &["a"]);
        for (version, others) in [(8, vec!["a", "b", "b"]), (9, vec!["a"])] {
            let all = members(version, &others);
            let answer = answered(&board, &all, Some("a"));
            assert_eq!((answer.version, answer.members.len()), (version, 1));
            assert_eq!(list(&board, &all, &["a"]).0.as_ptr(), told.as_ptr());
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_links_were_told_stays_longest() {
        let kept = |board: &Board| board.0.lock().unwrap().len();
        let board = Board::default();
        let all = members(7, &["a"]);
        let (told, ..) = list(&board, &all, &["a"]);
        for number in 0..2 * LISTS_MAX {
            board.answer(&all, Some(&number.to_string()));
        }
        assert_eq!(kept(&board), LISTS_MAX);
        let later = members(8, &["a"]);
        board.answer(&later, Some("b"));
        assert_eq!(kept(&board), 2, "those that nobody holds are gone");
        assert_eq!(list(&board, &later, &["a"]).0.as_ptr(), told.as_ptr());

        let watch = |number: usize| list(&board, &later, &["a", &number.to_string()]);
        let held: Vec<_> = (0..2 * LISTS_MAX).map(watch).collect();
        assert_eq!(held[2 * LISTS_MAX - 1].2, 1);
        assert_eq!(kept(&board), LISTS_MAX);
        drop((held, told));
        board.answer(&members(9, &["a"]), None);
        assert_eq!(kept(&board), 1);
    }
}
