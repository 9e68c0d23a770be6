"""What a run keeps: artifacts and tables, each file whole or not at all, and known by its hash."""

from lorabench.hashes import file_hash
from lorabench.store.artifacts import FolderInUse, RunFolder
from lorabench.store.files import let_read, read_json, replace_file, safe_name, system_errors, whole_folder, write_json
from lorabench.store.lease import Lease
from lorabench.store.looking import META, Meta, claimed, key_of
from lorabench.store.manifest import (
    RUN_FILE,
    Manifest,
    read_manifest,
    require_intact,
    table_faults,
    write_manifest,
)
from lorabench.store.provenance import begin_task, provenance_of
from lorabench.store.tables import read_arrays, read_table, write_arrays, write_parts, write_records, write_table

__all__ = [
    "META",
    "RUN_FILE",
    "FolderInUse",
    "Lease",
    "Manifest",
    "Meta",
    "RunFolder",
    "begin_task",
    "claimed",
    "file_hash",
    "key_of",
    "let_read",
    "provenance_of",
    "read_arrays",
    "read_json",
    "read_manifest",
    "read_table",
    "replace_file",
    "require_intact",
    "safe_name",
    "system_errors",
    "table_faults",
    "whole_folder",
    "write_arrays",
    "write_json",
    "write_manifest",
    "write_parts",
    "write_records",
    "write_table",
]
