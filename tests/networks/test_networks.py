"""Networks: shapes, the reference network against plain torch, own modules, digests."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from isthmus.errors import ArchitectureError
from isthmus.networks import (
    SERIES_ARCHITECTURES,
    build,
    choose_n_components,
    count_parameters,
    digest,
    layer_table,
    summarise,
)

IMAGE_SHAPES = [
    (1, 1, 2),
    (1, 1, 9),
    (1, 2, 2),
    (1, 3, 3),
    (2, 5, 4),
    (1, 8, 8),
    (3, 13, 17),
    (1, 16, 16),
    (1, 28, 28),
    (3, 30, 33),
    (4, 7, 120),
    (1, 200, 3),
    (3, 65, 129),
]


@pytest.mark.parametrize("architecture", ["conv", "dense", "strided"])
@pytest.mark.parametrize("shape", IMAGE_SHAPES, ids=str)
def test_images_of_any_size_come_back_at_exactly_their_size(architecture, shape):
    networks = build(architecture, shape)

    code = networks.encoder(torch.rand(2, *shape))

    assert code.shape == (2, networks.n_components)
    assert networks.n_components < math.prod(shape)
    assert networks.decoder(code).shape == (2, *shape)


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (1, 28, 28), (3, 13, 17), (1, 32, 32), (3, 30, 33)], ids=str
)
def test_the_reference_fits_other_sizes_too(shape):
    networks = build("reference", shape)

    code = networks.encoder(torch.rand(2, *shape))

    assert code.shape == (2, 8 * math.ceil(shape[1] / 8) * math.ceil(shape[2] / 8))
    assert networks.decoder(code).shape == (2, *shape)


@pytest.mark.parametrize("channels", [(4,), (4, 6), (4, 6, 8, 10)])
@pytest.mark.parametrize("shape", [(1, 9, 33), (3, 40, 24)], ids=str)
def test_conv_stages_can_be_chosen(shape, channels):
    networks = build("conv", shape, 5, channels)
    outputs = [m.out_channels for m in networks.encoder if isinstance(m, nn.Conv2d)]

    assert tuple(outputs) == channels
    assert networks.decoder(networks.encoder(torch.rand(2, *shape))).shape == (2, *shape)


SERIES_SHAPES = [
    *((1, 2), (3, 2), (1, 3), (2, 5), (1, 7), (1, 24), (4, 31), (1, 33), (1, 150)),
    *((2, 257), (12, 640), (1, 999), (8, 2000)),
]


@pytest.mark.parametrize("architecture", ["conv1d", "dense", "random_kernels"])
@pytest.mark.parametrize("shape", SERIES_SHAPES, ids=str)
def test_series_of_any_length_come_back_at_exactly_their_length(architecture, shape):
    networks = build(architecture, shape)

    code = networks.encoder(torch.rand(2, *shape))

    assert code.shape == (2, networks.n_components)
    assert networks.n_components < math.prod(shape)
    assert networks.decoder(code).shape == (2, *shape)


def test_a_long_series_of_many_channels_needs_no_huge_network():
    networks = build("conv1d", (8, 2000))

    assert count_parameters(networks.encoder) < 3_000_000


@pytest.mark.parametrize("channels", [(4,), (4, 6), (4, 6, 8, 10)])
@pytest.mark.parametrize("shape", [(1, 33), (3, 1000), (2, 7)], ids=str)
def test_conv1d_stages_can_be_chosen(shape, channels):
    networks = build("conv1d", shape, 5, channels)
    outputs = [m.out_channels for m in networks.encoder if isinstance(m, nn.Conv1d)]

    assert tuple(outputs) == channels
    assert networks.decoder(networks.encoder(torch.rand(2, *shape))).shape == (2, *shape)


def test_folding_time_into_channels_loses_nothing():
    from isthmus.networks import FoldTime, UnfoldTime

    x = torch.arange(2 * 3 * 10.0).reshape(2, 3, 10)

    folded = FoldTime(4)(x)

    assert folded.shape == (2, 3 * 4, 3)
    assert folded[1, :4, 1].tolist() == x[1, 0, 4:8].tolist()
    assert torch.equal(UnfoldTime(4, 10)(folded), x)


def test_a_shape_that_moves_in_time_moves_through_the_convolution():
    torch.manual_seed(0)
    networks = build("conv1d", (1, 256))
    fold, convolution = networks.encoder[:2]
    x = torch.zeros(1, 1, 256)
    x[..., 64:80] = torch.rand(16)

    with torch.no_grad():
        here, later = (convolution(fold(v)) for v in (x, x.roll(64, dims=-1)))

    torch.testing.assert_close(here.roll(64 // fold.steps, dims=-1), later)


def test_folding_pixels_into_channels_loses_nothing():
    from isthmus.networks import DepthToSpace, SpaceToDepth

    torch.manual_seed(0)
    x = torch.rand(2, 3, 7, 10)

    folded = SpaceToDepth(4)(x)

    assert folded.shape == (2, 3 * 16, 2, 3)
    assert torch.equal(DepthToSpace(4, (7, 10))(folded), x)


@pytest.mark.parametrize("width", [2, 3, 13, 400])
def test_tables_come_back_at_their_width(width):
    networks = build("auto", (width,))

    code = networks.encoder(torch.rand(2, width))

    assert code.shape == (2, networks.n_components)
    assert networks.decoder(code).shape == (2, width)


def test_the_decoder_mirrors_the_hidden_layers():
    networks = build("dense", (20,), 3, [16, 8])
    sizes = [
        [(layer.in_features, layer.out_features) for layer in half if isinstance(layer, nn.Linear)]
        for half in (networks.encoder, networks.decoder)
    ]

    assert sizes == [[(20, 16), (16, 8), (8, 3)], [(3, 8), (8, 16), (16, 20)]]


def test_without_hidden_layers_the_network_is_linear():
    torch.manual_seed(0)
    networks = build("dense", (6,), 2, ())
    both = nn.Sequential(networks.encoder, networks.decoder)
    x, y = torch.rand(2, 4, 6)

    # An affine function keeps midpoints.
    torch.testing.assert_close(both((x + y) / 2), (both(x) + both(y)) / 2)
    assert count_parameters(both) == 6 * 2 + 2 + 2 * 6 + 6


# --- the reference network ---------------------------------------------------------------

CONVOLUTIONS = [160, 1160, 584, 584, 584, 584, 1168, 145]
ENCODER_SHAPES = [
    *((16, 28, 28), (16, 14, 14), (8, 14, 14), (8, 7, 7), (8, 7, 7), (8, 4, 4)),
]
DECODER_SHAPES = [
    *((8, 4, 4), (8, 4, 4), (8, 8, 8), (8, 8, 8), (8, 16, 16)),
    *((16, 14, 14), (16, 28, 28), (1, 28, 28)),
]
WORKING = ("Conv2d", "MaxPool2d", "Upsample")


@pytest.fixture(scope="module")
def reference():
    torch.manual_seed(0)
    return build("reference", (1, 28, 28))


def test_the_reference_has_the_tutorials_parameters(reference):
    layers = summarise(reference.encoder, (1, 28, 28)) + summarise(reference.decoder, (128,))

    assert [row.parameters for row in layers if row.name == "Conv2d"] == CONVOLUTIONS
    assert count_parameters(reference.encoder) + count_parameters(reference.decoder) == 4969
    assert reference.n_components == 128


def test_the_reference_has_the_tutorials_shapes(reference):
    encoder = [row for row in summarise(reference.encoder, (1, 28, 28)) if row.name in WORKING]
    decoder = [row for row in summarise(reference.decoder, (128,)) if row.name in WORKING]

    assert [row.output_shape for row in encoder] == ENCODER_SHAPES
    assert [row.output_shape for row in decoder] == DECODER_SHAPES


def test_the_reference_computes_what_the_listing_says(reference):
    convolutions = [
        (layer.weight, layer.bias)
        for half in (reference.encoder, reference.decoder)
        for layer in half
        if isinstance(layer, nn.Conv2d)
    ]
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(1))

    def convolve(values, number, padding=1):
        return functional.conv2d(values, *convolutions[number], padding=padding)

    def halve(values):  # "same": a row or column of minus infinity where a pixel is missing
        right, below = values.shape[-1] % 2, values.shape[-2] % 2
        return functional.max_pool2d(functional.pad(values, (0, right, 0, below), value=-1e9), 2)

    def double(values):
        return values.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)

    with torch.no_grad():
        z = x
        for number in range(3):
            z = halve(convolve(z, number).relu())
        back = convolve(z, 3).relu()
        back = double(convolve(back, 4).relu())
        back = double(convolve(back, 5).relu())
        back = double(convolve(back, 6, padding=0).relu())
        back = convolve(back, 7)

        code = reference.encoder(x)
        torch.testing.assert_close(code, z.flatten(1))
        torch.testing.assert_close(reference.decoder(code), back)


def test_the_reference_starts_as_keras_does(reference):
    for layer in (*reference.encoder, *reference.decoder):
        if isinstance(layer, nn.Conv2d):
            glorot = math.sqrt(6 / (9 * (layer.in_channels + layer.out_channels)))
            assert layer.weight.abs().max() <= glorot
            assert layer.weight.abs().max() > 0.9 * glorot
            assert not layer.bias.any()


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 28, 28), {"n_components": 64}, "pass 128 or 'auto'"),
        ((1, 28, 28), {"hidden_layer_sizes": (8,)}, "architecture='conv'"),
        ((1, 1, 9), {}, "architecture='conv'"),
        ((64,), {}, "architecture='dense'"),
        ((1, 64), {}, "architecture='dense'"),
    ],
)
def test_what_the_reference_cannot_do_is_said(shape, options, message):
    with pytest.raises(ArchitectureError, match=message):
        build("reference", shape, **options)


# --- choosing ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_features", "expected"), [(784, 128), (64, 32), (20, 10), (3, 1), (2, 1), (10**5, 512)]
)
def test_the_code_is_as_wide_as_the_rule_says(n_features, expected):
    assert choose_n_components(n_features) == expected
    assert build("dense", (n_features,), hidden_layer_sizes=(2,)).n_components == expected


@pytest.mark.parametrize("width", [1, 7, np.int64(7)])
def test_any_width_below_the_input_is_taken(width):
    networks = build("dense", (8,), width)

    assert networks.n_components == width
    assert type(networks.spec["n_components"]) is int


@pytest.mark.parametrize("width", [0, -1, 8, 9, 2.0, "4", True, None])
def test_any_other_width_is_refused(width):
    with pytest.raises(ArchitectureError, match=f"got n_components={width!r}"):
        build("dense", (8,), width)


def test_a_single_column_has_a_code_of_one_number():
    assert build("dense", (1,)).spec["n_components"] == 1
    with pytest.raises(ArchitectureError, match="got n_components=2"):
        build("dense", (1,), 2)


@pytest.mark.parametrize("sizes", [(0,), (-3,), 5, "64", "wide", (2.5,), None, ("8",)])
def test_hidden_layers_that_are_none_are_refused(sizes):
    with pytest.raises(ArchitectureError, match="got hidden_layer_sizes="):
        build("dense", (8,), 2, sizes)


def test_hidden_layers_may_come_as_an_array():
    assert build("dense", (8,), 2, np.array([6, 4])).spec["hidden_layer_sizes"] == [6, 4]


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [("conv", (1, 8, 8)), ("strided", (1, 8, 8)), ("conv1d", (1, 8))],
)
def test_a_convolutional_network_needs_a_stage(architecture, shape):
    with pytest.raises(ArchitectureError, match="hidden_layer_sizes"):
        build(architecture, shape, 2, ())


@pytest.mark.parametrize("name", ["cnn", "Dense", None])
def test_an_unknown_architecture_is_refused_with_those_there_are(name):
    with pytest.raises(ArchitectureError, match=r"auto, dense, conv, .*random_kernels, reference"):
        build(name, (1, 8, 8))


def test_a_table_has_no_convolutions():
    with pytest.raises(ArchitectureError, match="architecture='dense'"):
        build("conv", (8,))
    for shape, of_series in itertools.product(((8,), (1, 8, 8)), SERIES_ARCHITECTURES):
        with pytest.raises(ArchitectureError, match=r"needs windows of series.*kind='series'"):
            build(of_series, shape)


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [
        *(("dense", (9,)), ("conv", (3, 20, 31)), ("strided", (1, 9, 9))),
        *(("reference", (1, 28, 28)), ("auto", (1, 5, 5))),
        *(("conv1d", (3, 31)), ("auto", (1, 50)), ("dense", (2, 9))),
    ],
)
def test_the_spec_builds_the_same_network_again(architecture, shape):
    first = build(architecture, shape)
    second = build(**first.spec | {"input_shape": tuple(first.spec["input_shape"])})

    second.encoder.load_state_dict(first.encoder.state_dict())
    second.decoder.load_state_dict(first.decoder.state_dict())
    for network in (first.encoder, first.decoder, second.encoder, second.decoder):
        network.eval()
    x = torch.rand(2, *shape)
    assert torch.equal(first.decoder(first.encoder(x)), second.decoder(second.encoder(x)))
    assert second.spec == first.spec


# --- a person's own modules --------------------------------------------------------------


def own_pair(width=3, shape=(1, 4, 4)):
    size = math.prod(shape)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(size, width))
    decoder = nn.Sequential(nn.Linear(width, size), nn.Unflatten(1, shape))
    return encoder, decoder


def test_own_modules_are_copied_with_their_weights():
    pair = own_pair()
    before = [digest(part) for part in pair]

    networks = build(pair, (1, 4, 4))
    nn.init.zeros_(networks.encoder[1].weight)

    assert digest(networks.decoder) == before[1]
    assert [digest(part) for part in pair] == before
    assert networks.n_components == 3


def test_own_modules_that_share_weights_go_on_sharing_them():
    class Back(nn.Module):
        def __init__(self, linear):
            super().__init__()
            self.linear = linear

        def forward(self, z):
            return z @ self.linear.weight

    forth = nn.Linear(6, 2)
    networks = build((forth, Back(forth)), (6,))

    assert networks.decoder.linear is networks.encoder
    assert networks.encoder is not forth


def test_trying_own_modules_leaves_batch_statistics_alone():
    encoder, decoder = own_pair()
    encoder = nn.Sequential(encoder, nn.BatchNorm1d(3))

    assert digest(build((encoder, decoder), (1, 4, 4)).encoder) == digest(encoder)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (own_pair(shape=(1, 5, 5)), r"cannot take instances of shape \(1, 4, 4\)"),
        ((nn.Identity(), nn.Identity()), r"end it with nn.Flatten\(\)"),
        ((own_pair()[0], own_pair(shape=(2, 2, 4))[1]), r"shape \(2, 2, 4\), expected \(1, 4, 4\)"),
        ((own_pair()[0], own_pair(width=5)[1]), "cannot take instances"),
        ((own_pair()[0], nn.Sequential(own_pair()[1], nn.Sigmoid())), "leave it off"),
        (own_pair(width=16), "15 outputs at most"),
        ((own_pair()[0],), "expected two torch modules"),
        (("dense", "dense"), "expected two torch modules"),
    ],
)
def test_own_modules_that_do_not_fit_are_refused(pair, message):
    with pytest.raises(ArchitectureError, match=message):
        build(pair, (1, 4, 4))


def test_own_modules_decide_the_width():
    with pytest.raises(ArchitectureError, match="pass n_components=3 or 'auto'"):
        build(own_pair(), (1, 4, 4), 4)


# --- digest and summary ------------------------------------------------------------------


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize(
    "change",
    [
        lambda n: n[0].weight.data.view(-1)[5].add_(1e-6),
        lambda n: n[3].bias.data[0].add_(1),
        lambda n: n[1].running_mean[0].add_(1e-6),
        lambda n: n[1].num_batches_tracked.add_(1),
        lambda n: n.double(),
        lambda n: n.register_buffer("hidden", torch.ones(1), persistent=False),
        lambda n: n.append(nn.Linear(2, 2)),
    ],
    ids=["weight", "bias", "statistics", "counter", "dtype", "non-persistent buffer", "layer"],
)
def test_the_digest_sees_every_change(network, change):
    before = digest(network)

    change(network)

    assert digest(network) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda n: n.to(memory_format=torch.channels_last),
        lambda n: n.eval(),
        lambda n: n.requires_grad_(False),
        lambda n: n.to("cpu"),
        lambda n: copy.deepcopy(n),
    ],
    ids=["memory format", "mode", "gradients", "device", "copy"],
)
def test_the_digest_sees_nothing_but_values(network, change):
    before = digest(network)

    assert digest(change(network)) == before


def test_the_digest_takes_every_dtype():
    module = nn.Module()
    for name in ("bfloat16", "float16", "int64", "bool"):
        module.register_buffer(f"of_{name}", torch.ones(2, dtype=getattr(torch, name)))
    before = digest(module)

    module.of_bfloat16[0] = 2

    assert digest(module) != before


def test_the_summary_lists_layers_in_the_order_they_run(network):
    rows = summarise(network, (3, 3, 3))

    assert [row[:3] for row in rows] == [
        ("Conv2d", (4, 1, 1), 3 * 4 * 9 + 4),
        ("BatchNorm2d", (4, 1, 1), 8),
        ("Flatten", (4,), 0),
        ("Linear", (2,), 10),
    ]
    assert sum(row.parameters for row in rows) == count_parameters(network)
    assert [row.n_trained for row in rows] == [row.parameters for row in rows]
    assert {row.part for row in rows} == {""}


class SideBySide(nn.Module):
    """Two networks that each get the input."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3))
        self.narrow = nn.Linear(6, 2)

    def forward(self, x):
        return torch.cat([self.wide(x), self.narrow(x)], dim=1)


