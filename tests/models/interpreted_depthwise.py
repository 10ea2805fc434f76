"""Run kernels and operators in Triton's interpreter on a file's cases; write what they give."""

import sys

import torch
from safetensors.torch import load_file, save_file

from bpg.models import depthwise_gpu, depthwise_triton

depthwise_triton.CHUNKS = 4  # the interpreter takes a millisecond for each
given, found = load_file(sys.argv[1]), {}
for number in range(len(given) // 4):
    maps, weight, upstream, how = (given[f"{number} {place}"] for place in range(4))
    stride, dilation = how.tolist()
    size = list(maps.shape[2:])
    results = (
        depthwise_triton.convolve(maps, weight, stride, dilation),
        depthwise_triton.input_gradient(upstream, weight, size, stride, dilation),
        depthwise_triton.weight_gradient(maps, upstream, weight.shape[-1], stride, dilation),
    )
    found |= {f"{number} {place}": one.contiguous() for place, one in enumerate(results)}

for operator in (
    depthwise_gpu.depthwise,
    depthwise_gpu._input_gradient,
    depthwise_gpu._weight_gradient,
):
    operator.register_kernel("cpu")(operator._init_fn)

maps, weight = torch.randn(2, 6, 5, 7), torch.randn(6, 1, 3, 3)
channels_last = maps.contiguous(memory_format=torch.channels_last)
checks = (
    (depthwise_gpu.depthwise, (maps.requires_grad_(), weight.requires_grad_(), 1, 2)),
    (depthwise_gpu._input_gradient, (channels_last, weight.detach(), [5, 7], 1, 2)),
    (depthwise_gpu._weight_gradient, (channels_last, channels_last, 3, 1, 2)),
)
for operator, arguments in checks:
    torch.library.opcheck(operator, arguments)

gradients = []
for compiled in (False, True):
    convolve = (
        torch.compile(depthwise_gpu.depthwise, backend="aot_eager", fullgraph=True)
        if compiled
        else None
    )
    result = (convolve or depthwise_gpu.depthwise)(maps, weight, 1, 2)
    gradients.append(torch.autograd.grad(result.square().sum(), (maps, weight)))
for one, other in zip(*gradients, strict=True):
    torch.testing.assert_close(one, other)
found["checked"] = torch.ones(len(checks) + 1, dtype=torch.int64)

refused = 0
for wrong in (weight[:4], weight.half(), weight[:, :, :1]):
    try:
        depthwise_gpu.depthwise(maps.detach(), wrong.detach(), 1, 1)
    except RuntimeError:
        refused += 1
found["refused"] = torch.tensor(refused)
save_file(found, sys.argv[2])
