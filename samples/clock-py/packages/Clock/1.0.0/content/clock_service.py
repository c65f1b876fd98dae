"""Sample service in Python's standard library: tells the time over HTTP."""

import datetime
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = "1.0.0"
# Points that the state must have; later ones only add, so that they do no harm.
NEEDED_POINTS = ["0001_zone"]

LINGER_SECONDS = 0.5  # requests are still taken after TERM, with "Connection: close"
FINISH_SECONDS = 3.0  # open requests may take this long after that

stopping = threading.Event()
open_requests = 0
open_requests_changed = threading.Condition()


def load_settings():
    with open(os.environ["KLUSTERKITE_CONFIG"], encoding="utf-8") as file:
        return json.load(file)["Clock"]


def read_state(path):
    """Returns the state, or fails when a point is missing that this version needs."""
    with open(path, encoding="utf-8") as file:
        state = json.load(file)
    missing = [point for point in NEEDED_POINTS if point not in state["points"]]
    if missing:
        raise LookupError(f"the state is not at point `{missing[0]}` yet")
    return state


def tell_time(state):
    zone = datetime.timezone(datetime.timedelta(minutes=state["zoneMinutes"]))
    now = datetime.datetime.now(zone)
    return now.isoformat(timespec="seconds")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        global open_requests
        with open_requests_changed:
            open_requests += 1
        try:
            self.respond(*self.answer())
        finally:
            with open_requests_changed:
                open_requests -= 1
                open_requests_changed.notify_all()

    def answer(self):
        if self.path == "/version":
            return 200, f"{VERSION}\n"
        if self.path not in ("/", "/ready"):
            return 404, "not found\n"
        if self.path == "/ready" and stopping.is_set():
            return 503, "stopping\n"
        try:
            state = read_state(settings["State"])
        except (OSError, ValueError, KeyError, LookupError) as error:
            return 503, f"{error}\n"
        if self.path == "/ready":
            return 200, "ready\n"
        node = os.environ.get("KLUSTERKITE_NODE_ID", "-")
        return 200, (
            f"{tell_time(state)}\nversion {VERSION}\nnode {node}\npoint {state['points'][-1]}\n"
        )

    def respond(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if stopping.is_set():
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        """Says nothing per request."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def wait_for_open_requests():
    deadline = time.monotonic() + FINISH_SECONDS
    with open_requests_changed:
        while open_requests > 0 and time.monotonic() < deadline:
            open_requests_changed.wait(deadline - time.monotonic())


def main():
    server = Server((settings["Host"], int(settings["Port"])), Handler)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    host, port = server.server_address[:2]
    print(f"clock {VERSION} listens on {host}:{port}", file=sys.stderr, flush=True)
    stopping.wait()
    time.sleep(LINGER_SECONDS)
    server.shutdown()
    wait_for_open_requests()


if __name__ == "__main__":
    settings = load_settings()
    main()
