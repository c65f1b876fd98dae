"""The migrator protocol in Python's standard library: JSON-RPC 2.0, one message per line.

A migrator has the attributes name, dependency_type, priority and points, and the methods resources() -> {code: name},
current_point(code) -> point or None, and migrate(code, point, fence, dry_run, log, progress).
"""

import json
import os
import sys

BAD_PARAMS = -32602
FAILED = -32000


class CallError(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def take_stdout():
    """Takes stdout for the protocol and leaves stderr in its place, so that a print becomes a log line."""
    sys.stdout.flush()
    protocol = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    return protocol


def serve(make):
    """Serves the migrator that make() gives on stdin and stdout until stdin closes."""
    out = take_stdout()

    def send(**message):
        out.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        out.flush()

    def log(message, level="info"):
        send(method="log", params={"level": level, "message": message})

    def progress(done, total):
        send(method="progress", params={"done": done, "total": total})

    migrator = None
    for line in sys.stdin:
        if not line.strip():
            continue
        number = None
        try:
            request = json.loads(line)
            number, method = request.get("id"), request["method"]
            if number is None:
                continue
            if method == "shutdown":
                send(id=number, result=None)
                return
            migrator = migrator or make()
            send(id=number, result=call(migrator, method, request.get("params") or {}, log, progress))
        except Exception as error:
            code = getattr(error, "code", FAILED)
            text = str(error) if isinstance(error, CallError) else f"{type(error).__name__}: {error}"
            send(id=number, error={"code": code if isinstance(code, int) else FAILED, "message": text})


def call(migrator, method, params, log, progress):
    if method == "initialize":
        if params.get("protocol") != 1:
            raise CallError(BAD_PARAMS, f"protocol {params.get('protocol')} is not spoken here, 1 is")
        return {
            "protocol": 1,
            "name": migrator.name,
            "dependencyType": migrator.dependency_type,
            "priority": migrator.priority,
            "points": migrator.points,
        }
    if method == "resources":
        return [describe(migrator, code, name) for code, name in migrator.resources().items()]
    if method == "currentPoint":
        return migrator.current_point(known(migrator, params["resource"]))
    if method == "migrate":
        code, point = known(migrator, params["resource"]), params["point"]
        if point not in migrator.points:
            raise CallError(BAD_PARAMS, f"point `{point}` is not one of {migrator.points}")
        migrator.migrate(code, point, params["fence"], params.get("dryRun", False), log, progress)
        return {"point": point if params.get("dryRun") else migrator.current_point(code)}
    raise CallError(-32601, f"method `{method}` is not known")


def describe(migrator, code, name):
    item = {"code": code, "name": name, "currentPoint": None}
    try:
        item["currentPoint"] = migrator.current_point(code)
    except Exception as error:
        item["error"] = f"{type(error).__name__}: {error}"
    return item


def known(migrator, code):
    if code not in migrator.resources():
        raise CallError(BAD_PARAMS, f"resource `{code}` is not one of the migrator's resources")
    return code
