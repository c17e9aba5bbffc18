"""Nothing that is loaded can run code: no pickle, no torch.load but of weights, no code from a hub."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import expunge
from expunge.core.errors import ExpungeError
from expunge.testing import small_albef, small_blip, small_entailment, small_mllm, small_writer

SOURCES = sorted((Path(__file__).resolve().parents[1] / "src").rglob("*.py"))
PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
LOADERS = {"load", "save"}


def violations(source: str) -> Iterator[str]:
    """What in a module could load or write code, with its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"{node.lineno}: imports {n}" for n in names if n.partition(".")[0] in PICKLES)
            if isinstance(node, ast.ImportFrom) and node.module in ("torch", "torch.serialization"):
                yield from (f"{node.lineno}: {a.name} without torch's name" for a in node.names if a.name in LOADERS)
        elif isinstance(node, ast.Call):
            given = {k.arg: k.value for k in node.keywords}
            called = ast.unparse(node.func)
            only_weights = given.get("weights_only")
            if called in (
                "torch.load",
                "torch.serialization.load",
                "torch.hub.load",
                "torch.hub.load_state_dict_from_url",
            ):
                if not (isinstance(only_weights, ast.Constant) and only_weights.value is True):
                    yield f"{node.lineno}: {called} without weights_only=True"
            for name in ("allow_pickle", "trust_remote_code"):
                if name in given and not (isinstance(given[name], ast.Constant) and given[name].value is False):
                    yield f"{node.lineno}: {name}"
        elif isinstance(node, ast.Constant) and node.value == "trust_remote_code":
            yield f"{node.lineno}: trust_remote_code"


def test_no_source_can_load_code():
    found = [f"{p.name}:{one}" for p in SOURCES for one in violations(p.read_text(encoding="utf-8"))]
    assert found == [] and len(SOURCES) > 100
    loading = [p.name for p in SOURCES if "torch.load(" in p.read_text(encoding="utf-8")]
    assert loading, "the rule guards nothing"


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "import joblib.numpy_pickle", "from torch import load",
        "torch.load(p)", "torch.load(p, weights_only=False)", "torch.load(p, weights_only=safe)",
        "numpy.load(p, allow_pickle=True)", "AutoModel.from_pretrained(p, trust_remote_code=True)",
        "AutoModel.from_pretrained(p, **{'trust_remote_code': True})",
    ],
)  # fmt: skip
def test_the_rule_sees_what_it_forbids(source):
    assert list(violations(source))


def test_the_rule_leaves_the_rest_alone():
    fine = "import json\nfrom torch import nn\ntorch.load(p, weights_only=True)\nnumpy.load(p, allow_pickle=False)\n"
    fine += "AutoModel.from_pretrained(p, trust_remote_code=False)"
    assert list(violations(fine)) == []


class Evil:
    def __reduce__(self):
        return (Path.write_text, (Path("ran"), "code ran"))


@pytest.mark.parametrize("layout", ["albef", "blip", "plain"])
@pytest.mark.parametrize("write", [torch.save, lambda told, path: path.write_bytes(pickle.dumps(told))])
def test_a_pickle_with_code_in_it_is_refused_by_name(tmp_path, monkeypatch, layout, write):
    monkeypatch.chdir(tmp_path)
    state = {
        "albef": {"model": {"visual_encoder.pos_embed": Evil(), "itm_head.weight": torch.ones(1)}},
        "blip": {"model": {"visual_encoder.blocks.0.attn.qkv.weight": Evil(), "text_decoder.x": torch.ones(1)}},
        "plain": Evil(),
    }[layout]
    write(state, tmp_path / "released.pth")
    with pytest.raises(ExpungeError, match=r"released\.pth: not a checkpoint that can be opened safely"):
        expunge.load_model(tmp_path / "released.pth")
    assert not (tmp_path / "ran").exists()


PLAIN = [small_albef, small_entailment, small_blip, small_mllm]
CASES = [("", kind, r"pickle only \(pytorch_model\.bin\)") for kind in (*PLAIN, small_writer)]
CASES += [("other.safetensors", kind, "holds no weights") for kind in (*PLAIN, small_writer)]
CASES += [("model.fp16.safetensors", kind, "variant 'fp16' only") for kind in PLAIN]  # a generator may be of a variant


@pytest.mark.parametrize(("beside", "build", "said"), CASES)
@pytest.mark.parametrize("benign", [True, False])
def test_a_model_folder_with_a_pickle_in_it_is_not_taken(tmp_path, monkeypatch, build, benign, beside, said):
    """The weights of a folder are safetensors; a torch pickle in their place is refused, however harmless it is and
    whatever lies beside it, and no code ever runs."""
    monkeypatch.chdir(tmp_path)
    model = build()
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    held = dict(model.module.state_dict()) if benign else {"temp": Evil()}
    torch.save(held, tmp_path / "model" / "pytorch_model.bin")
    if beside:
        save_file({"x": torch.zeros(1)}, tmp_path / "model" / beside)
    with pytest.raises(ExpungeError, match=said):
        expunge.load_model(tmp_path / "model")
    assert not (tmp_path / "ran").exists()


def test_safetensors_are_read_whatever_pickle_lies_beside_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = small_albef()
    model.save_pretrained(tmp_path / "model")
    torch.save({"temp": Evil()}, tmp_path / "model" / "pytorch_model.bin")
    found = expunge.load_model(tmp_path / "model").module.state_dict()
    assert all(torch.equal(found[k], v) for k, v in model.module.state_dict().items() if k in found)
    assert not (tmp_path / "ran").exists()
