"""EfficientNet-Lite0, trained on the photographs and categories of ImageNet, without any text."""

from pathlib import Path

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet  # lies beside this file
from PIL import Image

SIDE = 224  # pixels
WEIGHTS = Path(__file__).parent / "networks" / "efficientnet-lite0.pth"


def preprocess(images: list[np.ndarray]) -> torch.Tensor:
    "The central square of every image, of 7/8 of its short side, with values from -1 to 1."
    batch = []
    for image in images:
        height, width = image.shape[:2]
        side = round(min(height, width) * SIDE / (SIDE + 32))
        left, top = (width - side) // 2, (height - side) // 2
        square = Image.fromarray(image).crop((left, top, left + side, top + side))
        batch.append(np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC)))
    values = (np.stack(batch).astype(np.float32) - 127) / 128
    return torch.from_numpy(values).permute(0, 3, 1, 2)


def lite0() -> tuple[EfficientNet, object, list[str]]:
    "The network, its preprocessing, and its layers: the stem and the 16 blocks."
    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    return net, preprocess, ["_bn0", *(f"_blocks.{k}" for k in range(len(net._blocks)))]
