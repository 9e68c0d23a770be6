"""Nothing that happens to a run's files or processes changes its tables in silence, and nothing breaks it for good.

Every kind of file of a finished run suffers every damage, one at a time; then runs are ended by signals at all moments,
start-up included. After each damage the next run has to name what it mended and come to the tables of an undisturbed
run; after each signal the exit code has to be the signal's, no process may be left, and the run has to go on.

    python benchmarks/damage.py [--each 2] [--kills 200] [--seed 1] [--work FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from command_line import ROOT, SMOKE, environment, lorabench_here
from damaging import DAMAGES, another, differences, kinds

from lorabench.store import RUN_FILE

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
TARGETS = ("process", "group", "worker")
STARTED_WITHIN = 0.15  # seconds of the interpreter's own start, before any code of ours: the system answers then
LONGEST_END = 10.0  # seconds from a signal to the end of the process, on a busy machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=1, help="files of every kind for every damage")
    parser.add_argument("--kills", type=int, default=200, help="runs ended by a signal")
    parser.add_argument("--seed", type=int, default=1, help="of files, bits and moments")
    parser.add_argument("--work", type=Path, default=None, help="folder for the runs; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        study = work / "study.toml"
        study.write_text(SMOKE.replace('"scenes/volcano", "stuffed_toys/octo", ', ""))
        words = [str(study), "--limit", "2"]
        _grid(words, work / "undisturbed")
        faults = damaged(words, work, options.each, random.Random(options.seed))
        faults += killed(words, work, options.kills, random.Random(options.seed))
    print(f"{len(faults)} faults")
    sys.exit(bool(faults))


def damaged(words: list[str], work: Path, each: int, rng: random.Random) -> list[str]:
    """One damage after the other on one run; what went wrong."""
    run, undisturbed = work / "damaged", work / "undisturbed"
    shutil.copytree(undisturbed, run, dirs_exist_ok=True)
    wrong, count = [], Counter()
    for kind, files in kinds(run).items():
        for how, damage in DAMAGES.items():
            for file in rng.sample(files, min(each, len(files))):
                damage(file, another(file, files), rng)
                summary = _grid(words, run)
                name = file.name if file.parent == run else file.parent.relative_to(run).as_posix()
                named = any(text.startswith(f"{name} ") for text in summary["damage"])
                silent = kind == RUN_FILE and how == "deleted"  # a run that has no tables yet looks the same
                found = [] if named or silent else ["was not named"]
                found += [f"exit code {summary['exit_code']}"] * (summary["exit_code"] != 0)
                found += [f"{table} differs" for table in differences(run, undisturbed)]
                wrong += [f"{kind}, {how}: {what}" for what in found]
                count[how] += 1
        print(f"{kind}: {sum(count.values())} damages and {len(wrong)} faults so far", flush=True)
    print(", ".join(f"{how}: {n}" for how, n in count.items()))
    return wrong


def killed(words: list[str], work: Path, kills: int, rng: random.Random) -> list[str]:
    """Signals of all kinds at all moments, most runs going on where the last one was ended; what went wrong."""
    run, wrong, count = work / "killed", [], Counter()
    for number in range(kills):
        if rng.random() < 0.3:
            shutil.rmtree(run, ignore_errors=True)
        found, what = _kill(words, run, rng)
        wrong += found
        count[what] += 1
        print(f"{number + 1} of {kills}: {what}; {'; '.join(found) or 'ended well'}", flush=True)
        if number % 20 == 19:
            _grid(words, run)
            wrong += [f"after {number + 1} kills {table} differs" for table in differences(run, work / "undisturbed")]
    print(", ".join(f"{what}: {n}" for what, n in sorted(count.items())))
    return wrong


def _kill(words: list[str], run: Path, rng: random.Random) -> tuple[list[str], str]:
    """End one run by a signal. Returns what went wrong, and what was done."""
    number, target = rng.choice(SIGNALS), rng.choice(TARGETS)
    command = [sys.executable, "-m", "lorabench", "grid", *words, "--out", str(run), "--workers", rng.choice("12")]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=_listen,
    )  # fmt: skip
    said = b""
    if rng.random() < 0.4:  # just when a stage begins, and its workers start
        for line in process.stderr:
            said += line
            if b"to do" in line and rng.random() < 0.5:
                break
        time.sleep(rng.uniform(0, 0.3))
    else:
        time.sleep(rng.choice([rng.uniform(STARTED_WITHIN, 3), rng.uniform(2, 12), rng.uniform(5, 30)]))
    workers = _workers(process.pid)
    since, over = time.monotonic(), process.poll() is not None
    if target == "worker" and workers:
        os.kill(rng.choice(sorted(workers)), number)
    elif not over:
        (os.killpg if target == "group" else os.kill)(process.pid, number)
    elsewhere = over or (target == "worker" and bool(workers))
    try:
        said += process.communicate(timeout=600 if elsewhere else 30)[1]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return [f"did not end after {number.name} ({target})"], "hang"
    wanted = {0} if elsewhere else {-9} if number == signal.SIGKILL else {128 + number, 0}
    found = [f"exit code {process.returncode}, not {wanted}"] * (process.returncode not in wanted)
    found += ["a traceback: " + said.decode()[-300:]] * (b"Traceback" in said)
    late = not elsewhere and number != signal.SIGKILL and time.monotonic() - since > LONGEST_END
    found += [f"took {time.monotonic() - since:.1f} s to end"] * late
    time.sleep(1.5)  # workers of a killed parent look for it twice a second
    found += ["processes are left"] * bool(_processes(process.pid))
    what = (
        "over already" if over else f"{number.name} to {'worker' if elsewhere else target.replace('worker', 'process')}"
    )
    return found, what


def _listen() -> None:
    """What runs in the background, or under nohup, ignores some of the signals, and its children would inherit that."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _workers(parent: int) -> set[int]:
    """The living processes that a process started and that work for it."""
    listed = subprocess.run(["ps", "-e", "-o", "ppid=,pid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return {int(pid) for ppid, pid, words in rows if int(ppid) == parent and "spawn_main" in words}


def _processes(group: int) -> set[int]:
    """The living processes of a group."""
    listed = subprocess.run(["ps", "-e", "-o", "pgid=,pid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return {int(pid) for pgid, pid, state in rows if int(pgid) == group and not state.startswith("Z")}


def _grid(words: list[str], out: Path) -> dict[str, object]:
    done = lorabench_here("grid", *words, "--out", str(out), "--workers", "1", "--json")
    if done.returncode not in (0, 1):
        raise SystemExit(f"The run came to nothing: {done.stderr}")
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
