"""Run the kernels on the cases of one file and write what they give into another."""

import sys

from safetensors.torch import load_file, save_file

from bpg.models import depthwise_triton

given, found = load_file(sys.argv[1]), {}
for number in range(len(given) // 4):
    maps, weight, upstream, how = (given[f"{number} {place}"] for place in range(4))
    stride, dilation = how.tolist()
    results = (
        depthwise_triton.convolve(maps, weight, stride, dilation),
        depthwise_triton.input_gradient(upstream, weight, list(maps.shape[2:]), stride, dilation),
        depthwise_triton.weight_gradient(maps, upstream, weight.shape[-1], stride, dilation),
    )
    found |= {f"{number} {place}": one.contiguous() for place, one in enumerate(results)}
save_file(found, sys.argv[2])
