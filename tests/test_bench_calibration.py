"""The record of what p-values and intervals keep: every part runs, small."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # bench is no part of the installed package

from bench import calibration  # noqa: E402


def test_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calibration, "LAYOUTS", ([60], [40] * 3))
    monkeypatch.setattr(calibration, "STUDY", [40] * 4)
    monkeypatch.setattr(calibration, "COEFFICIENTS", (0.5,))
    sizes = {
        name: (simulate, 3 if name in ("pipeline", "many targets") else 20)
        for name, (simulate, _) in calibration.PARTS.items()
    }
    monkeypatch.setattr(calibration, "PARTS", sizes)
    assert calibration.main(["--out", str(tmp_path), "--least", "3"]) == 0
    record = json.loads((tmp_path / "calibration.json").read_text())
    assert set(record) == {*calibration.PARTS, "code", "machine"}
    assert {row["way"] for row in record["permutation"]} == {"blocks", "shift", "rows one by one"}
    assert len({row["way"] for row in record["pipeline"]}) == 4
    assert all(0 <= row["covered"] <= 1 for row in record["intervals"])
    assert "targets as if independent" in capsys.readouterr().out


def test_noise_has_its_memory() -> None:
    noise = calibration.ar1(np.random.default_rng(0), 0.6, [400, 400], 50)
    assert noise.var() == pytest.approx(1, abs=0.05)
    assert np.mean(noise[1:400] * noise[:399]) == pytest.approx(0.6, abs=0.05)
    assert np.mean(noise[400] * noise[399]) == pytest.approx(0, abs=0.5)
