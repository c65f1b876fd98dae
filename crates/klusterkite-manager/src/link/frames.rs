//! Frames of a WebSocket (RFC 6455), the server's side: bytes in, messages out, and back.

use klusterkite_wire::link::FRAME_BYTES_MAX;

/// Longest head of a frame: two bytes, eight of length, four of mask.
const HEAD_BYTES_MAX: usize = 14;

/// Largest payload of a control frame (RFC 6455 5.5).
const CONTROL_BYTES_MAX: usize = 125;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Close code for what breaks the frames themselves (RFC 6455 7.4.1).
const PROTOCOL_ERROR: u16 = 1002;

/// Close code for messages that are not to be.
const POLICY: u16 = 1008;

/// Close code for messages that are too long.
const TOO_BIG: u16 = 1009;

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// A whole message; whether it is UTF-8 is seen by whoever reads it.
    Text(Vec<u8>),
    /// To be answered by [`pong`].
    Ping(Vec<u8>),
    /// To be answered by [`close_answer`]; nothing follows.
    Close,
}

/// Why a link ends that does not keep the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wrong {
    code: u16,
    pub(super) reason: &'static str,
}

impl Wrong {
    const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason }
    }

    /// Returns the frame that says so.
    pub(super) fn frame(self) -> Vec<u8> {
        close_with(self.code, self.reason)
    }
}

/// Puts messages together from bytes as they come. What it holds is bounded by the largest message.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// What has come and is no whole frame yet.
    pub(super) bytes: Vec<u8>,
    /// The pieces of a message whose last one has not come.
    pieces: Option<Vec<u8>>,
}

impl Reader {
    /// Makes a reader of what has come already.
    pub(super) fn begun(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            pieces: None,
        }
    }

    /// Returns the next message that is complete.
    pub(super) fn next(&mut self) -> Result<Option<Said>, Wrong> {
        while let Some(head) = Head::read(&self.bytes)? {
            let earlier = self.pieces.as_ref().map_or(0, Vec::len);
            if head.length > FRAME_BYTES_MAX - earlier {
                return Err(Wrong::new(TOO_BIG, "a message is too long"));
            }
            let end = head.bytes + head.length;
            if self.bytes.len() < end {
                return Ok(None);
            }
            let payload = unmasked(&self.bytes[head.bytes..end], head.mask);
            if self.bytes.len() == end {
                // Ten thousand idle links hold nothing.
                self.bytes = Vec::new();
            } else {
                self.bytes.drain(..end);
            }
            if let Some(said) = self.take(&head, payload)? {
                return Ok(Some(said));
            }
        }
        Ok(None)
    }

    fn take(&mut self, head: &Head, payload: Vec<u8>) -> Result<Option<Said>, Wrong> {
        match (head.opcode, self.pieces.as_mut()) {
            (TEXT, None) if head.is_final => Ok(Some(Said::Text(payload))),
            (TEXT, None) => {
                self.pieces = Some(payload);
                Ok(None)
            }
            (CONTINUATION, Some(pieces)) => {
                pieces.extend_from_slice(&payload);
                Ok(head
                    .is_final
                    .then(|| Said::Text(self.pieces.take().unwrap_or_default())))
            }
            (TEXT, Some(_)) | (CONTINUATION, None) => {
                Err(Wrong::new(PROTOCOL_ERROR, "a piece of no message"))
            }
            (BINARY, _) => Err(Wrong::new(POLICY, "a binary frame")),
            (CLOSE, _) => Ok(Some(Said::Close)),
            (PING, _) => Ok(Some(Said::Ping(payload))),
            (PONG, _) => Ok(None),
            _ => Err(Wrong::new(PROTOCOL_ERROR, "a frame of no known kind")),
        }
    }
}

/// What stands before the payload of a frame.
struct Head {
    is_final: bool,
    opcode: u8,
    mask: [u8; 4],
    /// Length of the payload.
    length: usize,
    /// Length of the head itself.
    bytes: usize,
}

impl Head {
    /// Reads it when all of it is there.
    fn read(bytes: &[u8]) -> Result<Option<Self>, Wrong> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let opcode = first & 0x0f;
        if first & 0x70 != 0 {
            return Err(Wrong::new(PROTOCOL_ERROR, "a frame with an extension"));
        }
        if second & MASKED == 0 {
            return Err(Wrong::new(PROTOCOL_ERROR, "a frame without a mask"));
        }
        let is_final = first & FINAL != 0;
        let short = usize::from(second & 0x7f);
        if opcode >= CLOSE && (!is_final || short > CONTROL_BYTES_MAX) {
            return Err(Wrong::new(PROTOCOL_ERROR, "a control frame is too long"));
        }
        let (length, rest) = match short {
            126 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            short => (short as u64, rest),
        };
        let Some((mask, rest)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        Ok(Some(Self {
            is_final,
            opcode,
            mask: *mask,
            length,
            bytes: bytes.len() - rest.len(),
        }))
    }
}

fn unmasked(payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mask = mask.iter().cycle();
    payload
        .iter()
        .zip(mask)
        .map(|(byte, mask)| byte ^ mask)
        .collect()
}

/// Writes a message.
pub(super) fn text(payload: &[u8]) -> Vec<u8> {
    frame(TEXT, payload)
}

