"""Find the neurons of a Keras model, and look at them while the model runs.

A *neuron layer* is a layer whose input is the pre-activation p and whose output is the activation
a = φ(p), element by element. In a dense layer a neuron is one of U units; in a feature map of shape
(H, W, U) a neuron is a channel, with P = H · W positions (long paper, §3).
"""

import difflib
import weakref
from contextlib import contextmanager

import keras

_ELEMENTWISE_LAYERS = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
)
_FUSED_LAYERS = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)
# Activation functions that mix the values of a sample: their outputs belong to no single neuron.
_MIXING = {"softmax", "log_softmax", "sparsemax", "glu"}


def activation_name(layer):
    """The name of a layer's activation function φ, such as ``relu``."""
    function = getattr(layer, "activation", None)
    return getattr(function, "__name__", type(function or layer).__name__).lower()


def _is_softmax(layer):
    if isinstance(layer, keras.layers.Softmax):
        return True
    return isinstance(layer, keras.layers.Activation) and activation_name(layer) == "softmax"


def _is_fused(layer):
    return isinstance(layer, _FUSED_LAYERS) and activation_name(layer) not in ("linear", "nonetype")


def _is_neuron_layer(layer):
    return isinstance(layer, _ELEMENTWISE_LAYERS) and activation_name(layer) not in _MIXING


def functional(model):
    """The model as a functional one that shares its layers; a functional model is returned as is.

    Raises ``ValueError`` for a model without a graph of layers: subclassed, or not built yet.
    """
    if isinstance(model, keras.Sequential):
        if not model.built:
            raise ValueError(
                f"the Sequential model {model.name!r} is not built, so its layers are not connected; "
                "give it an Input, or call model.build(input_shape) first"
            )
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if getattr(model, "operations", None) is None or not hasattr(model, "inputs"):
        raise ValueError(
            f"{type(model).__name__} {model.name!r} is not a functional or Sequential model; "
            "express it with keras.Model(inputs, outputs) so that its layers can be reached"
        )
    return model


def neuron_layers(model):
    """The names of the neuron layers of a model, from input to output.

    Counted are ``Activation`` layers (with ``linear`` too, as in the papers' linear networks) and
    ``ReLU``, ``LeakyReLU``, ``PReLU``, ``ELU``. Left out are softmax and other functions that mix the
    values of a sample, and a layer that is itself the model's output. A fused
    ``Dense(activation="relu")`` has no pre-activation in the graph: see :func:`split_fused`.
    """
    model = functional(model)
    outputs = {id(output) for output in model.outputs}
    nodes = _nodes(model)
    return [
        layer.name
        for layer in model.layers
        if _is_neuron_layer(layer)
        and not any(id(node.output_tensors[0]) in outputs for node in nodes[layer.name])
    ]


def fused_layers(model):
    """The names of the layers that apply an activation function themselves."""
    return [layer.name for layer in functional(model).layers if _is_fused(layer)]


def neuron_layer(model, name):
    """The neuron layer called ``name``.

    Raises ``ValueError`` with the nearest names when there is no such neuron layer, or when it is
    applied more than once in the model (two pre-activations, no single neuron).
    """
    names = neuron_layers(model)
    if name not in names:
        raise ValueError(_unknown(model, name, names))
    applied = len(_nodes(model)[name])
    if applied != 1:
        raise ValueError(
            f"the layer {name!r} is applied {applied} times in {model.name!r}; a neuron layer has one "
            "pre-activation: use one activation layer for each place"
        )
    return model.get_layer(name)


def _nodes(model):
    """{layer name: the places where the layer is applied in this model}.

    ``layer.output`` would not do: a layer may stand in other models too.
    """
    nodes = {}
    for depth in functional(model)._nodes_by_depth.values():
        for node in depth:
            nodes.setdefault(node.operation.name, []).append(node)
    return nodes


def _unknown(model, name, names):
    if not names:
        fused = fused_layers(model)
        if fused:
            return (
                f"the model {model.name!r} has no neuron layer: {', '.join(fused)} apply their "
                "activation functions themselves; use neurons.split_fused(model) first"
            )
        nested = [layer.name for layer in functional(model).layers if isinstance(layer, keras.Model)]
        if nested:
            return (
                f"the model {model.name!r} has no neuron layer of its own, and those inside the nested model "
                f"{', '.join(nested)} cannot be reached yet; build it as one functional model"
            )
        return (
            f"the model {model.name!r} has no neuron layer; give it layers such as "
            'keras.layers.Activation("relu") between its weights'
        )
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.3) or names[:3]
    return f"no neuron layer is called {name!r}; the nearest of the {len(names)} are {', '.join(near)}"


def choose_layers(model, layers=None):
    """The given neuron layers checked, or all of them when ``layers`` is None. Raises ``ValueError``."""
    if isinstance(layers, str):
        layers = [layers]
    names = neuron_layers(model)
    if not names:
        raise ValueError(_unknown(model, None, names))
    chosen = names if layers is None else list(layers)
    if not chosen:
        raise ValueError("layers is empty; name at least one neuron layer, or give None for all")
    for name in chosen:
        neuron_layer(model, name)
    return sorted(chosen, key=names.index)


