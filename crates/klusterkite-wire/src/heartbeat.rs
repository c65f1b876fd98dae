//! Heartbeats and their answers as text, without a parser around them: of ten thousand nodes a manager reads thousands
//! a second.
//!
//! Both are what [`NodeMessage::Heartbeat`] and [`ManagerMessage::Lease`] are in JSON; a heartbeat that is written
//! otherwise is as good, and is read as JSON.
//!
//! [`NodeMessage::Heartbeat`]: crate::link::NodeMessage::Heartbeat
//! [`ManagerMessage::Lease`]: crate::link::ManagerMessage::Lease

/// Reads the number of a heartbeat in its usual form; `None` for anything else.
pub fn heartbeat_seq(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(br#"{"type":"heartbeat","seq":"#)?;
    let digits = digits.strip_suffix(b"}")?;
    // JSON has no leading zeros and no signs.
    let is_number = match digits {
        [b'0'] => true,
        [b'1'..=b'9', more @ ..] => more.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_number.then(|| str::from_utf8(digits).ok()?.parse().ok())?
}

/// Writes the answer to a heartbeat.
pub fn lease_text(lease_seconds: u32, seq: u64) -> String {
    format!(r#"{{"type":"lease","leaseSeconds":{lease_seconds},"seq":{seq}}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{ManagerMessage, NodeMessage};

    #[test]
    fn both_are_what_json_makes_of_the_messages() {
        for seq in [0, 1, 10, 4_294_967_296, u64::MAX] {
            let text = serde_json::to_vec(&NodeMessage::Heartbeat { seq }).unwrap();
            assert_eq!(heartbeat_seq(&text), Some(seq));
            let lease_seconds = 10;
            let lease = ManagerMessage::Lease { lease_seconds, seq };
            let text = serde_json::to_string(&lease).unwrap();
            assert_eq!(lease_text(lease_seconds, seq), text);
        }
    }

    #[test]
    fn whatever_is_not_exactly_a_heartbeat_is_left_to_the_parser() {
        for text in [
            "",
            "{}",
            r#"{"type":"heartbeat","seq":}"#,
            r#"{"type":"heartbeat","seq":-1}"#,
            r#"{"type":"heartbeat","seq":+1}"#,
            r#"{"type":"heartbeat","seq":01}"#,
            r#"{"type":"heartbeat","seq":1.0}"#,
            r#"{"type":"heartbeat","seq":18446744073709551616}"#,
            r#"{"type":"heartbeat","seq":1,"more":2}"#,
            r#"{"seq":1,"type":"heartbeat"}"#,
            r#"{"type":"heartbeat","seq":1} "#,
        ] {
            assert_eq!(heartbeat_seq(text.as_bytes()), None, "{text}");
        }
    }
}
