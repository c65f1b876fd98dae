//! One line as a call, and the codes of the answers: the same for everyone who serves this protocol.

use klusterkite_wire::migrator::{LINE_BYTES_MAX, RpcMessage};
use serde_json::Value;

/// JSON-RPC: the line is not JSON.
pub const NOT_JSON: i64 = -32_700;
/// JSON-RPC: JSON that is no request, or a request at the wrong time.
pub const NOT_A_REQUEST: i64 = -32_600;
/// JSON-RPC: a method that the program does not have.
pub const UNKNOWN_METHOD: i64 = -32_601;
/// JSON-RPC: parameters that the method does not understand, or that name what is not there.
pub const BAD_PARAMS: i64 = -32_602;
/// The call failed.
pub const FAILED: i64 = -32_000;

/// A message that asks for something; without an id it is a notification, which nobody answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Number of the request, for its answer.
    pub id: Option<u64>,
    /// The method.
    pub method: String,
    /// Its parameters; null when there are none.
    pub params: Value,
}

/// Why a line is no call, and the number it gave itself, if it could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The number that the line gave itself.
    pub id: Option<u64>,
    /// JSON-RPC code.
    pub code: i64,
    /// What is wrong.
    pub message: String,
}

impl Refusal {
    /// Refuses a line of `length` bytes.
    pub fn too_long(length: u64) -> Self {
        Self {
            id: None,
            code: NOT_JSON,
            message: format!("the line has {length} bytes, more than {LINE_BYTES_MAX}"),
        }
    }

    /// Makes the answer.
    pub fn into_answer(self) -> RpcMessage {
        RpcMessage::error(self.id, self.code, self.message)
    }
}

/// Reads one line as a call.
pub fn parse_call(line: &[u8]) -> Result<Call, Refusal> {
    let value: Value = serde_json::from_slice(line).map_err(|error| Refusal {
        id: None,
        code: NOT_JSON,
        message: format!("the line is not JSON: {error}"),
    })?;
    let id = value.get("id").and_then(Value::as_u64);
    let refuse = |message: String| Refusal {
        id,
        code: NOT_A_REQUEST,
        message,
    };
    let message: RpcMessage = serde_json::from_value(value)
        .map_err(|error| refuse(format!("the line is not a JSON-RPC message: {error}")))?;
    if message.jsonrpc != "2.0" {
        return Err(refuse("`jsonrpc` is not `2.0`".to_owned()));
    }
    let Some(method) = message.method else {
        return Err(refuse("the message has no `method`".to_owned()));
    };
    Ok(Call {
        id: message.id,
        method,
        params: message.params.unwrap_or(Value::Null),
    })
}
