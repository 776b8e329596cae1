"""Reads the weights of foreign models as arrays: from HDF5, a `.keras` file (a zip), or a SavedModel's checkpoint.

Runs in the reading process only.
"""

from __future__ import annotations

import math
import re
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.errors import BadModelError

Arrays = dict[str, NDArray[np.float32]]

MAX_VALUES = 1 << 26  # weights in a model: 256 MB, a thousand times what a microcontroller holds
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
_NORM = "batchnorm"  # the attribute of a QKeras layer with the batch norm that it folds
_VALUE = ".ATTRIBUTES/VARIABLE_VALUE"
_ORDER = {  # the order in which Keras numbers a layer's weights
    "Conv2D": ("kernel", "bias"),
    "Dense": ("kernel", "bias"),
    "DepthwiseConv2D": ("depthwise_kernel", "bias"),
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}


@dataclass(frozen=True)
class LayerKey:
    """What a store needs to know to find the weights of a layer.

    Attributes:
        name: the layer's name.
        class_name: its class in the file.
        weighted_index: the number of layers with weights that come before it.
        present: names of the weights it has, in Keras' order.
        norm: for a QKeras layer that folds a batch norm, the names of the batch norm's weights, in Keras' order.
    """

    name: str
    class_name: str
    weighted_index: int
    present: tuple[str, ...]
    norm: tuple[str, ...] = ()


def weights_of(kind: str, absent: set[str]) -> tuple[str, ...]:
    """Names of the weights of a layer of this kind, in Keras' order, without those in `absent`."""
    plain = kind.removeprefix("tritguard>Ternary")
    return tuple(weight for weight in _ORDER[plain] if weight not in absent)


class Store(Protocol):
    """A source of a model's weights."""

    def weights(self, layer: LayerKey) -> Arrays:
        """The weights of a layer by name. Layers have to be asked for in the file's order.

        Raises:
            BadModelError: a weight is missing, or is not an array of plain finite numbers.
        """
        ...

    def inside(self, model: LayerKey) -> Store:
        """The weights of a model that is a layer. It has to be asked for in its place among the layers.

        Raises:
            BadModelError: the file holds nothing of this model.
        """
        ...


class Hdf5Store(Store):
    """A legacy `.h5` file. The attribute `weight_names` of each group `model_weights/LAYER` lists its data sets."""

    def __init__(self, file: h5py.File) -> None:
        self._root = _group(file, "model_weights") if "model_weights" in file else file

    @override
    def weights(self, layer: LayerKey) -> Arrays:
        group = _group(self._root, layer.name)
        paths = {path.rpartition("/")[2].partition(":")[0]: path for path in _weight_names(group)}
        if "depthwise_kernel" not in paths and "kernel" in paths:  # its name in Keras 3
            paths["depthwise_kernel"] = paths["kernel"]
        names = (*layer.present, *layer.norm)
        return _complete({name: _dataset(group, paths[name]) for name in names if name in paths}, layer)

    @override
    def inside(self, model: LayerKey) -> Store:
        return _Hdf5Model(_group(self._root, model.name))


class _Hdf5Model(Store):
    """A model that is a layer of a legacy file: one group lists the weights of all its layers, at any depth.

    Each weight's path ends in LAYER/NAME, or LAYER/NORM/NAME if it is that of a batch norm that the layer folds. Where
    layers of models in it share a name, they are listed in their order.
    """

    def __init__(self, group: Any) -> None:
        self._group = group
        self._paths = _weight_names(group)

    @override
    def weights(self, layer: LayerKey) -> Arrays:
        found = {}
        for name in (*layer.present, *layer.norm):
            own = (name, "kernel") if name == "depthwise_kernel" else (name,)  # its name in Keras 3
            place = -3 if name in layer.norm else -2
            for path in self._paths:
                parts = path.partition(":")[0].split("/")
                if parts[-1] in own and len(parts) >= -place and parts[place] == layer.name:
                    self._paths.remove(path)
                    found[name] = _dataset(self._group, path)
                    break
        return _complete(found, layer)

    @override
    def inside(self, model: LayerKey) -> Store:
        return self


