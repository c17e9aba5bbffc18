"""What drives a training loop: accelerate, with one process or many, whole models or sharded ones.

``accelerate launch``'s own flags and configuration files decide: nothing (one process), several processes (DDP), FSDP2,
DeepSpeed ZeRO. Objective and model travel as one module, because a loss that calls other methods of an unwrapped model
trains with gradients that were never averaged.

What FSDP2 shards: each layer that the model names (``_no_split_modules``, transformers' word for it) is a unit, which
is whole only while it computes; everything else (embeddings, norms, projections, heads, temperature) is the root's,
whole from the first to the last line of a loss, which may therefore read it directly. It happens to a copy: the model
of before stays on the CPU and takes the trained weights up at the end, so that deltas, saving and evaluation meet
ordinary tensors.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from expunge.core import ranks
from expunge.core.arithmetic import fast_precision
from expunge.core.delta import fingerprint
from expunge.core.errors import ExpungeError
from expunge.core.scale import Scale
from expunge.core.types import Example
from expunge.train.precision import quick
from expunge.train.resuming import Moments, Stateful, Weights
from expunge.train.rows import sharing

Terms = dict[str, Tensor]
Loss = Callable[[Sequence[Example], Sequence[Example]], Terms]


class Objective(nn.Module):
    """Model and loss behind one ``forward``, so that every engine sees all that is computed."""

    def __init__(self, module: nn.Module, loss: Loss, settling: bool = True):
        super().__init__()
        self.module = module
        self.loss = loss
        self.settling = settling

    def forward(self, forget: Sequence[Example], retain: Sequence[Example]) -> Terms:
        with sharing(settling=self.settling):
            return self.loss(forget, retain)


class Engine:
    """One training loop's model, loss and optimiser, ready for however many processes there are.

    ``optimizer`` makes one for ``params``, or for their copies where they are sharded; ``clip`` bounds the length of
    the gradient (0: not at all). Raises ExpungeError where the launcher asked for what cannot be done here.
    """

    def __init__(
        self,
        model: Any,
        loss: Loss,
        params: list[nn.Parameter],
        optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
        precision: str,
        clip: float,
        scale: Scale,
    ):
        self.model, self.scale, self._clip = model, scale, clip
        if scale.accumulate > 1 and _flag("ACCELERATE_USE_DEEPSPEED"):
            raise ExpungeError("--accumulate does not go with DeepSpeed, which steps by itself: take smaller batches.")
        self.precision = fast_precision() if scale.precision == "auto" else scale.precision or precision
        self.accelerator = _accelerator(model.module, clip)
        self.whole: nn.Module | None = None
        # In the model's order, not the optimiser's: the length of a gradient is rounded in the order of its parts.
        self.trained = params
        if self.is_sharded:
            names = self._on_a_copy(params)
            params = [model.module.get_parameter(name) for name in names]
        made = optimizer(params)
        self.objective, self.optimizer = self.accelerator.prepare(
            Objective(model.module, loss, settling=not self.is_sharded), made
        )
        if self.is_sharded:
            _let_methods_gather(self.objective)
            self.trained = [model.module.get_parameter(name) for name in names]  # sharded ones have taken their places

    @property
    def is_sharded(self) -> bool:
        return self.accelerator.is_fsdp2

    @property
    def leaves_gradients(self) -> bool:
        """Whether whole gradients lie in the model's own parameters between ``gradients`` and the step."""
        return not (self.is_sharded or _flag("ACCELERATE_USE_DEEPSPEED"))

    @property
    def can_be_saved(self) -> bool:
        """Whether a training can be saved under way: DeepSpeed keeps its optimiser's parts to itself."""
        return not _flag("ACCELERATE_USE_DEEPSPEED")

    def parts(self) -> dict[str, Stateful]:
        """What is saved of a training (``train.resuming``)."""
        return {"model": Weights(self.model.module, self.trained), "optimizer": Moments(self.optimizer)}

    def gradients(self, forget: Sequence[Example], retain: Sequence[Example]) -> Terms:
        """Leave the gradients of one step in the parameters; returns the loss's terms.

        In portions (``Scale.accumulate``) each counts by its share of the forget examples, or of the retain examples
        where there are no others. Raises FloatingPointError for a loss that is not a number.
        """
        parts = portions(forget, retain, self.scale.accumulate)
        total: Terms = {}
        for turn, (some, beside) in enumerate(parts, 1):
            weight = len(some) / len(forget) if forget else len(beside) / len(retain)
            with nullcontext() if turn == len(parts) else self.accelerator.no_sync(self.objective):
                with quick(self.precision):
                    terms = self.objective(some, beside)
                loss = torch.stack([t.float() for t in terms.values()]).sum()
                if not torch.isfinite(loss):
                    raise FloatingPointError(f"the loss is {loss.item()}")
                self.accelerator.backward(loss if len(parts) == 1 else weight * loss)
            if len(parts) > 1:
                terms = {k: total.get(k, 0.0) + weight * v.detach() for k, v in terms.items()}
                terms = {**total, **terms}
            total = terms
        return total

    def clip(self) -> None:
        """Bound the length of the whole gradient, wherever its parts lie."""
        if self._clip and self.is_sharded:  # accelerate takes nothing but all parameters in the model's order here
            nn.utils.clip_grad_norm_(self.trained, self._clip)
        elif self._clip:
            self.accelerator.clip_grad_norm_(self.trained, self._clip)

    @contextmanager
    def working(self) -> Iterator[None]:
        """The block of the loop. At its end, however it ends, the model is whole again and of ordinary tensors."""
        from expunge.train.recompute import recomputing

        try:
            with recomputing(self.model.module, self.scale.recompute):
                yield
        finally:
            if self.whole is not None:
                _take_up(self.whole, self.model.module)
                self.model.module = self.whole
            self.accelerator.free_memory()

    def _on_a_copy(self, params: list[nn.Parameter]) -> list[str]:
        """Let the model go on as a copy of itself that may be sharded; the names of ``params``."""
        whole: nn.Module = self.model.module
        module = copy.deepcopy(whole)
        for name, p in list(module.named_parameters()):
            if not p.ndim:  # FSDP takes no single numbers, but vectors of one
                owner, _, last = name.rpartition(".")
                one = nn.Parameter(p.detach().reshape(1).clone(), requires_grad=p.requires_grad)
                setattr(module.get_submodule(owner), last, one)
        self.whole, self.model.module = whole, module
        names = {id(p): name for name, p in whole.named_parameters()}
        return [names[id(p)] for p in params]


