"""A migrator whose faults are asked for: migrator.py FAULT STATE_FILE [DESCRIPTION_FILE].

Points come from the file `points` in the working directory, the state is a text file with the current point.
A description (JSON) says instead what `initialize` answers, and lists `resources`; the state of each is a file
`STATE_FILE.RESOURCE`, and every move is appended to the file `moves` beside it.
A fault `@FILE` is what that file holds when a request comes; no file, no fault.
"""

import json
import os
import subprocess
import sys
import time

asked_fault, state_path = sys.argv[1], sys.argv[2]
description = json.load(open(sys.argv[3])) if len(sys.argv) > 3 else None
codes = description.pop("resources") if description else ["db"]
points = description["points"] if description else open("points").read().split()


def say(**message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def log(message):
    say(method="log", params={"level": "info", "message": message})


def fault_now():
    if not asked_fault.startswith("@"):
        return asked_fault
    path = asked_fault[1:]
    return open(path).read() if os.path.exists(path) else ""


def file_of(resource):
    return f"{state_path}.{resource}" if description else state_path


def current(resource="db"):
    path = file_of(resource)
    return open(path).read() if os.path.exists(path) else None


def put(resource, point):
    path = file_of(resource)
    with open(path + ".new", "w") as file:
        file.write(point)
    os.rename(path + ".new", path)


def hang():
    """Waits for ever, with a grandchild that would as well."""
    child = subprocess.Popen(["sleep", "100000"])
    with open(state_path + ".pids.new", "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    os.rename(state_path + ".pids.new", state_path + ".pids")
    log("hanging")
    time.sleep(100000)


def escape():
    """Starts a process in a session of its own, which closes what it inherited and is nobody's child."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        child = os.fork()
        if child:
            os.write(write, str(child).encode())
            os._exit(0)
        os.closerange(0, 1000)
        time.sleep(100000)
    with open(state_path + ".pids.new", "w") as file:
        file.write(f"{os.getpid()} {os.read(read, 100).decode()}")
    os.rename(state_path + ".pids.new", state_path + ".pids")


def initialize():
    if fault == "hang-initialize":
        hang()
    if fault == "wrong-description":
        return {"protocol": 1, "name": "x", "dependencyType": "codeDependsOnResource", "points": ["a", "a"]}
    if fault == "no-description":
        return "hello"
    if description:
        return {"protocol": 1, **description}
    config = json.load(open(os.environ["KLUSTERKITE_CONFIG"]))
    return {
        "protocol": 1,
        "name": f"{config['Test']['Name']} in {os.environ['KLUSTERKITE_TEMPLATE']}, {os.environ['EXTRA']}",
        "dependencyType": "codeDependsOnResource",
        "priority": 1,
        "points": points,
    }


def resources():
    if fault == "hang-resources":
        hang()
    if fault == "crash-resources":
        print("Traceback: out of luck", file=sys.stderr)
        os._exit(3)
    if fault == "killed":
        os.kill(os.getpid(), 9)
    if fault == "garbage":
        print("Starting up...", flush=True)
    if fault == "huge-line":
        print("x" * (2 << 20), flush=True)
    if fault == "babble":
        while True:
            log("x" * 1000)
    if fault == "stderr-flood":
        for _ in range(5000):
            sys.stderr.write("y" * 1000 + "\n")
        sys.stderr.write("z" * 100000 + "\n")
        sys.stderr.flush()
    if fault == "wrong-id":
        say(id=77, result=[])
    if fault == "wrong-version":
        sys.stdout.write('{"jsonrpc": "1.0", "id": 2, "result": []}\n')
        sys.stdout.flush()
    if fault == "closed":
        os.close(1)
        time.sleep(100000)
    if fault == "bad-resource":
        return [{"code": "", "name": "?"}, {"code": "db", "name": "good", "currentPoint": current()}]
    return [{"code": code, "name": "good", "currentPoint": current(code)} for code in codes]


def migrate(params):
    resource, point = params["resource"], params["point"]
    here = current(resource)
    if params.get("dryRun"):
        log(f"would go from {here} to {point}")
        return {"point": point}
    if fault == "refuse":
        raise ValueError("not on a Sunday")
    log(f"going from {here} to {point} with fence {params['fence']}")
    say(method="progress", params={"done": 1, "total": 2})
    while fault_now() == "wait":
        time.sleep(0.01)
    if fault == "hang-migrate":
        hang()
    if fault.startswith("escape"):
        escape()
    if fault == "escape-crash":
        os._exit(4)
    if fault == "escape-hang":
        time.sleep(100000)
    if fault == "crash-migrate":
        print("Traceback: the disk is full", file=sys.stderr)
        os._exit(4)
    if fault == "garbage-migrate":
        print("Done!", flush=True)
        time.sleep(100000)
    elsewhere = points[0] if point != points[0] else points[1]
    if fault == "other-point":
        return {"point": elsewhere}
    if fault == "elsewhere":
        elsewhere = next(other for other in points if other not in (here, point))
        put(resource, elsewhere)
        return {"point": elsewhere}
    if fault == "lies":
        return {"point": point}
    put(resource, point)
    if description:
        name = os.path.basename(state_path)
        with open(os.path.join(os.path.dirname(state_path), "moves"), "a") as file:
            file.write(f"{name}.{resource} {here} {point}\n")
    return {"point": point}


if fault_now() == "no-start":
    sys.exit("cannot find my own code")
for line in sys.stdin:
    request = json.loads(line)
    fault = fault_now()
    method, params = request["method"], request.get("params") or {}
    if method == "shutdown":
        open(state_path + ".shutdown", "w").close()
        say(id=request["id"], result=None)
        break
    try:
        calls = {
            "initialize": initialize,
            "resources": resources,
            "currentPoint": lambda: current(params["resource"]),
            "migrate": lambda: migrate(params),
        }
        say(id=request["id"], result=calls[method]())
    except ValueError as error:
        say(id=request["id"], error={"code": -32000, "message": str(error)})
