"""The long paper's 12-layer CNN on CIFAR-10 (I Fig. 1, 3, 4, 5, rows 3 and 4; Table 1).

    python experiments/cifar10_cnn.py

trains the ReLU and the linear network, records ∂L/∂a every 100 batches, and quantizes and window-binarizes
three layers. ``--preset paper`` is the papers' scale (100 epochs at batch size 32, 1600 recordings);
``reduced`` (5 epochs, 40 recordings) is meant for two CPU cores, and ``quick`` is for a first look;
``--help`` says how long each took. Figures and numbers go to ``outputs/cifar10_cnn``.

Expected: near the output (``stage3layer2``) signs hardly change; in ``stage0layer0-relu`` most change all
the time.
"""

import functools

import keras_neuronlevel as nl
from keras_neuronlevel.protocol import cli

ACTIVATIONS = ("relu", "linear")
# The papers state neither rate nor schedule: stochastic gradient descent with momentum, the rate falling to
# zero by a cosine, is ours. The rate is that at batch size 128; a preset of another has its own.
RATE = 0.05
MOMENTUM = 0.9


def recipe(experiment, activation, network="cifar_cnn"):
    """A network of 12 convolutional layers, one of ``nl.networks``, and its training."""
    import keras

    preset, data = experiment.preset, experiment.data
    rate = preset.learning_rate or RATE
    steps = preset.epochs * -(-len(data.x_train) // preset.batch_size)
    mean, std = nl.networks.channel_statistics(data.x_train)
    build, name = getattr(nl.networks, network), experiment.row.name

    def optimizer():
        decay = keras.optimizers.schedules.CosineDecay(rate, steps)
        return keras.optimizers.SGD(decay, momentum=MOMENTUM)

    return experiment.spec(
        name=f"{name.removeprefix('cifar10_')}-{activation}",
        activation=activation,
        build=functools.partial(build, activation, mean=mean, std=std, seed=experiment.seed),
        optimizer=optimizer,
        network=f"{build.__name__}, 12 layers, 16 filters in the first stage",
        update=f"SGD, learning rate {rate}, cosine decay to 0, momentum {MOMENTUM}",
    )


def parser(name="cifar10_cnn", description=__doc__):
    return cli.parser(nl.papers.EXPERIMENTS[name], description, ACTIVATIONS)


def main(arguments=None):
    perform("cifar10_cnn", cli.parse(parser(), arguments), recipe)


def perform(name, options, recipe):
    """The experiment ``name`` with the networks that ``recipe(experiment, activation)`` gives."""
    cli.start_tensorflow(options)
    from keras_neuronlevel.protocol import pipeline

    pipeline.main(nl.papers.EXPERIMENTS[name], options, recipe)


if __name__ == "__main__":
    cli.run(main)
