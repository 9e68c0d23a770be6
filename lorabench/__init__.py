"""lorabench: the benchmark suite for adapters that customise text-to-image models.

    run = lorabench.evaluate("my_loras/", data="my_images/")
    run.leaderboard()

What the command line does, a function of the same name does; see docs/library.md.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lorabench.api import Run as Run
    from lorabench.api import audit as audit
    from lorabench.api import captions as captions
    from lorabench.api import class_images as class_images
    from lorabench.api import convert as convert
    from lorabench.api import count as count
    from lorabench.api import dataset as dataset
    from lorabench.api import diversity as diversity
    from lorabench.api import evaluate as evaluate
    from lorabench.api import fetch as fetch
    from lorabench.api import grid as grid
    from lorabench.api import init as init
    from lorabench.api import inspect as inspect
    from lorabench.api import join as join
    from lorabench.api import merge as merge
    from lorabench.api import open_run as open_run
    from lorabench.api import plan as plan
    from lorabench.api import replay as replay
    from lorabench.api import score_images as score_images
    from lorabench.errors import UserError as UserError

__all__ = [
    *("Run", "UserError", "audit", "captions", "class_images", "convert", "count", "dataset", "diversity"),
    *("evaluate", "fetch", "grid"),
    *("init", "inspect", "join", "merge", "open_run", "plan", "replay", "score_images"),
]


def __getattr__(name: str) -> Any:
    """Looked up when somebody asks: the entry point has signals to answer first."""
    if name == "__version__":
        from importlib.metadata import version

        return version("lorabench")
    if name in __all__:
        from lorabench import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