def test_the_summary_names_the_parts_that_stand_beside_each_other():
    network = nn.Sequential(nn.Linear(4, 6), SideBySide(), nn.Linear(5, 1))

    assert [row.part for row in summarise(network, (4,))] == [
        "",
        "1.wide",
        "1.wide",
        "1.narrow",
        "",
    ]
    assert [line.strip() for line in layer_table([("own", network, (4,))]).splitlines()][2:] == [
        "Linear              (6,)                          30",
        "part '1.wide': 3 numbers",
        "Linear            (8,)                          56",
        "Linear            (3,)                          27",
        "part '1.narrow' beside it: 2 numbers",
        "Linear            (2,)                          14",
        "after the parts",
        "Linear              (1,)                           6",
        "all                                                133",
    ]


def test_layers_of_a_sequence_are_no_parts_where_one_returns_its_input():
    network = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True), nn.Linear(4, 2))

    assert {row.part for row in summarise(network, (4,))} == {""}


def test_the_table_counts_what_is_not_trained():
    networks = build("patches", (1, 20, 20), 16)
    networks.encoder.requires_grad_(False)  # as after a fit
    layers = summarise(networks.encoder, (1, 20, 20))
    of_patches = [row for row in layers if row.part == "features"]
    table = layer_table([("encoder", networks.encoder, (1, 20, 20))]).splitlines()

    assert {row.part for row in layers} == {"trained", "features"}
    assert sum(row.n_trained for row in of_patches) == 0
    assert "  part 'trained': 12 numbers" in table
    assert "  part 'features' beside it: 4 numbers, computed once, not trained" in table
    everything, trained, computed = (int(line.split()[-1].replace(",", "")) for line in table[-3:])
    assert everything == trained + computed == count_parameters(networks.encoder)
    assert computed == sum(row.parameters for row in of_patches) > 0


def test_the_summary_leaves_the_network_as_it_was(network):
    before = digest(network)

    summarise(network, (3, 3, 3))

    assert network.training
    assert digest(network) == before
    assert not any(module._forward_hooks for module in network.modules())
