"""One run at a time in a folder: of dead holders, of other machines, and of one that was still for too long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from command_line import SMALL, lorabench_here

from lorabench import store
from lorabench.store import lease

HOLDS = "import sys, time; from pathlib import Path; from lorabench.store import RunFolder\n"
HOLDS += "with RunFolder(Path(sys.argv[1])).locked(): print('held', flush=True); time.sleep(60)"
ELSEWHERE = "filelock/2\npid=7\nhost=far-away\nmode=lease\ntoken=x\nduration={life}\n"


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(lease, "LIFE", 2.0)
    monkeypatch.setattr(lease, "HEARTBEAT", 0.2)


def held_elsewhere(folder: Path) -> Path:
    file = folder / ".lease"
    file.write_text(ELSEWHERE.format(life=lease.LIFE))
    return file


def test_a_killed_run_is_no_obstacle_on_its_own_machine(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(store.FolderInUse, match=f"process {holder.pid} on "), store.RunFolder(tmp_path).locked():
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    begin = time.monotonic()
    with store.RunFolder(tmp_path).locked():
        assert time.monotonic() - begin < 1
    assert not list(tmp_path.iterdir())


def test_a_holder_on_another_machine_is_waited_for_and_replaced_when_it_stays_silent(tmp_path, quick):
    """Whatever its clock says: the file is of tomorrow."""
    os.utime(held_elsewhere(tmp_path), (time.time() + 86400, time.time() + 86400))
    said, begin = [], time.monotonic()
    with store.RunFolder(tmp_path).locked(said.append) as mine:
        assert lease.LIFE <= time.monotonic() - begin < lease.LIFE + 3
        mine.check()
    assert len(said) == 1 and "held by process 7 on far-away, of which nothing is heard" in said[0]


def test_a_holder_on_another_machine_that_is_alive_is_named(tmp_path, quick):
    file, over = held_elsewhere(tmp_path), threading.Event()

    def renew() -> None:
        while not over.wait(0.1):
            file.touch()

    threading.Thread(target=renew, daemon=True).start()
    try:
        with pytest.raises(store.FolderInUse, match="process 7 on far-away"), store.RunFolder(tmp_path).locked():
            pass
    finally:
        over.set()
    assert file.read_text() == ELSEWHERE.format(life=lease.LIFE)


def test_a_run_that_others_took_over_ends(tmp_path, quick):
    """As after a laptop was closed: it stops with a sentence, and leaves the lease to whoever has it now."""
    study, out = tmp_path / "study.toml", tmp_path / "run"
    study.write_text(SMALL)

    def take_over() -> None:
        while not list(out.rglob("meta.json")):
            time.sleep(0.05)
        (out / ".lease").unlink()
        held_elsewhere(out)

    threading.Thread(target=take_over, daemon=True).start()
    done = lorabench_here("grid", str(study), "--out", str(out), "--workers", "1")
    assert done.returncode == 1 and "gave no sign of life" in done.stderr and "Traceback" not in done.stderr
    assert "far-away" in (out / ".lease").read_text() and not (out / "scores.parquet").exists()


def test_one_that_waits_for_tables_gets_them_when_they_are_free(tmp_path, quick):
    folder, order = store.RunFolder(tmp_path), []
    with folder.tables_locked():
        other = threading.Thread(target=lambda: [order.append("waits"), _hold_tables(tmp_path, order)])
        other.start()
        time.sleep(0.5)
        order.append("done")
    other.join(timeout=10)
    assert order == ["waits", "done", "held"]


def _hold_tables(root: Path, order: list[str]) -> None:
    with store.RunFolder(root).tables_locked():
        order.append("held")
