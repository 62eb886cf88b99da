"""timm imports beside a torchvision without compiled operators."""

import subprocess
import sys

from irmsia.networks import tv_compat


def test_timm_imports_in_a_fresh_process() -> None:
    """Whatever torchvision is installed, the catalogue (and so timm) imports."""
    code = "import irmsia.networks.catalogue, timm; print(timm.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "timm"


def test_shim_does_nothing_where_operators_are(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """With torchvision's operators present no module is replaced."""
    monkeypatch.setattr(tv_compat, "has_operators", lambda: True)
    monkeypatch.delitem(sys.modules, "torchvision._meta_registrations", raising=False)
    assert tv_compat.apply_shim() is False
    assert "torchvision._meta_registrations" not in sys.modules
