"""Every warning voxridge gives has a class here, so that a user can filter or escalate it by name."""

from __future__ import annotations


class VoxridgeWarning(UserWarning):
    """Base class of all warnings of this package."""


class AlphaEdgeWarning(VoxridgeWarning):
    """More than 1 % of the targets chose the smallest or the largest penalty of the grid."""


class MaskedTargetsWarning(VoxridgeWarning):
    """Some targets are constant or not finite; they were left out of the fit."""


class LeakageWarning(VoxridgeWarning):
    """The chosen folds let training and held-out samples share information."""


class StimulusWarning(VoxridgeWarning):
    """A stimulus file needed repair (overlapping intervals, an unusual format)."""


class ResponseWarning(VoxridgeWarning):
    """Brain responses do not say what was expected of them (another TR, volumes before the steady state)."""


class SingularDesignWarning(VoxridgeWarning):
    """The normal equations are singular to working precision; the least-norm solution was computed by an
    SVD."""


class FallbackWarning(VoxridgeWarning):
    """The planned route could not be trusted on this design; another was used, which the message names."""


class RankDeficientWarning(VoxridgeWarning):
    """Features are linearly dependent to working precision; the fit is the one of least norm."""


class SmallFoldWarning(VoxridgeWarning):
    """A fold scores so few samples that its score says little."""


class SmallSampleWarning(VoxridgeWarning):
    """There are so few subjects, families of models, or sizes of subset, that a test or a fit of them says
    little."""


class NoSignalWarning(VoxridgeWarning):
    """Some targets hold no signal that their repeats could show; their ceiling is NaN, not 0 or infinity."""


class CollinearityWarning(VoxridgeWarning):
    """Predictors of a regression over models are so alike that their single effects cannot be told apart."""


class AutocorrelationWarning(VoxridgeWarning):
    """Blocks of a test are short beside the memory of the data, so that its p-values are too small."""


class IndependenceWarning(VoxridgeWarning):
    """What was given as samples looks like voxels, time points or resamples, which are not independent."""
