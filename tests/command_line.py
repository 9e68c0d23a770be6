"""The command line as a user without network runs it: in a process of its own, or here, without the start-up."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

from lorabench.cli import main

ROOT = Path(__file__).parents[1]
OFFLINE = ROOT / "tests/offline"
# The smoke study as it can be written anywhere: its plug-in by an absolute path.
SMOKE = (ROOT / "configs/smoke.toml").read_text().replace("../examples", str(ROOT / "examples"))


def _small(study: str) -> str:
    """The study down to one concept, one training, two metrics and few pictures."""
    head, _, rest = study.partition("# The defaults, and")
    head = head.replace('"scenes/volcano", "stuffed_toys/octo", ', "").replace("seeds = [1, 2]", "seeds = [1]")
    data, lora, *_ = head.split("[[grid]]")
    images = head[head.index("[images]") :].replace("per_set = 4", 'per_set = 2\nprompt_types = ["trigger", "alter"]')
    metrics = "".join(f'[[metrics]]\nname = "{name}"\n\n' for name in ("image_similarity", "text_similarity"))
    encoders = "\n".join(line for line in rest[rest.index("[encoders]") :].splitlines() if "vgg19" not in line)
    return f"{data}[[grid]]{lora}{images}{metrics}{encoders}\n"


# Every kind of file that a run has, in a tenth of the time: for what does not depend on the study.
SMALL = _small(SMOKE)


def environment() -> dict[str, str]:
    """The environment of a user without network."""
    return os.environ | {"PYTHONPATH": str(OFFLINE), "HF_HUB_OFFLINE": "1", "COLUMNS": "160", "NO_COLOR": "1"}


def lorabench(*words: str, cwd: Path = ROOT, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "lorabench", *words]
    return subprocess.run(
        command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=timeout, check=False
    )


def lorabench_here(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process, which saves loading torch and diffusers again: ten seconds of a core."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(sys, "argv", ["lorabench", *words]))
        for context in (contextlib.chdir(ROOT), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)):
            stack.enter_context(context)
        try:
            main()
        except SystemExit as left:
            code = int(left.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())