def pre_activation(model, name):
    """The symbolic tensor p that goes into the neuron layer ``name``."""
    return _nodes(model)[neuron_layer(model, name).name][0].input_tensors[0]


def activation(model, name):
    """The symbolic tensor a = φ(p) that comes out of the neuron layer ``name``."""
    return _nodes(model)[neuron_layer(model, name).name][0].output_tensors[0]


def output_softmax(model):
    """The softmax layer whose output is the model's output, or None where the model ends in logits."""
    model = functional(model)
    if len(model.outputs) != 1:
        raise ValueError(f"the model {model.name!r} has {len(model.outputs)} outputs; a classifier has one")
    node = _output_node(model)
    return node.operation if _is_softmax(node.operation) else None


def gives_logits(model):
    """Whether the cross-entropy of :func:`logits` makes sense: the model ends in a softmax, or in a layer
    without an activation function. A final sigmoid or ReLU is neither: only the order of outputs counts."""
    last = _output_node(model).operation
    if not isinstance(last, keras.Layer):
        return False
    return _is_softmax(last) or not (_is_elementwise(last) or _is_fused(last))


def _is_elementwise(layer):
    return isinstance(layer, _ELEMENTWISE_LAYERS)


def _output_node(model):
    """The node that makes the output, seen through final linear activations (casts to float32)."""
    nodes = {
        id(tensor): node
        for nodes in _nodes(model).values()
        for node in nodes
        for tensor in node.output_tensors
    }
    node = nodes[id(model.outputs[0])]
    while isinstance(node.operation, keras.layers.Activation) and activation_name(node.operation) == "linear":
        node = nodes[id(node.input_tensors[0])]
    return node


def logits(model):
    """The symbolic logits (K,) of a classifier: its output, or what goes into its last softmax.

    Derivatives are always taken from logits: cross-entropy of a softmax output clips at 1e-7 and turns
    the derivative of a confidently wrong sample into exactly zero.
    """
    model = functional(model)
    if output_softmax(model) is None:
        return model.outputs[0]
    return _output_node(model).input_tensors[0]


@contextmanager
def tapped(layers, on_call):
    """While the context lasts, every call of one of ``layers`` reports ``on_call(layer, p, a)``.

    The layers compute what they always compute; nothing is added to the model's graph. Used while a
    function is traced, it reaches the intermediate tensors of any model that calls these layers.
    """
    originals = []
    try:
        for layer in layers:
            outer = vars(layer).get("call")  # another tap, where two are nested
            originals.append((layer, outer))
            layer.call = _reporting(layer, layer.call, on_call)
        yield
    finally:
        for layer, outer in reversed(originals):
            del layer.call
            if outer is not None:
                layer.call = outer


def _reporting(layer, call, on_call):
    def reporting_call(p, *args, **kwargs):
        a = call(p, *args, **kwargs)
        if a is p:  # a linear φ: what else reads p must not count as reading a
            a = keras.ops.copy(p)
        on_call(layer, p, a)
        return a

    return reporting_call


def split_fused(model):
    """A model of the same function in which every fused layer is split into two.

    ``Dense(512, activation="relu", name="dense1")`` becomes a linear ``dense1``, whose output is the
    pre-activation, and ``Activation("relu", name="dense1-relu")``. The new model *shares its weights* with
    the old one: training either trains both. A model without fused layers is returned as it is.

    It is made once for each model and kept as long as the model: every graph that is made of layers leaves
    something behind in them.

    Raises ``ValueError`` for subclassed and unbuilt models.
    """
    if model not in _split_models:
        _split_models[model] = _split(functional(model))
    return _split_models[model] or functional(model)


_split_models = weakref.WeakKeyDictionary()  # {model: its split twin, or None where nothing is fused}


def _split(model):
    fused = {layer.name: layer for layer in model.layers if _is_fused(layer)}
    if not fused:
        return None
    taken = {layer.name for layer in model.layers}
    linear = {name: _linear_twin(layer) for name, layer in fused.items()}
    activations = {
        name: keras.layers.Activation(
            layer.activation, name=_free_name(layer, taken), dtype=layer.dtype_policy
        )
        for name, layer in fused.items()
    }

    def call(layer, *args, **kwargs):
        out = layer(*args, **kwargs)
        return activations[layer.name](out) if layer.name in fused else out

    return keras.models.clone_model(
        model, clone_function=lambda layer: linear.get(layer.name, layer), call_function=call
    )


def _free_name(layer, taken):
    name = f"{layer.name}-{activation_name(layer)}"
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _linear_twin(layer):
    """The same layer with a linear activation and the *same* variables."""
    twin = type(layer).from_config({**layer.get_config(), "activation": "linear"})
    for attribute, value in vars(layer).items():
        if isinstance(value, keras.Variable):
            setattr(twin, attribute, value)
    twin.built = True
    twin._build_shapes_dict = getattr(layer, "_build_shapes_dict", None)
    return twin
