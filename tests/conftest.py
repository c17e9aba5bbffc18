"""Settings for every test: one thread each, nothing from a network, nothing from or into the user's own cache."""

import os

# Before anything imports torch or a hub client. Small tensors are several times faster on one thread.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest

LONG = (
    "test_never_lost.py", "contracts/test_methods.py", "bench/test_workshop.py", "methods/test_cse.py", "test_ranks.py",
    "train/test_engine.py", "train/test_sharded_stop.py", "test_api_tasks.py", "bench/test_runner.py", "test_api.py",
    "methods/test_chat_methods.py", "contracts/test_resuming.py", "contracts/test_forgetting.py",
)  # fmt: skip
"""Files that take half a minute and more. A worker that begins with one of them last is waited for by the other."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not str(item.path).endswith(LONG))


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Prepared models are made afresh for a test session and shared within it."""
    before = os.environ.get("EXPUNGE_CACHE")
    os.environ["EXPUNGE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["EXPUNGE_CACHE"]
    else:
        os.environ["EXPUNGE_CACHE"] = before
