"""Names that other packages know: torchvision, timm, MMEngine's tables, the Hugging Face Hub's client."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import server as http

from initcfg._checkpoints.sources import locate
from initcfg.errors import CheckpointError

pytestmark = pytest.mark.peers

DATA = random.Random(6).randbytes(5_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
COMMIT = "c" * 40
OTHER = "d" * 40


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("INITCFG_", "HF_", "MMENGINE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("INITCFG_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("INITCFG_RETRIES", "0")
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "peers")
    importlib.import_module("openmmlab_stand_ins").install()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for package in ("torchvision.models", "timm", "huggingface_hub"):
            importlib.import_module(package)


@pytest.fixture
def server():
    with http.serving() as running:
        yield running


# -- torchvision -----------------------------------------------------------------------------------


def test_plain_names_mean_what_they_mean_to_mmengine():
    import mmengine

    from initcfg._checkpoints.sources.torchvision_names import address_of

    table = json.loads((Path(mmengine.__file__).parent / "hub" / "torchvision_0.12.json").read_text())
    asked = {name: url for name, url in table.items() if url}
    assert {name: address_of(f"torchvision://{name}") for name in asked} == asked
    assert address_of("modelzoo://resnet50") == asked["resnet50"]


def test_members_of_the_registry():
    from torchvision.models import ResNet50_Weights as Weights
    from torchvision.models import get_model_weights, list_models

    from initcfg._checkpoints.sources.torchvision_names import address_of

    second = Weights.IMAGENET1K_V2.url
    for name in ("ResNet50_Weights.IMAGENET1K_V2", "resnet50.IMAGENET1K_V2", "resnet50.imagenet1k_v2"):
        assert address_of(f"torchvision://{name}") == second
    assert address_of("torchvision://resnet50.DEFAULT") == Weights.DEFAULT.url
    for model in list_models():
        for member in get_model_weights(model):
            assert address_of(f"torchvision://{member}") == member.url
    for wrong, meant in {
        "resnet5": "torchvision://resnet50",
        "resnet50.IMAGENET1K_V3": "torchvision://resnet50.IMAGENET1K_V1",
        "ResNet50_Weight.DEFAULT": "torchvision://ResNet50_Weights",
    }.items():
        with pytest.raises(CheckpointError) as caught:
            address_of(f"torchvision://{wrong}")
        assert meant in caught.value.meant


def test_torchvision_weights_are_checked(server, monkeypatch):
    from torchvision.models import ResNet50_Weights as Weights

    url = server.add(f"/resnet50-{DIGEST[:8]}.pth", DATA)
    monkeypatch.setattr(Weights.IMAGENET1K_V2.value, "url", url)
    assert locate("torchvision://resnet50.IMAGENET1K_V2").sha256 == DIGEST
    monkeypatch.setattr(Weights.IMAGENET1K_V2.value, "url", server.add("/resnet50-00000000.pth", DATA))
    with pytest.raises(CheckpointError, match="not what its name says"):
        locate("torchvision://resnet50.IMAGENET1K_V2")


# -- MMEngine --------------------------------------------------------------------------------------


def test_the_tables_of_mmengine():
    offline: dict[str, Any] = {}
    for source in ("open-mmlab://resnet50_v1c", "jhu://resnet50_gn_ws", "mmcls://vgg11"):
        with pytest.raises(CheckpointError) as caught:
            locate(source, offline=True)
        offline[source] = str(caught.value)
    with warnings.catch_warnings():
        # torch tells it that torch.jit is old.
        warnings.simplefilter("ignore")
        from mmengine.runner.checkpoint import get_external_models, get_mmcls_models

    assert get_external_models()["resnet50_v1c"] in offline["open-mmlab://resnet50_v1c"]
    assert get_external_models()["jhu/resnet50_gn_ws"] in offline["jhu://resnet50_gn_ws"]
    assert get_mmcls_models()["vgg11"] in offline["mmcls://vgg11"]


# -- timm ------------------------------------------------------------------------------------------


def test_timm_by_url_and_by_file(server, monkeypatch, tmp_path):
    from timm.models import _registry

    config = _registry._model_pretrained_cfgs["resnet18.a1_in1k"]
    for field in ("url", "file", "hf_hub_id"):
        monkeypatch.setattr(config, field, None)
    monkeypatch.setattr(config, "url", server.add(f"/r18-{DIGEST[:8]}.pth", DATA))
    assert locate("timm://resnet18.a1_in1k").sha256 == DIGEST
    monkeypatch.setattr(config, "url", None)
    with pytest.raises(CheckpointError, match="no pretrained weights"):
        locate("timm://resnet18.a1_in1k")
    (tmp_path / "r18.pth").write_bytes(DATA)
    monkeypatch.setattr(config, "file", str(tmp_path / "r18.pth"))
    assert locate("timm://resnet18.a1_in1k").path == tmp_path / "r18.pth"
    monkeypatch.setattr(config, "custom_load", True)
    with pytest.raises(CheckpointError, match="only their model can read"):
        locate("timm://resnet18.a1_in1k")
    for wrong in ("resnet18.a1_in2k", "resnett18"):
        with pytest.raises(CheckpointError) as caught:
            locate(f"timm://{wrong}")
        assert caught.value.meant


# -- the Hugging Face Hub, whose client reads its variables when it is imported ----------------------


CODE = """
import json, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
import openmmlab_stand_ins
openmmlab_stand_ins.install()
from initcfg._checkpoints.sources import locate
from initcfg.errors import CheckpointError
said = {}
for source, options in json.loads(sys.argv[2]):
    try:
        found = locate(source, **options)
        said[source] = [str(found.path), found.origin, found.sha256]
    except CheckpointError as error:
        said[source] = [type(error).__name__, str(error), list(error.meant)]
