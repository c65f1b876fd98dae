//! Reads the objects of a manifest.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use klusterkite_hocon::Config;

use crate::cursor::Cursor;
use crate::error::Error;
use crate::spec::{
    CommandSpec, EndpointSpec, Limits, Probe, ProbeKind, ProcessSpec, StopHook, StopSignal,
    StopSpec,
};

/// How many words a command may have; operating systems stop at some hundred KiB anyway.
const COMMAND_WORDS_MAX: usize = 1000;

/// How often a process may be restarted in place; who wants more wants the node never to fail.
const RESTARTS_MAX: u32 = 1000;

/// Time between two probes when the manifest does not say.
const INTERVAL: Duration = Duration::from_secs(1);
/// Below, probes would be a load; above, they would be of no use.
const INTERVAL_RANGE: RangeInclusive<Duration> =
    Duration::from_millis(20)..=Duration::from_hours(1);
/// Time for one probe when the manifest does not say.
const TIMEOUT: Duration = Duration::from_secs(1);
const TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_mins(10);
/// Failures in a row when the manifest does not say: one lost packet is no failure.
const FAILURES: u32 = 3;
const FAILURES_MAX: u32 = 1000;

/// Time between signal and kill when the manifest does not say.
const GRACE: Duration = Duration::from_secs(10);
/// A stop has to end while the order that caused it is still of interest.
const STOP_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);

/// Time for the stop hook when the manifest does not say.
const HOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// Below, not even a shell starts.
const MEMORY_MIN: u64 = 1 << 20;

/// Kernels count processes in 22 bits.
const PROCESSES_MAX: u32 = 1 << 22;

/// A hundredth of a processor to a thousand of them.
const CPU_RANGE: RangeInclusive<f64> = 0.01..=1000.0;

/// Stands in for a command that is not known yet.
const OPEN: &str = "?";

pub(crate) fn process(name: &str, cursor: &Cursor<'_>) -> Result<ProcessSpec, Error> {
    cursor.allow(&[
        "command",
        "env",
        "readiness",
        "liveness",
        "stop",
        "restarts",
        "after",
        "limits",
    ])?;
    Ok(ProcessSpec {
        name: name.to_owned(),
        package: cursor.package().to_owned(),
        command: words(cursor, "command")?,
        env: env(cursor)?,
        readiness: probe(cursor, "readiness")?,
        liveness: probe(cursor, "liveness")?,
        stop: stop(cursor)?,
        restarts: count(cursor, "restarts", 0, 0..=RESTARTS_MAX)?,
        after: after(cursor)?.unwrap_or_default(),
        limits: limits(cursor)?,
    })
}

/// Reads the names of the processes after which one starts, if the manifest has them.
pub(crate) fn after(cursor: &Cursor<'_>) -> Result<Option<Vec<String>>, Error> {
    cursor.optional("after", Config::string_list_optional)
}

