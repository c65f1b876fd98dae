//! The protocol as a loop over a reader and a writer; knows no process.
//!
//! Each line is one JSON-RPC 2.0 message. Anything that is not a request of the protocol gets an error answer and the
//! loop goes on; the loop ends when the reader ends, after `shutdown`, and after a handler panicked.

use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use klusterkite_wire::migrator::{
    CurrentPointParams, InitializeParams, LINE_BYTES_MAX, MIGRATOR_PROTOCOL, MigrateParams,
    MigrateResult, MigratorDescription, ResourceAnswer, RpcMessage, SeederDescription,
};
use klusterkite_wire::{Point, ResourceCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::line::{Line, LineReader};
use crate::points::check_description;
use crate::progress::write_message;
use crate::request::{
    BAD_PARAMS, Call, FAILED, NOT_A_REQUEST, Refusal, UNKNOWN_METHOD, parse_call,
};
use crate::{Error, Failure, Migrator, Progress, Resource, Seeder, chain};

/// Serves a migrator until the reader ends or `shutdown` was answered.
pub fn serve_migrator(
    migrator: &mut impl Migrator,
    reader: impl BufRead,
    mut writer: impl Write,
) -> Result<(), Error> {
    let mut handler = MigratorHandler {
        migrator,
        description: None,
    };
    serve(&mut handler, reader, &mut writer)
}

/// Serves a seeder until the reader ends or `shutdown` was answered.
pub fn serve_seeder(
    seeder: &mut impl Seeder,
    reader: impl BufRead,
    mut writer: impl Write,
) -> Result<(), Error> {
    serve(&mut SeederHandler(seeder), reader, &mut writer)
}

/// Serves a program that could not be made: every call fails with the reason, so that an operator reads it.
pub fn serve_failure(
    failure: &Failure,
    reader: impl BufRead,
    mut writer: impl Write,
) -> Result<(), Error> {
    let mut handler = FailedHandler(chain(failure.as_ref()));
    serve(&mut handler, reader, &mut writer)
}

/// An answer other than a result.
struct CallError {
    code: i64,
    message: String,
}

type CallResult = Result<Value, CallError>;

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        Self {
            code: FAILED,
            message: chain(failure.as_ref()),
        }
    }
}

fn bad_params(message: impl Into<String>) -> CallError {
    CallError {
        code: BAD_PARAMS,
        message: message.into(),
    }
}

/// What a program does with a call.
trait Handler {
    fn call(&mut self, method: &str, params: Value, progress: &mut Progress<'_>) -> CallResult;
}

fn serve(
    handler: &mut dyn Handler,
    reader: impl BufRead,
    writer: &mut dyn Write,
) -> Result<(), Error> {
    let mut lines = LineReader::new(reader, LINE_BYTES_MAX);
    loop {
        let request = match lines.read().map_err(Error::Read)? {
            Line::End => return Ok(()),
            Line::TooLong(length) => Err(Refusal::too_long(length)),
            Line::Text(line) if line.trim_ascii().is_empty() => continue,
            Line::Text(line) => parse_call(&line),
        };
        let (answer, end) = match request {
            Err(refusal) => (refusal.into_answer(), None),
            Ok(Call { id: None, .. }) => continue,
            Ok(Call {
                id: Some(id),
                method,
                params,
            }) => call(handler, id, &method, params, writer)?,
        };
        write_message(writer, &answer).map_err(Error::Write)?;
        if let Some(result) = end {
            return result;
        }
    }
}

/// Calls the handler; gives the answer and, when the loop has to end after it, how it ends.
fn call(
    handler: &mut dyn Handler,
    id: u64,
    method: &str,
    params: Value,
    writer: &mut dyn Write,
) -> Result<(RpcMessage, Option<Result<(), Error>>), Error> {
    if method == "shutdown" {
        return Ok((RpcMessage::result(id, Value::Null), Some(Ok(()))));
    }
    let mut progress = Progress::new(writer);
    let called = catch_unwind(AssertUnwindSafe(|| {
        handler.call(method, params, &mut progress)
    }));
    progress.into_result().map_err(Error::Write)?;
    let message = match called {
        Ok(result) => return Ok((answer(id, method, result), None)),
        Err(panic) => panic_message(panic.as_ref()),
    };
    let error = Error::Panicked {
        method: method.to_owned(),
        message,
    };
    let answer = RpcMessage::error(Some(id), FAILED, error.to_string());
    Ok((answer, Some(Err(error))))
}

/// Makes the answer; one that no reader would accept becomes an error that says so.
fn answer(id: u64, method: &str, result: CallResult) -> RpcMessage {
    let answer = match result {
        Ok(value) => RpcMessage::result(id, value),
        Err(error) => RpcMessage::error(Some(id), error.code, error.message),
    };
    let length = serde_json::to_vec(&answer).map_or(usize::MAX, |line| line.len());
    if length <= LINE_BYTES_MAX {
        return answer;
    }
    let message =
        format!("the answer to `{method}` has {length} bytes, more than {LINE_BYTES_MAX}");
    RpcMessage::error(Some(id), FAILED, message)
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

fn read_params<T: DeserializeOwned>(params: Value) -> Result<T, CallError> {
    serde_json::from_value(params).map_err(|error| bad_params(format!("bad parameters: {error}")))
}

fn value<T: Serialize>(result: &T) -> CallResult {
    serde_json::to_value(result).map_err(|error| CallError::from(Failure::from(error)))
}

fn unknown_method(method: &str) -> CallError {
    let mut message = format!("method `{method}` is not known");
    crate::error::cut(&mut message, 200);
    CallError {
        code: UNKNOWN_METHOD,
        message,
    }
}

fn check_protocol(params: Value) -> Result<(), CallError> {
    let params: InitializeParams = read_params(params)?;
    if params.protocol == MIGRATOR_PROTOCOL {
        return Ok(());
    }
    Err(bad_params(Error::Protocol(params.protocol).to_string()))
}

struct MigratorHandler<'a, M> {
    migrator: &'a mut M,
    description: Option<MigratorDescription>,
}

impl<M: Migrator> Handler for MigratorHandler<'_, M> {
    fn call(&mut self, method: &str, params: Value, progress: &mut Progress<'_>) -> CallResult {
        if method == "initialize" {
            check_protocol(params)?;
            let description = self.migrator.describe()?;
            check_description(&description)
                .map_err(|error| CallError::from(Failure::from(error)))?;
            return value(self.description.insert(description));
        }
        if !matches!(method, "resources" | "currentPoint" | "migrate") {
            return Err(unknown_method(method));
        }
        let Some(description) = &self.description else {
            return Err(CallError {
                code: NOT_A_REQUEST,
                message: format!("`initialize` has to come before `{method}`"),
            });
        };
        let points = description.points.clone();
        match method {
            "resources" => value(&self.resources()?),
            "currentPoint" => {
                let CurrentPointParams { resource } = read_params(params)?;
                self.find(&resource)?;
                value(&self.migrator.current_point(&resource)?)
            }
            _ => self.migrate(&read_params(params)?, points, progress),
        }
    }
}