print(json.dumps(said))
"""


def answers(tmp_path: Path, endpoint: str, *sources: Any, **environment: str) -> dict[str, list[Any]]:
    asked = [source if isinstance(source, tuple) else (source, {}) for source in sources]
    process = subprocess.run(
        [sys.executable, "-c", CODE, str(Path(__file__).parents[2] / "peers"), json.dumps(asked)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def publish(server: http.Server, repository: str, revision: str, files: dict[str, bytes]) -> None:
    commit = COMMIT if revision == "main" else OTHER
    for name, data in files.items():
        for reference in (revision, commit):
            server.add(f"/{repository}/resolve/{reference}/{name}", data, headers={"X-Repo-Commit": commit})
    listing = {"sha": commit, "id": repository, "siblings": [{"rfilename": name} for name in files]}
    for path in (f"/api/models/{repository}", f"/api/models/{repository}/revision/{revision}"):
        server.add(path, json.dumps(listing).encode(), kind="application/json")


def test_the_hub(server, tmp_path):
    server.missing = {"X-Error-Code": "EntryNotFound"}
    publish(server, "owner/one", "main", {"model.safetensors": DATA, "other.pth": DATA[:9]})
    publish(server, "owner/one", "v1", {"pytorch_model.bin": DATA, "part/x/model.safetensors": DATA})
    index = json.dumps({"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}).encode()
    shards = {"model.safetensors.index.json": index, "m-1.safetensors": DATA, "m-2.safetensors": DATA[1:]}
    publish(server, "owner/many", "main", shards)
    bad = json.dumps({"weight_map": {"a": "m-1.safetensors"}}).encode()
    publish(server, "owner/bad", "main", {"model.safetensors.index.json": bad})
    server.add(
        "/owner/gone/resolve/main/a.bin", b"", script=[http.says(404, X_Error_Code="RepoNotFound")] * 5
    )
    server.add("/owner/gate/resolve/main/a.bin", b"", script=[http.says(403, X_Error_Code="GatedRepo")] * 5)
    good = [
        ("hf://owner/one", {"sha256": DIGEST}),
        "hf://owner/one@v1",
        "hf://owner/one@v1/part/x",
        "hf://owner/one/other.pth",
        "hf://owner/many",
        "timm://hf-hub:owner/one",
    ]
    said = answers(
        tmp_path,
        server.url,
        *good,
        ("hf://owner/one/model.safetensors", {"sha256": "0" * 64}),
        "hf://owner/one/othr.pth",
        "hf://owner/bad",
        "hf://owner/gone/a.bin",
        "hf://owner/gate/a.bin",
        "hf://datasets/owner/one",
        "hf://a/b/../c",
    )
    snapshots = tmp_path / "hf" / "hub" / "models--owner--one" / "snapshots" / COMMIT
    assert said["hf://owner/one"] == [
        str(snapshots / "model.safetensors"),
        f"hf://owner/one@{COMMIT}/model.safetensors",
        DIGEST,
    ]
    other = snapshots.with_name(OTHER)
    assert said["hf://owner/one@v1"][0] == str(other / "pytorch_model.bin")
    assert said["hf://owner/one@v1/part/x"][0] == str(other / "part" / "x" / "model.safetensors")
    assert Path(said["hf://owner/one/other.pth"][0]).read_bytes() == DATA[:9]
    folder = Path(said["hf://owner/many"][0])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == shards
    assert "not what sha256= says" in said["hf://owner/one/model.safetensors"][1]
    assert said["hf://owner/one/othr.pth"][0] == "CheckpointNotFoundError"
    assert "m-1.safetensors" in said["hf://owner/bad"][1]
    assert said["hf://owner/gone/a.bin"][0] == "CheckpointNotFoundError"
    assert "accepted its terms" in said["hf://owner/gate/a.bin"][1]
    assert "no repository of models" in said["hf://datasets/owner/one"][1]

    # Once fetched, no network is needed, by its variable and by ours.
    count = len(server.asked)
    for environment in ({"HF_HUB_OFFLINE": "1"}, {"INITCFG_OFFLINE": "1"}):
        again = answers(tmp_path, server.url, *good, "hf://owner/new", **environment)
        assert "the network is not to be used" in again.pop("hf://owner/new")[1]
        assert again == {source: said[source] for source in again}
    assert len(server.asked) == count


def test_a_hub_that_does_not_answer(tmp_path):
    with http.serving() as gone:
        endpoint = gone.url
    said = answers(tmp_path, endpoint, "hf://owner/one/a.bin")
    assert said["hf://owner/one/a.bin"][0] == "CheckpointFetchError"
    assert "cannot be fetched" in said["hf://owner/one/a.bin"][1]
