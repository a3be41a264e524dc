"""What an import costs: the runtime needs NumPy alone, whatever else is installed."""

import json
import subprocess
import sys

import pytest

from tests.repository import ROOT

# Runs in a fresh interpreter: refuses every import outside the standard library but the names given, imports a
# package with all its modules and prints their names.
IMPORT_GUARDED = """
import importlib, json, pkgutil, sys

package, *allowed = sys.argv[1:]

class Guard:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {*sys.stdlib_module_names, *allowed}:
            raise ModuleNotFoundError(f"not allowed here: {name}")

sys.meta_path.insert(0, Guard())
root = importlib.import_module(package)
found = pkgutil.walk_packages(getattr(root, "__path__", ()), package + ".")
print(json.dumps([package, *(importlib.import_module(module.name).__name__ for module in found)]))
"""


def import_guarded(package: str, *allowed: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", IMPORT_GUARDED, package, *allowed]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_runtime_imports_with_numpy_alone():
    result = import_guarded("sam2lite_mobile.runtime", "sam2lite_mobile", "numpy")

    assert result.returncode == 0, result.stderr
    assert {"sam2lite_mobile.runtime.memory_bank", "sam2lite_mobile.runtime.tracker"} <= set(json.loads(result.stdout))


@pytest.mark.parametrize("module", ["sam2lite_mobile.contract", "sam2lite_mobile.errors"])
def test_contract_and_errors_import_with_numpy_alone(module: str):
    result = import_guarded(module, "sam2lite_mobile", "numpy")

    assert result.returncode == 0, result.stderr


def test_guard_refuses_what_is_not_allowed():
    result = import_guarded("sam2lite_mobile.contract", "sam2lite_mobile")

    assert result.returncode == 1
    assert "not allowed here: numpy" in result.stderr
