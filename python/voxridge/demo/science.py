"""The second half of the demo: several simulated listeners and three simulated models, with a known truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from voxridge.demo.expected import Expected, expect
from voxridge.demo.findings import Findings, find
from voxridge.demo.listeners import Audience, coarse, make_audience
from voxridge.demo.listening import PENALTIES, ListenerScores, score_listeners
from voxridge.demo.session import ScienceSettings, Session, make_session
from voxridge.responses.cortex import Cortex


@dataclass(frozen=True)
class Science:
    """The simulated study: what was put in, what was to be expected, and what was found."""

    session: Session
    audience: Audience
    expected: Expected
    listeners: list[ListenerScores]
    findings: Findings

    def provenance(self) -> dict[str, Any]:
        """Settings for the run card."""
        return {
            **dataclasses.asdict(self.session.settings),
            "models": {model.name: dataclasses.asdict(model) for model in self.session.models},
            "vertices": self.audience.cortex.n_vertices,
            "vertices fitted": int(self.audience.studied.sum()),
            "penalties": [float(alpha) for alpha in PENALTIES],
            "strengths of language and word rate": {
                one.name: [round(strength, 3) for strength in one.strengths]
                for one in self.audience.listeners
            },
        }


def run_science(
    cortex: Cortex,
    layer: Sequence[NDArray[Any]],
    word_rate: Sequence[NDArray[Any]],
    settings: ScienceSettings,
    *,
    folder: Path,
    identity: dict[str, Any],
    progress: bool = True,
) -> Science:
    """Simulate and analyse the listeners; those finished before are read from ``folder``.

    Parameters
    ----------
    cortex : Cortex
        The study runs on the next coarser surface of it.
    layer, word_rate : lists of numpy.ndarray of shape (n_rows, width) and (n_rows, 1)
        Of the story: their autocorrelation is that of what the listeners hear.
    settings : ScienceSettings
    folder : Path
    identity : dict
        Whatever else decides the result.
    progress : bool
    """
    session = make_session(layer, word_rate, settings)
    audience = make_audience(coarse(cortex), session)
    # The truth comes first: nothing in it knows of a fit.
    expected = expect(audience, session)
    identity = {**identity, "study": dataclasses.asdict(settings)}
    listeners = score_listeners(audience, session, folder, identity, progress=progress)
    return Science(session, audience, expected, listeners, find(audience, session, expected, listeners))
