"""Publish a package again and again, and kill the process at another file-system call each time.

Run as `python -m tests.package.kill_points WORK`: WORK/inputs.json names the models, the texts and the old package.
Every round starts from the old package, forks, and lets the child publish the new one until SIGKILL just before its
n-th call that changes the file system (seen by an audit hook, so the product needs no switch for it). The parent then
looks at what is there. Prints one JSON list of rounds, in the order of n; the last one was not killed.

With a step of 1 every call is a kill point. With a larger one every step-th call is, and each single call around the
moment when the version changes, where the exchange happens.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from sam2lite_mobile.package import files
from sam2lite_mobile.package.codec import read_manifest
from sam2lite_mobile.package.publish import publish_ios
from sam2lite_mobile.package.verify import verify_package
from tests.package.samples import draft

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.link", "os.symlink", "os.truncate"}


def main() -> None:
    work = Path(sys.argv[1])
    inputs = json.loads((work / "inputs.json").read_text())
    if inputs["without_exchange"]:
        files.exchange_folders = lambda first, second: False
    step = inputs["step"]
    rounds: dict[int, dict] = {}
    calls = 1
    while not rounds or rounds[max(rounds)]["killed"]:
        rounds[calls] = run_round(calls, work / "dist", inputs)
        calls += step
    first_new = min(calls for calls, found in rounds.items() if found["version"] == "2.0.0")
    for calls in range(first_new - step, first_new + 8):
        if calls > 0 and calls not in rounds:
            rounds[calls] = run_round(calls, work / "dist", inputs)
    sys.stdout.write(json.dumps([rounds[calls] for calls in sorted(rounds)]))


def run_round(calls: int, dist: Path, inputs: dict) -> dict:
    """Start from the old package, kill before change `calls`, and tell what a reader and the next build find."""
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir()
    target = dist / "ios"
    if inputs["old"]:
        shutil.copytree(inputs["old"], target)
    pid = os.fork()
    if pid == 0:
        kill_before_change(calls)
        publish(target, inputs, "2.0.0")
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    missing = not target.exists()
    found = {"killed": os.WIFSIGNALED(status), "status": status, "missing": missing, "version": None, "passed": None}
    if not missing or any(dist.glob(".ios.swap")):
        found["passed"] = verify_package(target).passed
        found["version"] = read_manifest(target / "manifest.json").package_version
    publish(target, inputs, "3.0.0")
    found["next_passed"] = verify_package(target).passed
    found["next_version"] = read_manifest(target / "manifest.json").package_version
    found["left_behind"] = sorted(path.name for path in dist.iterdir() if path != target)
    return found


def kill_before_change(calls: int) -> None:
    seen = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal seen
        writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or writing:
            seen += 1
            if seen == calls:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def publish(target: Path, inputs: dict, version: str) -> None:
    publish_ios(
        target,
        models={name: Path(path) for name, path in inputs["models"].items()},
        manifest=draft(package_version=version),
        model_card=Path(inputs["model_card"]),
        licence=Path(inputs["licence"]),
    )


if __name__ == "__main__":
    main()
