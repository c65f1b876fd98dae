"""Sample migrator in Python: moves the clock's state, a JSON file that is replaced as a whole."""

import json
import os

import migrator_protocol


def up_zone(state):
    state["zoneMinutes"] = 0


def down_zone(state):
    del state["zoneMinutes"]


# The line of points, oldest first, each with its way up and down.
STEPS = {
    "0001_zone": (up_zone, down_zone),
}


class ClockMigrator:
    name = "State of the clock"
    dependency_type = "codeDependsOnResource"
    priority = 5
    points = list(STEPS)

    def __init__(self):
        with open(os.environ["KLUSTERKITE_CONFIG"], encoding="utf-8") as file:
            self.path = json.load(file)["Clock"]["State"]

    def resources(self):
        return {"clock-state": f"State file {self.path}"}

    def current_point(self, _code):
        state = self.read()
        return state["points"][-1] if state and state["points"] else None

    def migrate(self, _code, target, fence, dry_run, log, progress):
        state = self.read() or {"points": [], "fence": 0}
        if fence < state["fence"]:
            raise ValueError(f"the order is old: its fence is {fence}, the state has {state['fence']}")
        unknown = [point for point in state["points"] if point not in STEPS]
        if unknown:
            raise LookupError(f"point `{unknown[-1]}` of the state is not one of {self.points}")
        goal = self.points.index(target) + 1
        total = abs(goal - len(state["points"]))
        for done in range(1, total + 1):
            if len(state["points"]) < goal:
                point = self.points[len(state["points"])]
                log(f"{'would ' if dry_run else ''}apply {point}")
                STEPS[point][0](state)
                state["points"].append(point)
            else:
                point = state["points"].pop()
                log(f"{'would ' if dry_run else ''}take {point} back")
                STEPS[point][1](state)
            if not dry_run:
                self.write({**state, "fence": fence})
                progress(done, total)

    def read(self):
        try:
            with open(self.path, encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return None

    def write(self, state):
        """Replaces the file: whole and on disk, or not at all."""
        temporary = f"{self.path}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path)
        directory = os.open(os.path.dirname(os.path.abspath(self.path)), os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


if __name__ == "__main__":
    migrator_protocol.serve(ClockMigrator)
