"""Statistics over recordings and pre-activations: NumPy in, NumPy out."""

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
    "sign_constancy",
]
