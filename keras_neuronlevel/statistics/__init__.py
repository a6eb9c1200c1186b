"""Statistics over recordings and pre-activations: NumPy in, NumPy out."""

from keras_neuronlevel.statistics import curves
from keras_neuronlevel.statistics.bimodality import bimodality
from keras_neuronlevel.statistics.bootstrap import bootstrap_interval
from keras_neuronlevel.statistics.percentiles import (
    percentile_rank,
    percentile_rank_of_zero,
    percentiles,
    streaming_percentiles,
)
from keras_neuronlevel.statistics.seeds import interval_over_seeds
from keras_neuronlevel.statistics.separation import (
    auc,
    auc_by_side,
    category_accuracy,
    highest,
    midranks,
    rank_correlation,
    top_of_high,
)
from keras_neuronlevel.statistics.signs import (
    HIGH,
    LOW,
    UNDEFINED,
    average_sign,
    average_sign_counting_zeros,
    by_neuron,
    categories,
    category_balance,
    class_consistency,
    consistency_histogram,
    fair_sign_edges,
    sign_constancy,
    sign_edges,
    sign_histogram,
)

__all__ = [
    "HIGH",
    "LOW",
    "UNDEFINED",
    "auc",
    "auc_by_side",
    "average_sign",
    "average_sign_counting_zeros",
    "bimodality",
    "bootstrap_interval",
    "by_neuron",
    "categories",
    "category_accuracy",
    "category_balance",
    "class_consistency",
    "consistency_histogram",
    "curves",
    "fair_sign_edges",
    "highest",
    "interval_over_seeds",
    "midranks",
    "percentile_rank",
    "percentile_rank_of_zero",
    "percentiles",
    "rank_correlation",
    "sign_constancy",
    "sign_edges",
    "sign_histogram",
    "streaming_percentiles",
    "top_of_high",
]
