import pytest
import torch
from torch.nn import functional

from benchmark.training.augmentation import Augmentation, normalise

BATCH, CHANNELS, SIDE = 64, 2, 6
# Every pixel has its own value, and none is 0: where it came from can be read off.
IMAGES = torch.randperm(255, generator=torch.Generator().manual_seed(0))[: CHANNELS * SIDE**2].add(1).to(torch.uint8)
IMAGES = IMAGES.view(1, CHANNELS, SIDE, SIDE).repeat(BATCH, 1, 1, 1)


def augmented(images=IMAGES, seed=0, **recipe):
    return Augmentation(**recipe)(images, torch.Generator().manual_seed(seed))


def which(results, candidates):
    """For each result, the index of the one candidate that it equals."""
    equal = (results[:, None] == torch.stack(candidates)).flatten(2).all(dim=2)
    assert (equal.sum(dim=1) == 1).all()
    return equal.int().argmax(dim=1)


def test_a_crop_is_a_crop_of_the_padded_image_each_sample_its_own():
    padded = functional.pad(IMAGES[0], (2, 2, 2, 2))
    crops = [padded[:, row : row + SIDE, column : column + SIDE] for row in range(5) for column in range(5)]
    chosen = which(augmented(crop=2), crops)
    assert len(chosen.unique()) > 15  # of 25, in 64 draws


def test_all_crops_are_equally_frequent():
    images = IMAGES[:1].expand(25 * 400, -1, -1, -1)
    padded = functional.pad(IMAGES[0], (2, 2, 2, 2))
    crops = [padded[:, row : row + SIDE, column : column + SIDE] for row in range(5) for column in range(5)]
    counts = which(augmented(images, crop=2), crops).bincount(minlength=25)
    assert ((counts - 400) ** 2 / 400).sum() < 51.2  # chi-squared, 24 degrees of freedom, p = 0.001


def test_a_flip_mirrors_left_to_right_about_half_of_the_samples():
    flipped = which(augmented(flip=True), [IMAGES[0], IMAGES[0].flip(2)])
    assert 16 < flipped.sum() < 48


def test_the_dihedral_group_is_all_of_it():
    turned = [torch.rot90(IMAGES[0], turns, (1, 2)) for turns in range(4)]
    symmetries = turned + [image.flip(2) for image in turned]
    assert which(augmented(dihedral=True), symmetries).unique().tolist() == list(range(8))


def test_all_together_are_a_crop_of_a_symmetric_image():
    results = augmented(crop=1, flip=True, dihedral=True)
    shown = results != 0
    turned = [torch.rot90(IMAGES[0], turns, (1, 2)) for turns in range(4)]
    padded = [functional.pad(image, (1, 1, 1, 1)) for turn in turned for image in (turn, turn.flip(2))]
    crops = torch.stack([image[:, r : r + SIDE, c : c + SIDE] for image in padded for r in range(3) for c in range(3)])
    for result, visible in zip(results, shown, strict=True):
        assert ((crops == result) | ~visible).flatten(1).all(dim=1).any()
        assert (~visible[0]).sum() <= SIDE**2 - (SIDE - 1) ** 2  # what a corner crop hides


def test_the_stream_decides_and_nothing_else():
    recipe = {"crop": 2, "flip": True, "dihedral": True}
    torch.manual_seed(1)
    first = augmented(seed=3, **recipe)
    torch.manual_seed(2)
    assert (augmented(seed=3, **recipe) == first).all()
    assert not (augmented(seed=4, **recipe) == first).all()


def test_without_a_recipe_images_and_stream_are_left_alone():
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert Augmentation()(IMAGES, generator) is IMAGES
    assert (generator.get_state() == before).all()


def test_results_are_uint8_and_the_input_is_left_alone():
    images = IMAGES.clone()
    assert augmented(images, crop=2).dtype == torch.uint8
    assert (images == IMAGES).all()


def test_images_that_are_not_square_cannot_be_transposed():
    wide = IMAGES[:, :, :4]
    assert augmented(wide, crop=2, flip=True).shape == wide.shape
    with pytest.raises(ValueError, match="square images, not 4 x 6"):
        augmented(wide, dihedral=True)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_normalised_images_have_mean_0_and_standard_deviation_1(memory_format):
    images = torch.randint(256, (16, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = images.contiguous(memory_format=memory_format)
    pixels = images.double() / 255
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))
    result = normalise(images, mean.tolist(), std.tolist())
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(result.double(), (pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1), atol=1e-5, rtol=1e-5)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_nothing_waits_for_the_device():
    images = IMAGES.cuda()
    generator = torch.Generator("cuda").manual_seed(0)
    augment = Augmentation(crop=2, flip=True, dihedral=True)
    normalise(augment(images, generator), (0.5, 0.5), (0.5, 0.5))
    torch.cuda.set_sync_debug_mode("error")
    try:
        normalise(augment(images, generator), (0.5, 0.5), (0.5, 0.5))
    finally:
        torch.cuda.set_sync_debug_mode("default")
