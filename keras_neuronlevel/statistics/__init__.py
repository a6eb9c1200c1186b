"""Statistics over recordings and pre-activations: NumPy in, NumPy out."""

from keras_neuronlevel.statistics.percentiles import (
    percentile_rank,
    percentile_rank_of_zero,
    percentiles,
    streaming_percentiles,
)
from keras_neuronlevel.statistics.signs import (
    HIGH,
    LOW,
    UNDEFINED,
    average_sign,
    categories,
    category_balance,
    class_consistency,
    sign_constancy,
)

__all__ = [
    "HIGH",
    "LOW",
    "UNDEFINED",
    "average_sign",
    "categories",
    "category_balance",
    "class_consistency",
    "percentile_rank",
    "percentile_rank_of_zero",
    "percentiles",
    "sign_constancy",
    "streaming_percentiles",
]
