"""One model file of several whose encoders are the same, to the bit.

```
red.onnx    features, states -> encoder -> head -> posteriors (U, K)
green.onnx  features, states -> encoder -> head -> posteriors (U, K')

merged      features, states -> encoder -> heads -> posteriors (U, K + K')
```

What two graphs compute alike, from the same inputs with the same constants, is computed once. The
encoders are the same where that holds for every state; heads may be of any kind.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from kwspot.errors import KwspotError
from kwspot.model import OnnxModel
from kwspot.modelfile import ModelInfo, Provenance
from kwspot.words import heard_together
from kwspot_export.onnx_export import (
    PARITY_TOLERANCE,
    SELF_TEST_TOLERANCE,
    add_self_test,
    run_onnx,
    save_described,
)
from kwspot_export.parity import (
    draft,
    largest_difference,
    output_names,
    require_equal,
    wandering_features,
)


class MergeError(KwspotError, ValueError):
    """Model files that cannot become one."""


def merge(paths: Sequence[Path], output: Path) -> tuple[ModelInfo, float]:
    """Write the words of several ONNX files to one; return what it says, and how far it is off.

    Each word keeps its thresholds. Raises MergeError for files that do not share an encoder and a
    decision, ModelError for those that cannot be used alone or together, and ParityError, writing
    nothing, where an output differs by more than 2e-5 from an original's in 120 streamed steps.
    """
    if len(paths) < 2:
        raise MergeError("give two model files at least")
    infos = [OnnxModel(path).info for path in paths]
    info = _merged_info(infos, paths, output.stem)
    model = _merged_graph([onnx.load(path) for path in paths], infos, paths)
    with draft(output) as file:
        save_described(model, info, file)
        difference = _difference(file, info, infos, paths)
        require_equal(difference, PARITY_TOLERANCE, output, "the merged file and the originals")
        tests = [part.self_test for part in infos if part.self_test]
        tolerance = max((test.tolerance for test in tests), default=SELF_TEST_TOLERANCE)
        add_self_test(model, info, file, tolerance)
    return info, difference


def _merged_info(infos: Sequence[ModelInfo], paths: Sequence[Path], name: str) -> ModelInfo:
    joined = heard_together(infos)
    for info, path in zip(infos, paths, strict=True):
        if info.decision != infos[0].decision:
            raise _apart(paths[0], path, "decide differently (smoothing, release or refractory)")
        if info.states != infos[0].states:
            raise _apart(paths[0], path, "have different encoders")
    return replace(
        joined,
        name=name,
        provenance=_provenance(infos),
        embedding=max(info.embedding for info in infos),
        voice=next((info.voice for info in infos if info.voice), None),
        self_test=None,
    )


def _provenance(infos: Sequence[ModelInfo]) -> Provenance:
    sources = [info.provenance for info in infos]
    versions: dict[str, list[str]] = {}
    for source in sources:
        for package, version in source.versions.items():
            versions.setdefault(package, []).append(version)
    return Provenance(
        licence=_listed([source.licence for source in sources]),
        data=", ".join(sorted({part for s in sources for part in s.data.split(", ")})),
        recipe="merged: " + "; ".join(f"{i.name} by {i.provenance.recipe}" for i in infos),
        versions={package: _listed(found) for package, found in versions.items()},
    )


def _listed(values: Sequence[str]) -> str:
    return " and ".join(dict.fromkeys(values))


def _apart(first: Path, other: Path, why: str) -> MergeError:
    return MergeError(f"{first} and {other} {why}: load both files instead")


def _merged_graph(
    models: Sequence[onnx.ModelProto], infos: Sequence[ModelInfo], paths: Sequence[Path]
) -> onnx.ModelProto:
    """Join graphs at what they share; raise MergeError where that is not the whole encoder."""
    union = _Union([value.name for value in models[0].graph.input])
    places = [union.add(model.graph, number) for number, model in enumerate(models)]
    public: dict[str, str] = {}  # names of the outputs, by the union's own
    embedding = None
    for model, info, path, place in zip(models, infos, paths, places, strict=True):
        if model.opset_import != models[0].opset_import:
            raise _apart(paths[0], path, "use different versions of ONNX's operators")
        for state in info.states:
            if place[state.output] != places[0][state.output]:
                raise _apart(paths[0], path, "have different encoders")
            public[place[state.output]] = state.output
        if info.embedding:
            embedding = embedding or place["embedding"]
            if place["embedding"] != embedding:
                raise _apart(paths[0], path, "have different speaker embeddings")
            public[embedding] = "embedding"
    heads = [place["posteriors"] for place in places]
    nodes = [_renamed(node, public) for node in union.nodes]
    nodes.append(helper.make_node("Concat", heads, ["posteriors"], axis=1))
    outputs = {value.name: value for model in models for value in model.graph.output}
    shape = infos[0].outputs_per_step, sum(len(info.keywords) for info in infos)
    outputs["posteriors"] = helper.make_tensor_value_info("posteriors", TensorProto.FLOAT, shape)
    graph = helper.make_graph(
        nodes, "merged", models[0].graph.input, list(outputs.values()), union.constants
    )
    merged = helper.make_model(graph, opset_imports=models[0].opset_import)
    merged.ir_version = max(model.ir_version for model in models)
    return merged


class _Union:
    """Nodes and constants of several graphs, those that are alike only once."""

    def __init__(self, inputs: Sequence[str]) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._inputs = inputs
        self._known: dict[object, list[str]] = {}  # what makes values -> their names

    def add(self, graph: onnx.GraphProto, number: int) -> dict[str, str]:
        """Add a graph; return the union's name of each of its values."""
        place = {name: name for name in ("", *self._inputs)}

        def is_new(origin: object, names: Sequence[str]) -> bool:
            """Name the values that have this origin; tell whether they are the first."""
            new = origin not in self._known
            known = self._known.setdefault(origin, [name and f"{number}.{name}" for name in names])
            place.update(zip(names, known, strict=True))
            return new

        for tensor in graph.initializer:
            values = numpy_helper.to_array(tensor)
            if is_new((tensor.data_type, values.shape, values.tobytes()), [tensor.name]):
                self.constants.append(numpy_helper.from_array(values, place[tensor.name]))
        for node in graph.node:
            inputs = tuple(place[name] for name in node.input)
            attributes = sorted(a.SerializeToString(deterministic=True) for a in node.attribute)
            kind = (node.domain, node.op_type, len(node.output))
            if is_new((*kind, inputs, *attributes), node.output):
                self.nodes.append(_renamed(node, place))
        return place


def _renamed(node: NodeProto, names: dict[str, str]) -> NodeProto:
    """Copy a node, without its own name, to where its values have other names."""
    copy = NodeProto(op_type=node.op_type, domain=node.domain, attribute=node.attribute)
    copy.input.extend(names.get(name, name) for name in node.input)
    copy.output.extend(names.get(name, name) for name in node.output)
    return copy


def _difference(
    file: Path, info: ModelInfo, infos: Sequence[ModelInfo], paths: Sequence[Path]
) -> float:
    """Return the largest difference of an output of the merged file from the originals'."""
    features = wandering_features(info)
    merged = dict(zip(output_names(info), run_onnx(file, info, features), strict=True))
    found, expected, column = [], [], 0
    for part, path in zip(infos, paths, strict=True):
        words = slice(column, column := column + len(part.keywords))
        outputs = merged | {"posteriors": merged["posteriors"][:, words]}
        found += [outputs[name] for name in output_names(part)]
        expected += run_onnx(path, part, features)
    return largest_difference(found, expected)
