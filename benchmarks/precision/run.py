"""A training pass, forwards and backwards, with 32-bit numbers and with bfloat16 on this processor: seconds and their ratio.

    python benchmarks/precision/run.py [--rounds 3]

One thread, in turns, of the networks of two bundled recipes on random images. Prints the table.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from brainseg_engine import nets
from brainseg_engine.core import device
from brainseg_engine.recipe import load_recipe

SIZES = {"baseline": (96, 112, 96), "attention_unet": (32, 32, 32)}


def seconds(net: torch.nn.Module, image: torch.Tensor, short: bool) -> float:
    """Of this process's processor time."""
    began = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=short):
        answer = net(image)
    first = answer[0] if isinstance(answer, (tuple, list)) else answer
    first.float().square().mean().backward()
    net.zero_grad(set_to_none=True)
    return time.process_time() - began


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    device.keep_heap()
    torch.set_num_threads(1)
    capability = torch.backends.cpu.get_cpu_capability()
    imitated = device.imitates("bf16-mixed", "cpu")
    print(f"{capability}: bfloat16 is {'imitated, and not used' if imitated else 'used where asked for'}\n")
    print("| recipe | voxels | 32 bits (s) | bfloat16 (s) | ratio |\n|---|---|---|---|---|")
    for name, size in SIZES.items():
        net = nets.build(load_recipe(name), training=True).to(memory_format=torch.channels_last_3d)
        image = torch.randn(1, 4, *size).contiguous(memory_format=torch.channels_last_3d)
        took = {short: [] for short in (False, True)}
        for _ in range(rounds):
            for short, all_ in took.items():
                all_.append(seconds(net, image, short))
        plain, short_ = (statistics.median(took[s]) for s in (False, True))
        print(
            f"| {name} | {'×'.join(map(str, size))} | {plain:.1f} | {short_:.1f} | {short_ / plain:.1f} |", flush=True
        )


if __name__ == "__main__":
    main()