/// Reads `limits` of a process or of a package.
pub(crate) fn limits(cursor: &Cursor<'_>) -> Result<Limits, Error> {
    let Some(limits) = cursor.object("limits")? else {
        return Ok(Limits::default());
    };
    limits.allow(&["memory", "processes", "cpu"])?;
    let memory_bytes = limits.optional("memory", Config::size_bytes_optional)?;
    if memory_bytes.is_some_and(|bytes| bytes < MEMORY_MIN) {
        return Err(limits.bad("memory", "must be at least 1 MiB"));
    }
    let processes = match limits.optional("processes", Config::integer_optional)? {
        None => None,
        Some(_) => Some(count(&limits, "processes", 1, 1..=PROCESSES_MAX)?),
    };
    let cpu = limits.optional("cpu", Config::float_optional)?;
    if cpu.is_some_and(|cpu| !CPU_RANGE.contains(&cpu)) {
        return Err(limits.bad("cpu", "must be between 0.01 and 1000 processors"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked"
    )]
    let cpu_thousandths = cpu.map(|cpu| (cpu * 1000.0).round() as u32);
    Ok(Limits {
        memory_bytes,
        processes,
        cpu_thousandths,
    })
}

pub(crate) fn command(cursor: &Cursor<'_>) -> Result<CommandSpec, Error> {
    cursor.allow(&["command", "env"])?;
    Ok(CommandSpec {
        package: cursor.package().to_owned(),
        command: words(cursor, "command")?,
        env: env(cursor)?,
    })
}

pub(crate) fn endpoint(name: &str, cursor: &Cursor<'_>) -> Result<EndpointSpec, Error> {
    cursor.allow(&["port", "host", "route"])?;
    let port = cursor.required("port", 1, Config::integer)?;
    let Some(port) = u16::try_from(port).ok().filter(|port| *port > 0) else {
        return Err(cursor.bad("port", "must be a port from 1 to 65535"));
    };
    let host = cursor.optional("host", Config::string_optional)?;
    let host = host.unwrap_or_else(|| "default".to_owned());
    let host_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if host.is_empty() || host.len() > 253 || !host.bytes().all(host_allowed) {
        return Err(cursor.bad("host", "must be `default` or a host name"));
    }
    let route = cursor.optional("route", Config::string_optional)?;
    let route = route.unwrap_or_else(|| "/".to_owned());
    // Publishers write it into the configuration of other programs.
    let route_allowed = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,=:@".contains(&b);
    if !route.starts_with('/') || !route.bytes().all(route_allowed) {
        return Err(cursor.bad("route", "must be the path of a URL and start with `/`"));
    }
    Ok(EndpointSpec {
        name: name.to_owned(),
        package: cursor.package().to_owned(),
        port,
        host,
        route,
    })
}

/// Reads a program and its arguments.
fn words(cursor: &Cursor<'_>, key: &str) -> Result<Vec<String>, Error> {
    let words = cursor.required(key, vec![OPEN.to_owned()], Config::string_list)?;
    if words.first().is_none_or(String::is_empty) {
        return Err(cursor.bad(key, "must start with a program"));
    }
    if words.len() > COMMAND_WORDS_MAX {
        let problem = format!("must not have more than {COMMAND_WORDS_MAX} words");
        return Err(cursor.bad(key, problem));
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err(cursor.bad(key, "must not contain NUL characters"));
    }
    Ok(words)
}

fn env(cursor: &Cursor<'_>) -> Result<BTreeMap<String, String>, Error> {
    let Some(variables) = cursor.object("env")? else {
        return Ok(BTreeMap::new());
    };
    let mut env = BTreeMap::new();
    for name in variables.keys() {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(variables.bad(&name, "is no name of an environment variable"));
        }
        if name.starts_with("KLUSTERKITE_") || name == "NOTIFY_SOCKET" {
            return Err(variables.bad(&name, "is set by the node itself"));
        }
        let value = variables.required(&name, String::new(), Config::string)?;
        if value.contains('\0') {
            return Err(variables.bad(&name, "must not contain NUL characters"));
        }
        env.insert(name, value);
    }
    Ok(env)
}

fn stop(cursor: &Cursor<'_>) -> Result<StopSpec, Error> {
    let Some(stop) = cursor.object("stop")? else {
        return Ok(StopSpec {
            signal: StopSignal::Term,
            grace: GRACE,
            drain: Duration::ZERO,
            hook: None,
        });
    };
    stop.allow(&["command", "timeout", "signal", "grace", "drain"])?;
    let name = stop.optional("signal", Config::string_optional)?;
    let name = name.as_deref().unwrap_or(StopSignal::Term.as_str());
    let signal = StopSignal::ALL
        .into_iter()
        .find(|signal| signal.as_str() == name);
    let Some(signal) = signal else {
        let known = StopSignal::ALL.map(StopSignal::as_str).join(", ");
        return Err(stop.bad("signal", format!("must be one of {known}")));
    };
    Ok(StopSpec {
        signal,
        grace: duration(&stop, "grace", GRACE, STOP_RANGE)?,
        drain: duration(&stop, "drain", Duration::ZERO, STOP_RANGE)?,
        hook: stop_hook(&stop)?,
    })
}

