"""The energy that a GPU takes, where its driver counts it."""

from __future__ import annotations

from typing import Any


class EnergyMeter:
    """What a device has taken since it was last asked.

    The count is of the whole device. Where another process computes on it, nobody can say whose the energy was, and
    there is no answer; nor where the driver (Volta and later have a counter) or the package nvidia-ml-py is lacking.
    """

    def __init__(self, device: str) -> None:
        self._counter = _counter(device)
        self._last = self._read()

    def joules(self) -> float | None:
        """Since the last call, or since the meter was made."""
        before, self._last = self._last, self._read()
        return None if before is None or self._last is None else (self._last - before) / 1000

    def _read(self) -> int | None:
        """Millijoules since the driver was loaded; None where they say nothing of this process."""
        if self._counter is None:
            return None
        nvml, handle = self._counter
        try:
            if len(nvml.nvmlDeviceGetComputeRunningProcesses(handle)) > 1:
                return None
            return nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        except nvml.NVMLError:  # not supported, or not told to this user
            return None


def _counter(device: str) -> tuple[Any, Any] | None:
    """NVML and its handle of a device of torch. By UUID: CUDA_VISIBLE_DEVICES counts otherwise than NVML does."""
    if not device.startswith("cuda"):
        return None
    try:
        import pynvml
    except ImportError:
        return None
    import torch

    try:
        pynvml.nvmlInit()
        return pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    except pynvml.NVMLError:
        return None
