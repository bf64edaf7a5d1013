"""What is tried again: what may be gone by then."""

import errno
import shutil
from pathlib import Path

import pytest
import requests
from diffusers import UNet2DConditionModel
from prefect.states import Failed

from tasks.stage import is_machine_error
from tests.conftest import MODELS
from tokencompose_core.store.store_error import StoreError, StoreRefusedError


def is_tried_again(error: Exception) -> bool:
    return is_machine_error(None, None, Failed(data=error))


def raised(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        ConnectionError("reset"),
        requests.ConnectionError("no route"),
        TimeoutError("no step"),
        ChildProcessError("killed"),
        StoreError("did not answer"),
        RuntimeError("CUDA out of memory"),
        # As transformers says that it did not reach the hub, and had nothing in its cache.
        raised(OSError("We couldn't connect"), raised(FileNotFoundError(), ConnectionError())),
    ],
    ids=repr,
)
def test_of_the_machine(error):
    assert is_tried_again(error)


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("there is none"),
        StoreRefusedError("no right"),
        ValueError("bad"),
        OSError("image file is truncated"),
        raised(OSError("no such file"), FileNotFoundError()),
    ],
    ids=repr,
)
def test_of_what_was_given(error):
    assert not is_tried_again(error)


def test_a_model_without_weights_is_loaded_once(tmp_path: Path):
    folder = tmp_path / "unet"
    shutil.copytree(
        MODELS / "stable_diffusion/unet",
        folder,
        ignore=shutil.ignore_patterns("*.safetensors"),
    )
    with pytest.raises(OSError, match="no file named") as caught:
        UNet2DConditionModel.from_pretrained(folder)
    assert not isinstance(caught.value, FileNotFoundError)
    assert not is_tried_again(caught.value)
