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
    outcome = torch.library.opcheck(operator, arguments, raise_exception=False)
    passed = [result == "SUCCESS" for result in outcome.values()]
    print(operator, outcome, file=sys.stderr)
    found[f"opcheck {len(found)}"] = torch.tensor(passed)

for name, convolve in (
    ("plain", depthwise_gpu.depthwise),
    ("compiled", torch.compile(depthwise_gpu.depthwise, backend="aot_eager", fullgraph=True)),
):
    loss = convolve(maps, weight, 1, 2).square().sum()
    for place, gradient in enumerate(torch.autograd.grad(loss, (maps, weight))):
        found[f"{name} {place}"] = gradient.contiguous()

refused = 0
for wrong in (weight[:4], weight.half(), weight[:, :, :1]):
    try:
        depthwise_gpu.depthwise(maps.detach(), wrong.detach(), 1, 1)
    except RuntimeError:
        refused += 1
found["refused"] = torch.tensor(refused)
save_file(found, sys.argv[2])
