"""On which scale a network wants its images."""

import numpy as np

PREPROCESSING = ("unit", "raw", "standardize", "imagenet-caffe", "imagenet-torch", "minus-one-one")

CAFFE_MEAN = (103.939, 116.779, 123.68)  # of ImageNet's blue, green and red, in 0 to 255
TORCH_MEAN, TORCH_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def preprocess(images, how: str, statistics: tuple | None = None):
    """Images (..., H, W, C) in [0, 1], an array or a tensor, on the scale that a network was trained with.

    ``how`` is one of ``PREPROCESSING``: ``unit`` leaves them in [0, 1]; ``raw`` is [0, 255];
    ``minus-one-one`` is [-1, 1]; ``standardize`` takes off the channels' means and divides by their
    standard deviations, ``statistics``; ``imagenet-caffe`` is blue, green, red in [0, 255] less ImageNet's
    means (Keras' ResNet50); ``imagenet-torch`` is [0, 1] less ImageNet's means, over its deviations.

    Raises ``ValueError`` for another ``how``, for ``standardize`` without ``statistics``, and for ImageNet's
    scales of images without three channels.
    """
    if how not in PREPROCESSING:
        raise ValueError(f"preprocessing is {how!r}; it must be one of {', '.join(PREPROCESSING)}")
    if how == "raw":
        return images * np.float32(255)
    if how == "minus-one-one":
        return images * np.float32(2) - np.float32(1)
    if how == "standardize":
        if statistics is None:
            raise ValueError("preprocessing standardize needs the channels' means and standard deviations")
        mean, std = statistics
        return (images - np.float32(mean)) / np.float32(std)
    if how.startswith("imagenet") and images.shape[-1] != 3:
        raise ValueError(f"preprocessing {how} is for three channels, the images have {images.shape[-1]}")
    if how == "imagenet-caffe":
        return images[..., ::-1] * np.float32(255) - np.array(CAFFE_MEAN, np.float32)
    if how == "imagenet-torch":
        return (images - np.array(TORCH_MEAN, np.float32)) / np.array(TORCH_STD, np.float32)
    return images
