"""A migrator whose faults are asked for: migrator.py FAULT STATE_FILE.

Points come from the file `points` in the working directory, the state is a text file with the current point.
"""

import json
import os
import subprocess
import sys
import time

fault, state_path = sys.argv[1], sys.argv[2]
points = open("points").read().split()


def say(**message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def log(message):
    say(method="log", params={"level": "info", "message": message})


def current():
    return open(state_path).read() if os.path.exists(state_path) else None


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
    return [{"code": "db", "name": "good", "currentPoint": current()}]


def migrate(params):
    point = params["point"]
    here = current()
    if params.get("dryRun"):
        log(f"would go from {here} to {point}")
        return {"point": point}
    if fault == "refuse":
        raise ValueError("not on a Sunday")
    log(f"going from {here} to {point} with fence {params['fence']}")
    say(method="progress", params={"done": 1, "total": 2})
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
    if fault == "other-point":
        return {"point": points[0] if point != points[0] else points[1]}
    if fault != "lies":
        with open(state_path + ".new", "w") as file:
            file.write(point)
        os.rename(state_path + ".new", state_path)
    return {"point": point}


if fault == "no-start":
    sys.exit("cannot find my own code")
for line in sys.stdin:
    request = json.loads(line)
    method, params = request["method"], request.get("params") or {}
    if method == "shutdown":
        open(state_path + ".shutdown", "w").close()
        say(id=request["id"], result=None)
        break
    try:
        calls = {
            "initialize": initialize,
            "resources": resources,
            "currentPoint": current,
            "migrate": lambda: migrate(params),
        }
        say(id=request["id"], result=calls[method]())
    except ValueError as error:
        say(id=request["id"], error={"code": -32000, "message": str(error)})