impl<M: Migrator> MigratorHandler<'_, M> {
    fn resources(&mut self) -> Result<Vec<ResourceAnswer>, CallError> {
        let resources = self.listed()?;
        let answers = resources.into_iter().map(|Resource { code, name }| {
            let read = self.migrator.current_point(&code);
            let (current_point, error) = match read {
                Ok(point) => (point, None),
                Err(failure) => (None, Some(chain(failure.as_ref()))),
            };
            ResourceAnswer {
                code,
                name,
                current_point,
                error,
            }
        });
        Ok(answers.collect())
    }

    fn listed(&mut self) -> Result<Vec<Resource>, CallError> {
        let resources = self.migrator.resources()?;
        let mut seen = BTreeSet::new();
        for resource in &resources {
            if !seen.insert(&resource.code) {
                return Err(CallError {
                    code: FAILED,
                    message: format!("resource `{}` is listed twice", resource.code),
                });
            }
        }
        Ok(resources)
    }

    fn find(&mut self, code: &ResourceCode) -> Result<(), CallError> {
        let resources = self.listed()?;
        if resources.iter().any(|resource| resource.code == *code) {
            return Ok(());
        }
        let message = format!("resource `{code}` is not one of the migrator's resources");
        Err(bad_params(message))
    }

    fn migrate(
        &mut self,
        order: &MigrateParams,
        points: Vec<Point>,
        progress: &mut Progress<'_>,
    ) -> CallResult {
        self.find(&order.resource)?;
        if !points.contains(&order.point) {
            let point = order.point.clone();
            let error = Error::UnknownPoint {
                point,
                known: points,
            };
            return Err(bad_params(error.to_string()));
        }
        self.migrator.migrate(order, progress)?;
        let point = order.point.clone();
        if order.dry_run {
            return value(&MigrateResult { point });
        }
        // What counts is where the resource is, not that nothing failed on the way.
        let reached = self.migrator.current_point(&order.resource)?;
        if reached.as_ref() == Some(&point) {
            return value(&MigrateResult { point });
        }
        let reached = reached.map_or("not created".to_owned(), |point| format!("at `{point}`"));
        let message = format!(
            "resource `{}` is {reached} after the move to `{point}`",
            order.resource
        );
        Err(CallError {
            code: FAILED,
            message,
        })
    }
}

struct SeederHandler<'a, S>(&'a mut S);

impl<S: Seeder> Handler for SeederHandler<'_, S> {
    fn call(&mut self, method: &str, params: Value, progress: &mut Progress<'_>) -> CallResult {
        match method {
            "initialize" => {
                check_protocol(params)?;
                value(&SeederDescription {
                    protocol: MIGRATOR_PROTOCOL,
                    name: self.0.name(),
                })
            }
            "seed" => value(&self.0.seed(progress)?),
            _ => Err(unknown_method(method)),
        }
    }
}

struct FailedHandler(String);

impl Handler for FailedHandler {
    fn call(&mut self, _: &str, _: Value, _: &mut Progress<'_>) -> CallResult {
        Err(CallError {
            code: FAILED,
            message: self.0.clone(),
        })
    }
}
