"""SETN: candidates are the most probable live architectures, and a tiny search learns, resumes and bills its passes."""

from __future__ import annotations

import torch

from nasbench_kd.live.device_images import DeviceImages
from nasbench_kd.live.supernet.choice_cell import path_edges
from nasbench_kd.live.supernet.setn import TemplateSearch
from nasbench_kd.live.supernet.supernet import seeded_supernet
from nasbench_kd.spaces.training_seconds import joint_seconds_per_image, seconds_per_image


def start(halves) -> TemplateSearch:
    supernet = seeded_supernet(4, seed=1, channels=4, cells_per_stage=1)
    return TemplateSearch(supernet, *halves, epochs=3, seed=2, batch=32)


def test_it_learns_resumes_and_bills_a_path_and_all_operations_a_step(halves):
    whole = start(halves)
    before = whole.alphas.detach().clone()
    losses = [whole.run_epoch() for _ in range(3)]
    assert (whole.alphas.detach() != before).any()
    first, second = start(halves), start(halves)
    first.run_epoch()
    second.restore(first.state())
    assert [second.run_epoch() for _ in range(2)] == losses[1:]
    assert torch.equal(second.alphas, whole.alphas)
    assert second.passes.seconds == whole.passes.seconds
    joint = 3 * 64 * joint_seconds_per_image(1)
    paths = whole.passes.seconds - joint
    cheapest, dearest = (192 * seconds_per_image((code,) * 6, 1) for code in (1, 3))
    assert cheapest < paths < dearest


def test_parameters_step_against_the_gradient_of_the_mixture_and_leave_the_weights(halves, monkeypatch):
    search = start(halves)
    search._training.epoch_steps = 1
    monkeypatch.setattr(search._training, "step", lambda: 0.0)
    weights = {name: value.clone() for name, value in search.supernet.state_dict().items()}
    alphas = search.alphas.detach().clone().requires_grad_()
    rows = torch.randperm(32, generator=torch.Generator().set_state(search._generator.get_state()))
    images, labels = halves[1].batch(rows), halves[1].labels[rows]
    loss = torch.nn.functional.cross_entropy(search.supernet.joint(images, alphas.softmax(1)), labels)
    (gradient,) = torch.autograd.grad(loss, alphas)
    search.run_epoch()
    step = search.alphas.detach() - alphas.detach()
    clear = gradient.abs() > 1e-4  # weight decay decides the rest
    assert clear.sum() > 5
    assert torch.allclose(step[clear], -3e-4 * gradient.sign()[clear], rtol=1e-2)
    assert all(torch.equal(value, weights[name]) for name, value in search.supernet.state_dict().items())


def test_candidates_are_the_most_probable_live_architectures(halves):
    search = start(halves)
    with torch.no_grad():
        search.alphas.copy_(torch.tensor([[2.0, 0.0, 0.5, 1.0, -1.0]] * 6))
    found = search.candidates(20)
    logarithms = torch.tensor([2.0, 0.0, 0.5, 1.0, -1.0], dtype=torch.float64).log_softmax(0)
    products = [round(float(logarithms[list(cell.codes)].sum()), 9) for cell in found]
    assert products == sorted(products, reverse=True)
    assert all(path_edges(cell.codes) for cell in found)
    assert found[0].codes == (0, 0, 0, 3, 0, 0)  # all none is dead; one edge alone is alive by itself


def test_parameters_see_augmented_images_as_the_weights_do(halves, monkeypatch):
    supernet = seeded_supernet(4, seed=1, channels=4, cells_per_stage=1)
    search = TemplateSearch(supernet, halves[0], halves[0], epochs=1, seed=2, batch=32)
    plain, seen = DeviceImages.augmented_batch, []

    def noted(images, rows, generator):
        seen.append(len(rows))
        return plain(images, rows, generator)

    monkeypatch.setattr(DeviceImages, "augmented_batch", noted)
    search.step()
    assert seen == [32, 32]
