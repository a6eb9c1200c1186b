"""What neurons are called: by the path of their layer in the model, each application once."""


def layer_paths(model):
    """{id of layer: (path, layer)} of all that a model owns, at any depth; paths do not name the model."""
    paths = {}

    def visit(owner, prefix):
        for layer in owner._layers:
            if id(layer) in paths or layer is getattr(owner, "_functional", None):
                continue
            path = prefix + layer_path(layer)
            paths[id(layer)] = path, layer
            visit(layer, f"{path}/")

    visit(model, "")
    return paths


def layer_path(layer):
    """A layer's name, or the path that it had in the model whose twin it belongs to."""
    return getattr(layer, "neuron_path", layer.name)


class Names:
    """The same names for the same calls: one after the other, each only once."""

    def __init__(self, taken=()):
        self._taken, self._count = set(taken), {}

    def layer(self, path):
        """The name of an activation layer's application."""
        self._count[path] = self._count.get(path, 0) + 1
        return path if self._count[path] == 1 else f"{path}:{self._count[path]}"

    def base(self, path, phi):
        """What the applications of an activation function by, or after, the layer at ``path`` are called."""
        name = f"{path}-{phi}" if path else phi
        while name in self._taken:
            name += "_"
        return name

    def function(self, path, phi):
        """The name of one of those applications."""
        return self.layer(self.base(path, phi))
