"""What each of two gloo processes does in test_ranks: weigh shards, make masks, hold them, say what came out."""

from __future__ import annotations

import json
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from expunge.train.importance import SquaredGradients, gradients, trained
from expunge.train.masks import greatest, only_inside
from expunge.train.shards import own_part


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 13), nn.ReLU(), nn.Linear(13, 5))  # neither 13 nor 5 divides by two


def batch(rank: int) -> torch.Tensor:
    return torch.randn(4, 7, generator=torch.Generator().manual_seed(rank))


def sharded(rank: int) -> dict:
    """Fisher of FSDP2's shards, the masks of it, and ten steps of AdamW with decay under them."""
    model = network()
    mesh = init_device_mesh("cpu", (2,))
    for layer in (model[0], model[2]):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    named = trained(model)
    squares = SquaredGradients(named)
    for found in gradients(named, (model(batch(rank)).square().sum() for _ in range(1))):
        squares.add(found)
    importances = squares.mean()
    masks = greatest(importances, 0.4)
    before = {n: own_part(p).clone() for n, p in named.items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    with only_inside(named, masks):
        for _ in range(10):
            optimizer.zero_grad()
            model(batch(rank)).square().sum().backward()
            masks.apply_({n: p.grad for n, p in named.items()})
            optimizer.step()
    moved = {n: own_part(p) != before[n] for n, p in named.items()}
    whole = {n: own_part(distribute_back(p, importances[n])).tolist() for n, p in named.items()}
    return {
        "moved_outside": sum(int((moved[n] & ~masks[n].unpacked()).sum()) for n in named),
        "moved_inside": sum(int(moved[n].sum()) for n in named),
        "fisher": whole,
    }


def distribute_back(p, part: torch.Tensor) -> torch.Tensor:
    """The whole of a shard's numbers, on every rank."""
    from torch.distributed.tensor import DTensor

    spread = DTensor.from_local(part, p.device_mesh, p.placements, run_check=False, shape=p.shape, stride=p.stride())
    return spread.full_tensor()


def main(address: str, rank: int, output: str) -> None:
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    told = sharded(rank)
    with open(output, "w", encoding="utf-8") as file:
        json.dump(told, file)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
