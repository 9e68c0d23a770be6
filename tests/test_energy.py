"""The energy of a GPU, by a pretended driver: nothing here has a real one."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from lorabench.store.energy import EnergyMeter


class Driver(ModuleType):
    """As much of nvidia-ml-py as is asked for, with a counter that a test turns."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.count, self.processes, self.is_supported = 1_000_000, 1, True

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid != "GPU-the-second":
            raise self.NVMLError("no such device")
        return uuid

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[int]:
        return [1] * self.processes

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        if not self.is_supported:
            raise self.NVMLError("not supported")
        return self.count


@pytest.fixture
def driver(monkeypatch) -> Driver:
    made = Driver()
    monkeypatch.setitem(sys.modules, "pynvml", made)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="the-second"))
    return made


def test_energy_is_counted_from_artifact_to_artifact_in_joules(driver):
    meter = EnergyMeter("cuda:0")
    driver.count += 2_500
    assert meter.joules() == 2.5
    driver.count += 500
    assert meter.joules() == 0.5


def test_no_energy_is_told_that_another_process_may_have_taken(driver):
    meter = EnergyMeter("cuda:0")
    driver.processes = 2
    assert meter.joules() is None
    driver.processes = 1
    assert meter.joules() is None  # since a moment at which there was another
    driver.count += 1_000
    assert meter.joules() == 1.0


def test_no_energy_is_told_without_a_counter(driver, monkeypatch):
    assert EnergyMeter("cpu").joules() is None
    driver.is_supported = False
    assert EnergyMeter("cuda:0").joules() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert EnergyMeter("cuda:0").joules() is None
