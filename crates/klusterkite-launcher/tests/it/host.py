#!/usr/bin/env python3
"""A service host for tests. The template's settings are its script: words like `never-ready`."""
import json
import os
import signal
import socket
import sys
import time

DATA = os.environ["KLUSTERKITE_DATA"]
WORDS = open("service.hocon").read().split()


def note(name, value):
    with open(os.path.join(DATA, name), "a") as file:
        file.write(json.dumps(value) + "\n")


def daemon():
    """Leaves a process in a session of its own that ignores TERM."""
    noted, note_end = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            note("pids", os.getpid())
            os.write(note_end, b"x")
            time.sleep(600)
        os._exit(0)
    os.wait()
    os.read(noted, 1)


def stop(*_):
    # A launcher that is killed sends it once for each of its threads that the kernel finds dying.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note("stops", os.getpid())
    sys.exit(0)


signal.signal(signal.SIGTERM, signal.SIG_IGN if "ignore-term" in WORDS else stop)
start = json.load(open("start.hocon"))["KlusterKite"]
token = open("node-token").read() if os.path.exists("node-token") else None
note("pids", os.getpid())
if "daemon" in WORDS:
    daemon()
if "print" in WORDS:
    print("words on stdout", flush=True)
    print("words on stderr", file=sys.stderr, flush=True)
    sys.stdout.buffer.write(b"\xff\xfe binary\n" + b"x" * 20000 + b"\nlast words")
    sys.stdout.flush()
if "flood" in WORDS:
    for line in range(20000):
        print("line", line)
    sys.stdout.flush()
note("starts", {
    "pid": os.getpid(),
    "parent": os.getppid(),
    "session": os.getsid(0),
    "directory": os.getcwd(),
    "start": start,
    "token": token,
    "environment": dict(os.environ),
    "stdin": os.readlink("/proc/self/fd/0"),
})
for word in WORDS:
    if word.startswith("exit-"):
        sys.exit(int(word[5:]))
if "die" in WORDS:
    os.kill(os.getpid(), signal.SIGKILL)

launcher = socket.socket(socket.AF_UNIX)
launcher.connect("launcher.sock")
launcher.setblocking(False)
if "never-ready" not in WORDS:
    launcher.sendall(b'{"type": "ready"}\n')

command = os.path.join(DATA, "command")
pending = b""
while True:
    time.sleep(0.005)
    if os.path.exists(command):
        line = open(command, "rb").read()
        os.unlink(command)
        launcher.sendall(line + b"\n")
    try:
        pending += launcher.recv(65536)
    except BlockingIOError:
        continue
    while b"\n" in pending:
        line, pending = pending.split(b"\n", 1)
        answer = json.loads(line)
        note("answers", answer)
        if answer["type"] == "stopping" and "error" not in answer:
            sys.exit(0)
