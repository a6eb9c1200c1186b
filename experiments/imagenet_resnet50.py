"""Quantization and window binarization of a pretrained ImageNet network (I Fig. 3 and 4, row 5; Table 1).

    python experiments/imagenet_resnet50.py --data-dir IMAGENET

loads Keras' pretrained ResNet50 (or ``--weights FILE``, or any other classifier with ``--model FILE.keras
--preprocessing imagenet-torch``), verifies it on labelled pictures, replaces the pre-activations of some
layers by two values per neuron at eleven percentile ranks, and trains linear probes on window-binarized ones.
IMAGENET is a folder of pictures, one folder per wnid, or imagenet2012 as prepared by tensorflow_datasets.
Probes need training pictures; without any, ``--probe-dataset cifar10`` is a transfer variant.

Expected: robust at every layer but the very first, ``conv1``; windows symmetric around rank 50.
"""

from keras_neuronlevel.protocol import cli, imagenet

if __name__ == "__main__":
    cli.run(lambda: imagenet.main(__doc__.splitlines()[0]))