def _weight_names(group: Any) -> list[str]:
    return [raw.decode() if isinstance(raw, bytes) else str(raw) for raw in group.attrs.get("weight_names", ())]


class KerasZipStore(Store):
    """The `model.weights.h5` in a `.keras` file: arrays `layers/CLASS_N/vars/I`, N numbering the layers of a class."""

    def __init__(self, path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo("model.weights.h5")
            if info.file_size > 8 * MAX_VALUES:
                raise BadModelError("weights of more than half a gigabyte")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # Keras writes no other
                raise BadModelError("weights compressed in another way than Keras does")
            # Unpacked on disk, piece by piece: in memory, a file of a few kilobytes could take a gigabyte.
            unpacked = tempfile.TemporaryFile()  # noqa: SIM115 - stays open while the weights are read
            with archive.open(info) as packed:
                shutil.copyfileobj(packed, unpacked)
        self._zipped = _KerasGroup(h5py.File(unpacked, "r"))

    @override
    def weights(self, layer: LayerKey) -> Arrays:
        return self._zipped.weights(layer)

    @override
    def inside(self, model: LayerKey) -> Store:
        return self._zipped.inside(model)


class _KerasGroup(Store):
    """A model in a `.keras` file, or one that is a layer of it."""

    def __init__(self, model: Any) -> None:
        self._layers = _group(model, "layers" if "layers" in model else "_layer_checkpoint_dependencies")
        self._seen: dict[str, int] = {}

    @override
    def inside(self, model: LayerKey) -> Store:
        key = self._key(model)
        return _KerasGroup(_group(self._layers, key)) if key in self._layers else _Nothing()

    @override
    def weights(self, layer: LayerKey) -> Arrays:
        own = _group(self._layers, self._key(layer))
        found = _variables(own, layer.present)
        if layer.norm:
            found |= _variables(_group(own, _NORM), layer.norm)
        return _complete(found, layer)

    def _key(self, layer: LayerKey) -> str:
        base = _snake_case(layer.class_name)
        count = self._seen.get(base, 0)
        self._seen[base] = count + 1
        return f"{base}_{count}" if count else base


def _variables(layer: Any, names: tuple[str, ...]) -> Arrays:
    """A layer's variables by name, without those that it lacks; `names` are in Keras' order."""
    variables = _group(layer, "vars")
    return {name: _dataset(variables, str(place)) for place, name in enumerate(names) if str(place) in variables}


class _Nothing(Store):
    """A model without weights, of which some files have no trace."""

    @override
    def weights(self, layer: LayerKey) -> Arrays:
        return _complete({}, layer)

    @override
    def inside(self, model: LayerKey) -> Store:
        return self


class CheckpointStore(Store):
    """The variables `layer_with_weights-N/NAME` in the checkpoint of a SavedModel. Its graph is not loaded."""

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf  # noqa: PLC0415 - the other stores do not need it

        self._reader: Any = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        self._shapes: dict[str, list[int]] = self._reader.get_variable_to_shape_map()

    @override
    def weights(self, layer: LayerKey) -> Arrays:
        return self.at((), layer)

    @override
    def inside(self, model: LayerKey) -> Store:
        return _CheckpointModel(self, (f"layer_with_weights-{model.weighted_index}",))

    def at(self, path: tuple[str, ...], layer: LayerKey) -> Arrays:
        """The weights of a layer of the model at a path of the checkpoint's objects.

        Raises:
            BadModelError: one is missing, or is not an array of plain finite numbers.
        """
        own = (*path, f"layer_with_weights-{layer.weighted_index}")
        keys = {name: self._key((*own, name)) for name in layer.present}
        keys |= {name: self._key((*own, _NORM, name)) for name in layer.norm}
        return _complete({name: self.array(key) for name, key in keys.items() if key in self._shapes}, layer)

    def _key(self, path: tuple[str, ...]) -> str:
        """The key of the variable at a path: the shortest of its paths, often another one inside a nested model."""
        nodes = self._objects
        at = 0
        for name in path:
            children = {child.local_name: child.node_id for child in nodes[at].children} if at < len(nodes) else {}
            if name not in children:
                return f"{'/'.join(path)}/{_VALUE}"
            at = children[name]
        keys = [each.checkpoint_key for each in nodes[at].attributes] if at < len(nodes) else []
        return str(keys[0]) if keys else ""

    @cached_property
    def _objects(self) -> Any:
        """The objects of the checkpoint, each with its children; none if TensorFlow 1 wrote it."""
        from tensorflow.core.protobuf import trackable_object_graph_pb2  # noqa: PLC0415 - as above

        if _OBJECTS not in self._shapes:
            return ()
        content = self._reader.get_tensor(_OBJECTS)
        return trackable_object_graph_pb2.TrackableObjectGraph.FromString(content).nodes

    def array(self, key: str) -> NDArray[np.float32]:
        """The values of the variable with this key in the checkpoint.

        Raises:
            BadModelError: it is missing, or is not an array of plain finite numbers.
        """
        if key not in self._shapes:
            raise BadModelError(f"no {key[:80]!r} in its checkpoint")
        _check_size(math.prod(self._shapes[key]), key)
        return _float32(np.asarray(self._reader.get_tensor(key)), key)


class _CheckpointModel(Store):
    """A model that is a layer of the one in a checkpoint."""

    def __init__(self, store: CheckpointStore, path: tuple[str, ...]) -> None:
        self._store, self._path = store, path

    @override
    def weights(self, layer: LayerKey) -> Arrays:
        return self._store.at(self._path, layer)

    @override
    def inside(self, model: LayerKey) -> Store:
        return _CheckpointModel(self._store, (*self._path, f"layer_with_weights-{model.weighted_index}"))


def _complete(found: Arrays, layer: LayerKey) -> Arrays:
    names = (*layer.present, *layer.norm)
    missing = [name for name in names if name not in found]
    if missing:
        raise BadModelError(f"its {missing[0]} is not in the file")
    return {name: found[name] for name in names}


def _group(parent: Any, name: str) -> Any:
    found = _linked(parent, name)
    if not isinstance(found, h5py.Group):
        raise BadModelError(f"no group {name[:80]!r} in its weights")
    return found


def _dataset(parent: Any, path: str) -> NDArray[np.float32]:
    node = parent
    for part in path.split("/"):
        node = _linked(node, part)
    if not isinstance(node, h5py.Dataset):
        raise BadModelError(f"no array {path[:80]!r} in its weights")
    if node.is_virtual or node.external:
        raise BadModelError(f"the array {path[:80]!r} lies in another file", fix="save the model in one file")
    _check_size(max(node.size or 0, math.prod(node.chunks or ())), path)
    if node.dtype.kind != "f":
        raise BadModelError(f"weights of type {node.dtype}, not float", where=path[:80])
    return _float32(np.asarray(node.astype(np.float32)[()]), path)


def _linked(parent: Any, name: str) -> Any:
    """A member of a group, if it is in the file itself. A link to another file could read anything on this machine."""
    link = parent.get(name, getlink=True) if isinstance(parent, h5py.Group) and name in parent else None
    if link is None:
        raise BadModelError(f"no {name[:80]!r} in its weights")
    if not isinstance(link, h5py.HardLink):
        raise BadModelError(f"{name[:80]!r} is a link", fix="save the model in one file")
    return parent[name]


def _check_size(values: int, where: str) -> None:
    if values > MAX_VALUES:
        raise BadModelError(f"{values:,} values in one array", where=where[:80])


def _float32(values: NDArray[Any], where: str) -> NDArray[np.float32]:
    if values.dtype.kind != "f":
        raise BadModelError(f"weights of type {values.dtype}, not float", where=where[:80])
    result = values.astype(np.float32, copy=False)
    if not np.isfinite(result).all():
        raise BadModelError("weights hold NaN or infinity", where=where[:80])
    return result


def _snake_case(name: str) -> str:
    """Keras' own conversion: QConv2D becomes q_conv2d."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
