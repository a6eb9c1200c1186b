"""The protocol of both CIFAR-10 experiments, which differ in the network alone (I §3 to §5)."""

import functools

import keras

from keras_neuronlevel import cli, networks, presets
from keras_neuronlevel.pipeline import Experiment


def main(title, build, description):
    """Parse the command line, then train, record and evaluate ``build(activation, ...)`` networks."""
    arguments = cli.parser(
        description,
        activations=presets.CIFAR_ACTIVATIONS,
        output_dir=f"figures/{title}",
        presets=presets.CIFAR,
        datasets=("cifar10", "mnist32"),
    ).parse_args()
    experiment = Experiment.begin(title, arguments, presets.CIFAR)
    statistics = networks.channel_statistics(experiment.data.x_train)
    activations = dict.fromkeys(arguments.activation)
    specs = [spec(experiment, title, build, activation, statistics) for activation in activations]
    experiment.perform(specs, arguments.experiments, layers=presets.CIFAR_LAYERS)


def spec(experiment, title, build, activation, statistics):
    """One network, trained by stochastic gradient descent with momentum and a cosine decay (ours)."""
    preset = experiment.preset
    steps = preset.epochs * -(-len(experiment.data.x_train) // preset.batch_size)
    rate = preset.learning_rate or presets.CIFAR_LEARNING_RATE
    mean, std = statistics

    def optimizer():
        decay = keras.optimizers.schedules.CosineDecay(rate, steps)
        return keras.optimizers.SGD(decay, momentum=presets.CIFAR_MOMENTUM)

    return experiment.spec(
        name=f"{title.removeprefix('cifar10_')}-{activation}",
        build=functools.partial(build, activation, mean=mean, std=std, seed=experiment.seed),
        optimizer=optimizer,
        network=f"{build.__name__}, 12 layers, 16 filters in the first stage",
        activation=activation,
        update=f"SGD, learning rate {rate}, cosine decay to 0, momentum {presets.CIFAR_MOMENTUM}",
    )