fn stop_hook(stop: &Cursor<'_>) -> Result<Option<StopHook>, Error> {
    let has = |name: &str| stop.keys().iter().any(|key| key == name);
    if !has("command") {
        if has("timeout") {
            return Err(stop.bad("timeout", "is the time of `command`, which is missing"));
        }
        return Ok(None);
    }
    Ok(Some(StopHook {
        command: words(stop, "command")?,
        timeout: duration(stop, "timeout", HOOK_TIMEOUT, STOP_RANGE)?,
    }))
}

fn probe(cursor: &Cursor<'_>, key: &str) -> Result<Option<Probe>, Error> {
    let Some(probe) = cursor.object(key)? else {
        return Ok(None);
    };
    probe.allow(&[
        "http", "tcp", "exec", "notify", "interval", "timeout", "failures",
    ])?;
    let kinds = ["http", "tcp", "exec", "notify"];
    let keys = probe.keys();
    let mut given = kinds
        .into_iter()
        .filter(|kind| keys.iter().any(|key| key == kind));
    let (Some(given), None) = (given.next(), given.next()) else {
        return Err(cursor.bad(
            key,
            "needs exactly one of `http`, `tcp`, `exec` and `notify`",
        ));
    };
    let kind = match given {
        "http" => http(&probe)?,
        "tcp" => tcp(&probe)?,
        "exec" => ProbeKind::Exec {
            command: words(&probe, "exec")?,
        },
        _ => {
            if !probe.required("notify", true, Config::boolean)? {
                return Err(probe.bad("notify", "can only be true; leave the probe out instead"));
            }
            ProbeKind::Notify
        }
    };
    Ok(Some(Probe {
        kind,
        interval: duration(&probe, "interval", INTERVAL, INTERVAL_RANGE)?,
        timeout: duration(&probe, "timeout", TIMEOUT, TIMEOUT_RANGE)?,
        failures: count(&probe, "failures", FAILURES, 1..=FAILURES_MAX)?,
    }))
}

fn http(probe: &Cursor<'_>) -> Result<ProbeKind, Error> {
    let url = probe.required("http", "http://open".to_owned(), Config::string)?;
    let authority = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split('/').next());
    let printable = url.bytes().all(|b| b.is_ascii_graphic());
    if authority.is_none_or(str::is_empty) || !printable {
        return Err(probe.bad("http", "must be a URL that starts with `http://`"));
    }
    Ok(ProbeKind::Http { url })
}

fn tcp(probe: &Cursor<'_>) -> Result<ProbeKind, Error> {
    let address = probe.required("tcp", "open:1".to_owned(), Config::string)?;
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && is_port(port) => Ok(ProbeKind::Tcp { address }),
        _ => Err(probe.bad("tcp", "must be `host:port`")),
    }
}

fn duration(
    cursor: &Cursor<'_>,
    key: &str,
    default: Duration,
    range: RangeInclusive<Duration>,
) -> Result<Duration, Error> {
    let given = cursor.optional(key, Config::duration_optional)?;
    let value = given.unwrap_or(default);
    if !range.contains(&value) {
        let problem = format!("must be between {:?} and {:?}", range.start(), range.end());
        return Err(cursor.bad(key, problem));
    }
    Ok(value)
}

fn count(
    cursor: &Cursor<'_>,
    key: &str,
    default: u32,
    range: RangeInclusive<u32>,
) -> Result<u32, Error> {
    let given = cursor.optional(key, Config::integer_optional)?;
    let value = given.map_or(Some(default), |given| u32::try_from(given).ok());
    value.filter(|value| range.contains(value)).ok_or_else(|| {
        let problem = format!("must be between {} and {}", range.start(), range.end());
        cursor.bad(key, problem)
    })
}
