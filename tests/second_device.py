"""A kind of device that lives in the memory of the CPU: shows without a GPU what is left behind.

Its tensors are of a class of their own, and an operation that mixes them with tensors of the CPU
fails as it would on a GPU. They compute with PyTorch's kernels for the CPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "second"
# As on a GPU, positions in an index may be on the CPU, and single numbers anywhere.
_MAY_MIX = ("aten::copy_", "aten::_to_copy", "aten::index", "aten::index_put_")


class _Second:
    """What PyTorch asks a kind of device."""

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def is_initialized() -> bool:
        return True

    @staticmethod
    def current_device() -> int:
        return 0

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


class SecondTensor(torch.Tensor):
    """A tensor of the device; `raw` is where its numbers are."""

    raw: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> "SecondTensor":
        with torch.inference_mode(False):
            made = torch.Tensor._make_wrapper_subclass(
                cls,
                raw.shape,
                strides=raw.stride(),
                storage_offset=raw.storage_offset(),
                dtype=raw.dtype,
                device=torch.device(NAME, 0),
            )
        made.raw = raw
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None) -> Any:
        return _compute(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.raw.tolist()

    def numpy(self) -> Any:
        raise TypeError(f"a tensor on {NAME} has to be copied to the CPU first")

    def __repr__(self) -> str:
        return f"SecondTensor({self.raw})"


def _compute(func, args: tuple, kwargs: dict[str, Any]) -> Any:
    if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
        made = func.decompose(*args, **kwargs)
        if made is not NotImplemented:
            return made
    name = func._schema.name
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    own = [tensor for tensor in tensors if isinstance(tensor, SecondTensor)]
    left = [tensor for tensor in tensors if not isinstance(tensor, SecondTensor) and tensor.ndim]
    if own and left and name not in _MAY_MIX:
        shapes = [tuple(tensor.shape) for tensor in left]
        raise RuntimeError(f"{name}: tensors are on {NAME}, and on the CPU those of {shapes}")
    wanted = kwargs.get("device")
    stays = bool(own) if wanted is None else torch.device(wanted).type == NAME
    if name == "aten::copy_":
        stays = isinstance(args[0], SecondTensor)
    if wanted is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    raw_args, raw_kwargs = tree_map_only(SecondTensor, lambda tensor: tensor.raw, (args, kwargs))
    # Else views of weights could not be made.
    with torch.inference_mode(False), torch.no_grad():
        result = func(*raw_args, **raw_kwargs)
    if not stays:
        return result
    # What an operation in place returns is what it was given.
    known = {id(tensor.raw): tensor for tensor in own}
    return tree_map_only(
        torch.Tensor, lambda raw: known[id(raw)] if id(raw) in known else SecondTensor(raw), result
    )


def _empty(size, dtype=None, layout=None, device=None, pin_memory=None, memory_format=None):
    kept = {"memory_format": memory_format} if memory_format is not None else {}
    return SecondTensor(torch.empty(size, dtype=dtype, device="cpu", **kept))


def _empty_strided(size, stride, dtype=None, layout=None, device=None, pin_memory=None):
    return SecondTensor(torch.empty_strided(size, stride, dtype=dtype, device="cpu"))


def _arange(start, end, step=1, *, dtype=None, **options):
    return SecondTensor(torch.arange(start, end, step, dtype=dtype, device="cpu"))


def _copy_from(source, target, non_blocking=False):
    raw, into = (one.raw if isinstance(one, SecondTensor) else one for one in (source, target))
    into.copy_(raw)
    return target


_setup_privateuseone_for_python_backend(NAME, backend_module=_Second)
_LIBRARY = torch.library.Library("aten", "IMPL")
_LIBRARY.impl("empty.memory_format", _empty, "PrivateUse1")
_LIBRARY.impl("empty_strided", _empty_strided, "PrivateUse1")
_LIBRARY.impl("arange", lambda end, **options: _arange(0, end, **options), "PrivateUse1")
_LIBRARY.impl("arange.start", _arange, "PrivateUse1")
_LIBRARY.impl("arange.start_step", _arange, "PrivateUse1")
_LIBRARY.impl("_copy_from", _copy_from, "PrivateUse1")
_EVERY = torch.library.Library("_", "IMPL")
_EVERY.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")


@contextmanager
def second_device() -> Iterator[str]:
    """Let tensors and modules go to the device of this name."""
    lifted = torch._C._only_lift_cpu_tensors()
    swapped = torch.__future__.get_swap_module_params_on_conversion()
    torch._C._set_only_lift_cpu_tensors(True)
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        yield NAME
    finally:
        torch._C._set_only_lift_cpu_tensors(lifted)
        torch.__future__.set_swap_module_params_on_conversion(swapped)
