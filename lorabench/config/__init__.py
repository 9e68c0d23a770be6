"""A study as a TOML file: what it may say, how it is read, and the configs that its grid comes to."""

from lorabench.config.grid import config_name as config_name
from lorabench.config.grid import expand as expand
from lorabench.config.grid import training_factors as training_factors
from lorabench.config.merges import checked_merges as checked_merges
from lorabench.config.merges import merge_drawings as merge_drawings
from lorabench.config.reading import MINI as MINI
from lorabench.config.reading import PACKAGE_SCHEME as PACKAGE_SCHEME
from lorabench.config.reading import base_source as base_source
from lorabench.config.reading import is_path as is_path
from lorabench.config.reading import load_study as load_study
from lorabench.config.reading import portable as portable
from lorabench.config.reading import resolve_path as resolve_path
from lorabench.config.reading import study_from as study_from
from lorabench.config.schema import DEFAULT_METRICS as DEFAULT_METRICS
from lorabench.config.schema import DRAWN as DRAWN
from lorabench.config.schema import Data as Data
from lorabench.config.schema import Merge as Merge
from lorabench.config.schema import MetricChoice as MetricChoice
from lorabench.config.schema import Run as Run
from lorabench.config.schema import Study as Study
from lorabench.config.schema import Sweep as Sweep
from lorabench.config.sweeps import SETTINGS as SETTINGS
from lorabench.config.sweeps import Way as Way
from lorabench.config.sweeps import drawings as drawings
from lorabench.config.sweeps import ways as ways
from lorabench.config.sweeps import ways_of as ways_of
