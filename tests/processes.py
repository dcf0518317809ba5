"""Runs as processes: started, watched, killed, and what they leave."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
RAYS_OWN = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Ray's agents of a node notice the end of their raylet by themselves, minutes later."""


def start(config, *flags, python=sys.executable):
    return subprocess.Popen(
        [str(python), "-m", "tower_rl.run", str(config), *flags],
        cwd=ROOT,
        env=os.environ | {"VLLM_LOGGING_LEVEL": "INFO"},  # verl sets another where it is imported
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until(condition, seconds, process, interval=0.2):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(interval)


def family(pid):
    """The process and all below it with their command lines, from /proc."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                names[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
    found, todo = {}, [pid]
    while todo:
        current = todo.pop()
        found[current] = names.get(current, "")
        todo += [child for child, parent in parents.items() if parent == current]
    return found


def survivors(relatives):
    """Command lines of those that are still there after a minute; Ray's own agents do not count."""
    ours = [pid for pid, name in relatives.items() if not name.startswith(RAYS_OWN)]
    end = time.monotonic() + 60
    while any(map(alive, ours)) and time.monotonic() < end:
        time.sleep(0.5)
    return [relatives[pid] for pid in ours if alive(pid)]


def alive(pid):
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def writers(log, among):
    """Those of some processes whose standard output is a file."""
    found = []
    for pid in among:
        try:
            if os.readlink(f"/proc/{pid}/fd/1") == str(log):
                found.append(pid)
        except OSError:
            continue
    return found