def portions(
    forget: Sequence[Example], retain: Sequence[Example], count: int
) -> list[tuple[Sequence[Example], Sequence[Example]]]:
    """A step's examples in at most ``count`` parts of like size, each with some of whatever there is.

    The trap: a part without retain examples would take its share of the weight from those that have some.
    """
    count = min([count, *(len(some) for some in (forget, retain) if some)])
    if count == 1:
        return [(forget, retain)]

    walked = forget or retain
    edges = [round(i * len(walked) / count) for i in range(count + 1)]

    def cut(examples: Sequence[Example]) -> list[Sequence[Example]]:
        places = [round(edge * len(examples) / len(walked)) for edge in edges]
        return [examples[a:b] for a, b in zip(places, places[1:])]

    return list(zip(cut(forget), cut(retain)))


def agree(module: nn.Module) -> bool:
    """Give every rank the first one's weights; whether any had others. Every rank must ask."""
    if ranks.count() == 1:
        return False
    from torch import distributed

    differed = len(set(ranks.gather(fingerprint(module.state_dict())))) > 1
    if differed:
        for tensor in module.state_dict().values():
            held = tensor.to(ranks.device())
            distributed.broadcast(held, src=0)
            tensor.copy_(held)
    return differed


def need_whole_weights(why: str) -> None:
    """Raise ExpungeError where weights will be sharded, for a loss that reads them otherwise than by calling layers."""
    if ranks.count() > 1 and _flag("ACCELERATE_USE_FSDP"):
        raise ExpungeError(f"{why}, and FSDP leaves each process a part of them: launch it without FSDP.")


