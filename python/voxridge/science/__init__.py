"""Scores, ceilings and statistics of encoding models.

The public names are loaded on first use (PEP 562); nothing here imports more than numpy and scipy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxridge._lazy import lazy_names

if TYPE_CHECKING:
    from voxridge.science.accounted import SubjectOmega, omega, subject_omega
    from voxridge.science.asymmetry import Lateralisation, SideInterval, combine_subjects, lateralisation
    from voxridge.science.asymptotes import Asymptotes, fit_asymptotes
    from voxridge.science.blocks import block_length
    from voxridge.science.bootstrap import BootstrapScores, Interval, block_bootstrap, resample_rows
    from voxridge.science.ceilings import Ceiling, NormalisedScores
    from voxridge.science.chain import ChainPartition, chain_partition, chain_subsets
    from voxridge.science.comparison import ModelComparison, compare_models
    from voxridge.science.conditions import Conditions, Scores
    from voxridge.science.depths import (
        PeakDepth,
        PreferredLayers,
        centre_of_mass,
        peak_depth,
        preferred_layer,
        relative_depths,
    )
    from voxridge.science.extrapolation import AggregateCeiling, ExtrapolatedCeiling, extrapolate_ceiling
    from voxridge.science.hemispheres import (
        Hemispheres,
        find_hemispheres,
        hemispheres_from_coordinates,
        hemispheres_from_labels,
        hemispheres_from_names,
        hemispheres_from_surfaces,
    )
    from voxridge.science.intersubject import (
        IntersubjectCorrelation,
        leave_one_out_isc,
        reliable_mask,
        split_half_isc,
    )
    from voxridge.science.intersubject_ridge import ridge_isc
    from voxridge.science.intervals import MeanInterval, mean_interval
    from voxridge.science.joint_models import joint_subsets
    from voxridge.science.lateral_models import LateralisationByModel, lateralisation_by_model
    from voxridge.science.lateral_regions import mirrored_spheres, target_coordinates
    from voxridge.science.layers import (
        LayerScores,
        MaxOnTest,
        choose_layers,
        chosen_scores,
        max_inflation,
        max_on_test,
    )
    from voxridge.science.mixture import ResidualProducts, StackWeights, stack_weights, stacked_prediction
    from voxridge.science.model_table import ModelFacts, known_models, model_facts
    from voxridge.science.multiple import Discoveries, fdr, max_statistic
    from voxridge.science.nulls import Detection, detect, refit_test, shift_runs
    from voxridge.science.partial import PartialEffects, partial_effects
    from voxridge.science.permutation import PermutationTest, permutation_test
    from voxridge.science.repeat_ceilings import repeat_ceiling, spearman_brown
    from voxridge.science.repeats import SignalPower, normalised_correlation, signal_power
    from voxridge.science.run_scores import RunScores, make_scores, score_by_run
    from voxridge.science.saturation import PlateauTest, plateau_test, slope_above
    from voxridge.science.scaling import ScalingFit, fit_scaling
    from voxridge.science.scaling_families import Influence, leave_one_out, wild_interval
    from voxridge.science.scaling_subjects import SubjectScaling, roi_scores, subject_scaling
    from voxridge.science.score_table import ScoreTable, read_score_table
    from voxridge.science.scores import correlation_score, r2_score, signed_r2_score, spe_score
    from voxridge.science.slopes import Gain, SlopeInterval
    from voxridge.science.stacking import StackedResult, StackingFold, stacked_scores
    from voxridge.science.subjects import SubjectTest, subject_test
    from voxridge.science.subsets import SharedPoints, SubsetScores, subset_scores
    from voxridge.science.training_size import (
        DataScaling,
        NestedSubsets,
        TrainingSizeScores,
        data_scaling,
        nested_subsets,
        score_by_training_size,
    )
    from voxridge.science.variance import VariancePartition, partition_variance, unique_variance

_HOME = {
    "AggregateCeiling": "extrapolation",
    "Asymptotes": "asymptotes",
    "BootstrapScores": "bootstrap",
    "Ceiling": "ceilings",
    "ChainPartition": "chain",
    "Conditions": "conditions",
    "DataScaling": "training_size",
    "Detection": "nulls",
    "Discoveries": "multiple",
    "ExtrapolatedCeiling": "extrapolation",
    "Gain": "slopes",
    "Hemispheres": "hemispheres",
    "Influence": "scaling_families",
    "IntersubjectCorrelation": "intersubject",
    "Interval": "bootstrap",
    "Lateralisation": "asymmetry",
    "LateralisationByModel": "lateral_models",
    "LayerScores": "layers",
    "MaxOnTest": "layers",
    "MeanInterval": "intervals",
    "ModelComparison": "comparison",
    "ModelFacts": "model_table",
    "NestedSubsets": "training_size",
    "NormalisedScores": "ceilings",
    "PartialEffects": "partial",
    "PeakDepth": "depths",
    "PermutationTest": "permutation",
    "PlateauTest": "saturation",
    "PreferredLayers": "depths",
    "ResidualProducts": "mixture",
    "RunScores": "run_scores",
    "ScalingFit": "scaling",
    "ScoreTable": "score_table",
    "Scores": "conditions",
    "SharedPoints": "subsets",
    "SideInterval": "asymmetry",
    "SignalPower": "repeats",
    "SlopeInterval": "slopes",
    "StackWeights": "mixture",
    "StackedResult": "stacking",
    "StackingFold": "stacking",
    "SubjectOmega": "accounted",
    "SubjectScaling": "scaling_subjects",
    "SubjectTest": "subjects",
    "SubsetScores": "subsets",
    "TrainingSizeScores": "training_size",
    "VariancePartition": "variance",
    "block_bootstrap": "bootstrap",
    "block_length": "blocks",
    "centre_of_mass": "depths",
    "chain_partition": "chain",
    "chain_subsets": "chain",
    "choose_layers": "layers",
    "chosen_scores": "layers",
    "combine_subjects": "asymmetry",
    "compare_models": "comparison",
    "correlation_score": "scores",
    "data_scaling": "training_size",
    "detect": "nulls",
    "extrapolate_ceiling": "extrapolation",
    "fdr": "multiple",
    "find_hemispheres": "hemispheres",
    "fit_asymptotes": "asymptotes",
    "fit_scaling": "scaling",
    "hemispheres_from_coordinates": "hemispheres",
    "hemispheres_from_labels": "hemispheres",
    "hemispheres_from_names": "hemispheres",
    "hemispheres_from_surfaces": "hemispheres",
    "joint_subsets": "joint_models",
    "known_models": "model_table",
    "lateralisation": "asymmetry",
    "lateralisation_by_model": "lateral_models",
    "leave_one_out": "scaling_families",
    "leave_one_out_isc": "intersubject",
    "make_scores": "run_scores",
    "max_inflation": "layers",
    "max_on_test": "layers",
    "max_statistic": "multiple",
    "mean_interval": "intervals",
    "mirrored_spheres": "lateral_regions",
    "model_facts": "model_table",
    "nested_subsets": "training_size",
    "normalised_correlation": "repeats",
    "omega": "accounted",
    "partial_effects": "partial",
    "partition_variance": "variance",
    "peak_depth": "depths",
    "permutation_test": "permutation",
    "plateau_test": "saturation",
    "preferred_layer": "depths",
    "r2_score": "scores",
    "read_score_table": "score_table",
    "refit_test": "nulls",
    "relative_depths": "depths",
    "reliable_mask": "intersubject",
    "repeat_ceiling": "repeat_ceilings",
    "resample_rows": "bootstrap",
    "ridge_isc": "intersubject_ridge",
    "roi_scores": "scaling_subjects",
    "score_by_run": "run_scores",
    "score_by_training_size": "training_size",
    "shift_runs": "nulls",
    "signal_power": "repeats",
    "signed_r2_score": "scores",
    "slope_above": "saturation",
    "spe_score": "scores",
    "spearman_brown": "repeat_ceilings",
    "split_half_isc": "intersubject",
    "stack_weights": "mixture",
    "stacked_prediction": "mixture",
    "stacked_scores": "stacking",
    "subject_omega": "accounted",
    "subject_scaling": "scaling_subjects",
    "subject_test": "subjects",
    "subset_scores": "subsets",
    "target_coordinates": "lateral_regions",
    "unique_variance": "variance",
    "wild_interval": "scaling_families",
}

__all__ = [
    "AggregateCeiling",
    "Asymptotes",
    "BootstrapScores",
    "Ceiling",
    "ChainPartition",
    "Conditions",
    "DataScaling",
    "Detection",
    "Discoveries",
    "ExtrapolatedCeiling",
    "Gain",
    "Hemispheres",
    "Influence",
    "IntersubjectCorrelation",
    "Interval",
    "Lateralisation",
    "LateralisationByModel",
    "LayerScores",
    "MaxOnTest",
    "MeanInterval",
    "ModelComparison",
    "ModelFacts",
    "NestedSubsets",
    "NormalisedScores",
    "PartialEffects",
    "PeakDepth",
    "PermutationTest",
    "PlateauTest",
    "PreferredLayers",
    "ResidualProducts",
    "RunScores",
    "ScalingFit",
    "ScoreTable",
    "Scores",
    "SharedPoints",
    "SideInterval",
    "SignalPower",
    "SlopeInterval",
    "StackWeights",
    "StackedResult",
    "StackingFold",
    "SubjectOmega",
    "SubjectScaling",
    "SubjectTest",
    "SubsetScores",
    "TrainingSizeScores",
    "VariancePartition",
    "block_bootstrap",
    "block_length",
    "centre_of_mass",
    "chain_partition",
    "chain_subsets",
    "choose_layers",
    "chosen_scores",
    "combine_subjects",
    "compare_models",
    "correlation_score",
    "data_scaling",
    "detect",
    "extrapolate_ceiling",
    "fdr",
    "find_hemispheres",
    "fit_asymptotes",
    "fit_scaling",
    "hemispheres_from_coordinates",
    "hemispheres_from_labels",
    "hemispheres_from_names",
    "hemispheres_from_surfaces",
    "joint_subsets",
    "known_models",
    "lateralisation",
    "lateralisation_by_model",
    "leave_one_out",
    "leave_one_out_isc",
    "make_scores",
    "max_inflation",
    "max_on_test",
    "max_statistic",
    "mean_interval",
    "mirrored_spheres",
    "model_facts",
    "nested_subsets",
    "normalised_correlation",
    "omega",
    "partial_effects",
    "partition_variance",
    "peak_depth",
    "permutation_test",
    "plateau_test",
    "preferred_layer",
    "r2_score",
    "read_score_table",
    "refit_test",
    "relative_depths",
    "reliable_mask",
    "repeat_ceiling",
    "resample_rows",
    "ridge_isc",
    "roi_scores",
    "score_by_run",
    "score_by_training_size",
    "shift_runs",
    "signal_power",
    "signed_r2_score",
    "slope_above",
    "spe_score",
    "spearman_brown",
    "split_half_isc",
    "stack_weights",
    "stacked_prediction",
    "stacked_scores",
    "subject_omega",
    "subject_scaling",
    "subject_test",
    "subset_scores",
    "target_coordinates",
    "unique_variance",
    "wild_interval",
]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
