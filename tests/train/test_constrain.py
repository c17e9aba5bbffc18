import torch

from expunge.train.constrain import frozen, scale_gradient, stop_above, stop_below


def test_scaling_a_gradient_leaves_the_value():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    weight = torch.tensor([0.5, 0.0])
    y = scale_gradient(x, weight)
    assert torch.equal(y, x)
    (3 * y).sum().backward()
    assert x.grad.tolist() == [1.5, 0.0]


def test_bounds_stop_the_gradient_where_they_are_reached():
    x = torch.tensor([0.1, 0.5], requires_grad=True)
    stop_below(x, 0.3).sum().backward()
    assert x.grad.tolist() == [0.0, 1.0]
    x.grad = None
    stop_above(x, 0.3).sum().backward()
    assert x.grad.tolist() == [1.0, 0.0]


def test_frozen_parameters_are_asked_again_afterwards():
    one, other = torch.nn.Parameter(torch.ones(1)), torch.nn.Parameter(torch.ones(1), requires_grad=False)
    with frozen([one, other]):
        assert not one.requires_grad and not other.requires_grad
    assert one.requires_grad and not other.requires_grad