/// Writes the answer to a ping.
pub(super) fn pong(payload: &[u8]) -> Vec<u8> {
    frame(PONG, payload)
}

/// Writes the answer to a close.
pub(super) fn close_answer() -> Vec<u8> {
    frame(CLOSE, &[])
}

/// Writes why the link is closed; the client's messages were understood and are not to be.
pub(super) fn close(reason: &str) -> Vec<u8> {
    close_with(POLICY, reason)
}

fn close_with(code: u16, reason: &str) -> Vec<u8> {
    // A control frame holds at most 125 bytes, two of them are the code.
    let reason = reason.chars().filter(char::is_ascii);
    let reason = reason.take(CONTROL_BYTES_MAX - 2).map(|char| char as u8);
    let payload: Vec<u8> = code.to_be_bytes().into_iter().chain(reason).collect();
    frame(CLOSE, &payload)
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD_BYTES_MAX + payload.len());
    frame.push(FINAL | opcode);
    match payload.len() {
        length @ ..126 => frame.push(length as u8),
        length @ ..65_536 => {
            frame.push(126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a frame as a client does.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = frame(first & 0x0f, payload);
        bytes[0] = first;
        bytes[1] |= MASKED;
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let head = bytes.len() - payload.len();
        bytes.truncate(head);
        bytes.extend_from_slice(&mask);
        bytes.extend(unmasked(payload, mask));
        bytes
    }

    fn read_all(pieces: &[&[u8]]) -> Result<Vec<Said>, Wrong> {
        let (mut reader, mut all) = (Reader::default(), Vec::new());
        for piece in pieces {
            reader.bytes.extend_from_slice(piece);
            while let Some(said) = reader.next()? {
                all.push(said);
            }
        }
        Ok(all)
    }

    #[test]
    fn messages_of_all_lengths_come_whole_and_byte_by_byte() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            let payload = vec![b'a'; length];
            let bytes = masked(FINAL | TEXT, &payload);
            assert_eq!(
                read_all(&[&bytes]).unwrap(),
                [Said::Text(payload.clone())],
                "{length}"
            );
            let single: Vec<&[u8]> = bytes.chunks(if length < 200 { 1 } else { 999 }).collect();
            assert_eq!(
                read_all(&single).unwrap(),
                [Said::Text(payload)],
                "{length}"
            );
        }
    }

    #[test]
    fn the_example_of_the_standard_is_read() {
        let hello = [
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        assert_eq!(
            read_all(&[&hello]).unwrap(),
            [Said::Text(b"Hello".to_vec())]
        );
        assert_eq!(text(b"Hello"), b"\x81\x05Hello");
    }

    #[test]
    fn control_frames_come_between_the_pieces_of_a_message() {
        let bytes = [
            masked(TEXT, b"Hel"),
            masked(FINAL | PING, b"?"),
            masked(FINAL | PONG, b"!"),
            masked(CONTINUATION, b"l"),
            masked(FINAL | CONTINUATION, b"o"),
            masked(FINAL | CLOSE, &1000_u16.to_be_bytes()),
        ]
        .concat();
        let expected = [
            Said::Ping(b"?".to_vec()),
            Said::Text(b"Hello".to_vec()),
            Said::Close,
        ];
        assert_eq!(read_all(&[&bytes]).unwrap(), expected);
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        let long = masked(FINAL | PING, &[0; 126]);
        let too_much = FRAME_BYTES_MAX as u64 + 1;
        let head = [&[0x81, 0xff][..], &too_much.to_be_bytes(), &[0; 4]].concat();
        let endless = [&[0x81, 0xff][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat();
        let half = masked(TEXT, &vec![0; FRAME_BYTES_MAX / 2 + 1]);
        let more = masked(CONTINUATION, &vec![0; FRAME_BYTES_MAX / 2]);
        for (pieces, expected) in [
            (vec![&b"\x81\x05Hello"[..]], "without a mask"),
            (vec![&masked(FINAL | 0x40 | TEXT, b"")[..]], "extension"),
            (vec![&masked(FINAL | BINARY, b"")[..]], "binary"),
            (vec![&masked(FINAL | 0x3, b"")[..]], "no known kind"),
            (vec![&masked(FINAL | 0xb, b"")[..]], "no known kind"),
            (vec![&masked(FINAL | CONTINUATION, b"")[..]], "no message"),
            (
                vec![&masked(TEXT, b"")[..], &masked(FINAL | TEXT, b"")[..]],
                "no message",
            ),
            (vec![&masked(PING, b"")[..]], "control"),
            (vec![&long[..]], "control"),
            (vec![&head[..]], "too long"),
            (vec![&endless[..]], "too long"),
            (vec![&half[..], &more[..]], "too long"),
        ] {
            let wrong = read_all(&pieces).unwrap_err();
            assert!(wrong.reason.contains(expected), "{wrong:?}: {expected}");
        }
    }

    #[test]
    fn a_reason_fits_into_a_control_frame() {
        let frame = close(&"x\u{e4}".repeat(1000));
        assert_eq!(frame.len(), 2 + CONTROL_BYTES_MAX);
        assert_eq!(frame[2..4], POLICY.to_be_bytes());
    }
}
