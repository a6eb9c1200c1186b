"""Where a run's numbers come from, in words."""

from keras_neuronlevel.report.gather import Run
from keras_neuronlevel.results import lookup, preset
from keras_neuronlevel.results.tables import NOTHING, duration


def pairs(run: Run) -> list[tuple[str, str]]:
    """(term, value) of where the numbers of a ``gather.Run`` come from."""
    origin = run.metrics.get("provenance")
    found = [
        ("numbers", run.source),
        ("seed", run.seed),
        ("preset", preset(run.metrics)),
        ("scale", run.metrics.get("scale")),
        ("data", lookup(origin, "data", "name")),
        ("data source", lookup(origin, "data", "source")),
        ("data digest", lookup(origin, "data", "digest")),
        ("model digest", lookup(origin, "model")),
        ("created", lookup(origin, "created")),
        ("commit", lookup(origin, "commit")),
        ("versions", _versions(lookup(origin, "versions"))),
        ("machine", _machine(origin)),
    ]
    for name, network in run.networks.items():
        found += [
            (f"{name}: {key}", lookup(network, "network", key))
            for key in ("title", "preprocessing", "sha256")
        ]
        found.append((f"{name}: verification", lookup(network, "network", "verification", "verdict")))
        commit, created = (lookup(network, "training", "provenance", key) for key in ("commit", "created"))
        seconds = duration(lookup(network, "training", "seconds", "total"))
        parts = [lookup(network, "training", "config", "update")]
        parts.append(f"{seconds} in all" if seconds != NOTHING else None)
        parts.append(f"begun {created}" if created else None)
        parts.append(f"commit {commit}" if commit else None)
        found.append((f"training of {name}", "; ".join(str(part) for part in parts if part)))
        found.append((f"numbers of {name}", _measured(lookup(network, "measured"))))
    return [(term, str(value)) for term, value in found if value not in (None, "", {})]


def _measured(stamps):
    """Kinds of numbers and when they were measured, by date and commit."""
    if not isinstance(stamps, dict):
        return None
    kinds = {}
    for kind, stamp in stamps.items():
        kinds.setdefault((lookup(stamp, "created"), lookup(stamp, "commit")), []).append(str(kind))
    return "; ".join(
        f"{', '.join(found)} of {created}, commit {commit}" for (created, commit), found in kinds.items()
    )


def _versions(versions):
    if not isinstance(versions, dict):
        return None
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _machine(origin):
    gpus = lookup(origin, "gpus")
    cpus = lookup(origin, "cpus")
    parts = [lookup(origin, "platform"), f"{cpus} CPU cores" if cpus else None]
    if isinstance(gpus, list):
        parts.append(f"GPU: {', '.join(map(str, gpus))}" if gpus else "no GPU")
    return ", ".join(str(part) for part in parts if part)
