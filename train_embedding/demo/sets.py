"""The sample sets: concepts that the demo checkpoint can generate but has no word for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from train_embedding.demo import measure

SAMPLES = Path(__file__).parent / "samples"
LIME = 88.0
"Hue in degrees between yellow (55) and green (125)."


@dataclass(frozen=True)
class SampleSet:
    """A concept. `{}` in captions and prompts stands for its word."""

    name: str
    init_text: str
    "The closest thing that captions have a word for."
    captions: tuple[str, ...]
    "Captions of the training images, then of the held-out ones."
    prompts: tuple[str, ...]
    "Prompts that show what was learned; they differ from all captions."
    distance: Callable[[Image.Image], float]
    "Measures how far an image is from the concept, 0…1."
    measures: str
    "Description of the distance."

    @property
    def training_folder(self) -> Path:
        """Folder of the training images."""
        return SAMPLES / self.name / "train"

    @property
    def heldout_folder(self) -> Path:
        """Folder of the held-out images."""
        return SAMPLES / self.name / "heldout"


TRAINING_IMAGES = 8

SETS = {
    sample_set.name: sample_set
    for sample_set in (
        SampleSet(
            name="lime",
            init_text="green",
            captions=(
                "a big {} star on a navy background",
                "a {} circle on a gray background",
                "a {} heart on a white background",
                "a big {} square on a black background",
                "a {} cross on a beige background",
                "a big {} ring on a brown background",
                "a {} diamond on a gray background",
                "a {} triangle on a navy background",
                "a big {} circle on a white background",
                "a {} star on a gray background",
                "a big {} heart on a black background",
                "a {} square on a brown background",
            ),
            prompts=(
                "a big {} circle on a navy background",
                "a {} square on a gray background",
                "a big {} star on a white background",
                "a {} heart on a brown background",
            ),
            distance=lambda image: measure.hue_distance(image, LIME),
            measures="hue distance from 88°, as a fraction of 180°",
        ),
        SampleSet(
            name="checker",
            init_text="striped",
            captions=(
                "a big {} red square on a white background",
                "a big {} blue circle on a beige background",
                "a big {} green heart on a gray background",
                "a big {} orange diamond on a white background",
                "a big {} purple star on a beige background",
                "a big {} cyan circle on a brown background",
                "a big {} yellow square on a navy background",
                "a big {} pink heart on a gray background",
                "a big {} blue square on a white background",
                "a big {} red circle on a gray background",
                "a big {} green diamond on a beige background",
                "a big {} orange heart on a navy background",
            ),
            prompts=(
                "a big {} red circle on a white background",
                "a big {} blue square on a gray background",
                "a big {} green circle on a beige background",
                "a big {} orange square on a white background",
            ),
            distance=measure.checker_distance,
            measures="1 − agreement of the shape's light and dark areas with a checkerboard",
        ),
        SampleSet(
            name="arch",
            init_text="ring",
            captions=(
                "a big red {} on a white background",
                "a blue {} on a beige background",
                "a big green {} on a gray background",
                "a yellow {} on a navy background",
                "a big purple {} on a white background",
                "a cyan {} on a brown background",
                "a big orange {} on a black background",
                "a big pink {} on a gray background",
                "a big blue {} on a white background",
                "a red {} on a gray background",
                "a big yellow {} on a black background",
                "a green {} on a beige background",
            ),
            prompts=(
                "a big red {} on a gray background",
                "a big blue {} on a beige background",
                "a big green {} on a white background",
                "a big orange {} on a navy background",
            ),
            distance=lambda image: measure.shape_distance(image, "arch"),
            measures="1 − overlap with an upright arch of the same size",
        ),
    )
}