def describe() -> dict[str, Any]:
    """For the record: how many processes worked, and in which way. Empty for one."""
    if ranks.count() == 1:
        return {}
    way = "fsdp2" if _flag("ACCELERATE_USE_FSDP") else "deepspeed" if _flag("ACCELERATE_USE_DEEPSPEED") else "ddp"
    return {"ranks": {"count": ranks.count(), "engine": way, "backend": str(ranks.joined().backend)}}


# ---------------------------------------------------------------------------------------------- inside


def _accelerator(module: nn.Module, clip: float) -> Any:
    """accelerate's engine as the launcher asked for it."""
    _refuse_the_impossible()
    from accelerate import Accelerator, DistributedDataParallelKwargs

    if ranks.count() == 1:
        return Accelerator(cpu=not torch.cuda.is_available())
    ranks.joined()
    # A method may freeze parts, or leave them out of its loss: DDP must not wait for their gradients.
    engine = Accelerator(
        cpu=not torch.cuda.is_available(),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if _flag("ACCELERATE_USE_FSDP"):
        _shard(engine, module)
    if (plugin := getattr(engine.state, "deepspeed_plugin", None)) is not None:
        # It wants to know a batch per process; ours is drawn for all of them and only counted here.
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = 1
        plugin.deepspeed_config |= {"gradient_accumulation_steps": 1, "gradient_clipping": clip}
    return engine


def _refuse_the_impossible() -> None:
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if asked not in ("no", ""):
        raise ExpungeError(
            f"accelerate was asked for mixed_precision {asked}; here --precision bf16 does that, so that the run knows."
        )
    if _flag("ACCELERATE_USE_FSDP") and os.environ.get("FSDP_VERSION", "1") != "2":
        raise ExpungeError("FSDP is supported in its second version only: add --fsdp_version 2 to accelerate launch.")
    if _flag("ACCELERATE_USE_DEEPSPEED"):
        from importlib.util import find_spec

        if find_spec("deepspeed") is None:
            raise ExpungeError("DeepSpeed was asked for and is not installed: pip install deepspeed.")
        if os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3":
            raise ExpungeError(
                "DeepSpeed's third stage cuts weights that losses here read directly (temperature, position "
                "embeddings). Use --zero_stage 2, or FSDP2, which shards layer by layer."
            )


def _shard(engine: Any, module: nn.Module) -> None:
    """FSDP2 with the model's layers as units: other cuts would go through what losses here read or call directly.

    The trap: accelerate knows FSDP on accelerators only; on a CPU it trains with DDP and does not say so.
    """
    from accelerate import FullyShardedDataParallelPlugin
    from accelerate.utils import DistributedType

    named = getattr(module, "_no_split_modules", None) or []
    units = [name for name in named if any(type(m).__name__ == name for m in module.modules())]
    for state in (engine.state, ranks.joined()):  # the one takes it from the other whenever it is asked again
        state.distributed_type = DistributedType.FSDP
    engine.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2, auto_wrap_policy="transformer_based_wrap", transformer_cls_names_to_wrap=units
    )


def _let_methods_gather(objective: nn.Module) -> None:
    """A unit's weights are gathered when its ``forward`` is called; for its other methods torch must be told."""
    from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method

    for module in objective.modules():
        if isinstance(module, FSDPModule):
            for name in getattr(module, "called_beside_forward", ()):
                register_fsdp_forward_method(module, name)


@torch.no_grad()
def _take_up(whole: nn.Module, sharded: nn.Module) -> None:
    """Copy trained shards, gathered one tensor after the other, into the model of before. Every rank must ask."""
    for name, tensor in sharded.state_dict().items():
        full = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
        target = whole.state_dict()[name]
        target.copy_(full.reshape(target.shape))


def _flag(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes")
