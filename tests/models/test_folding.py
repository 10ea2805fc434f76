import copy

import pytest
import timm
import torch
from torch import nn

from bpg.models.fast_convolutions import FoldedConv2d
from bpg.models.folding import FoldedNorm, fold_frozen_norms

# Convolutions whose norm can be folded, of norms: where norms come first, few follow one alone.
NETWORKS = {
    "resnet18": (20, 20),
    "resnet26d": (31, 31),
    "tf_efficientnet_lite0": (43, 48),
    "resnetv2_50": (32, 48),
    "densenet121": (59, 121),
    "convnext_atto": (0, 0),
}


def draw(network: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    return network


def made(name: str) -> nn.Module:
    torch.manual_seed(0)
    return draw(timm.create_model(name, features_only=True).double().eval())


def outcome(network: nn.Module) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    image = torch.linspace(-1, 1, 3 * 64 * 64, dtype=torch.float64).sin().view(1, 3, 64, 64)
    features = network(image)[-1]
    features.square().mean().backward()
    weights = {n: m.weight.grad for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    return features.detach(), weights


@pytest.mark.parametrize("name", NETWORKS)
def test_features_and_gradients_are_the_same(name):
    plain, folded = made(name), made(name)
    fold_frozen_norms(folded)
    norms = [m for m in folded.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    count = sum(isinstance(norm, FoldedNorm) for norm in norms)
    assert (count, len(norms)) == NETWORKS[name]
    assert sum(isinstance(m, FoldedConv2d) for m in folded.modules()) == count
    (features, gradients), (found, ours) = outcome(plain), outcome(folded)
    torch.testing.assert_close(found, features, rtol=1e-9, atol=1e-9)
    assert gradients.keys() == ours.keys()
    for layer, gradient in gradients.items():
        torch.testing.assert_close(ours[layer], gradient, rtol=1e-7, atol=1e-10, msg=layer)


def test_the_networks_state_is_what_it_was_and_what_is_loaded_counts():
    plain, folded = made("resnet18"), timm.create_model("resnet18", features_only=True).double()
    fold_frozen_norms(folded)
    assert folded.state_dict().keys() == plain.state_dict().keys()
    folded.load_state_dict(plain.state_dict())
    torch.testing.assert_close(outcome(folded)[0], outcome(plain)[0], rtol=1e-9, atol=1e-9)


def test_a_copy_has_norms_of_its_own():
    folded = made("resnet18")
    fold_frozen_norms(folded)
    other = copy.deepcopy(folded)
    before = outcome(folded)[0]
    other.bn1.weight.data.mul_(2)
    assert torch.equal(outcome(folded)[0], before)
    assert not torch.allclose(outcome(other)[0], before)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.other = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)

    def forward(self, maps):
        return self.norm(self.conv(self.conv(maps)))


class BothUsed(Twice):
    def forward(self, maps):
        found = self.conv(maps)
        return self.norm(found) + found


class Deciding(Twice):
    def forward(self, maps):
        return self.norm(self.conv(maps)) if maps.sum() > 0 else maps


@pytest.mark.parametrize("kind", [Twice, BothUsed, Deciding])
def test_what_is_no_simple_pair_is_left_alone(kind):
    network = draw(kind()).eval()
    maps = torch.rand(1, 2, 3, 3)
    before = network(maps)
    fold_frozen_norms(network)
    assert torch.equal(network(maps), before)
    assert type(network.conv) is nn.Conv2d
    assert type(network.norm) is nn.BatchNorm2d
