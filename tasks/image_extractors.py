"""Networks whose features say how alike images are."""

from typing import TYPE_CHECKING

from data_schemas.configs.curate_config import RankConfig
from data_schemas.configs.quality_config import ClipModel, InceptionExtractor, QualityConfig
from tasks.devices import Device, resolve_device
from tasks.kept_models import keep_last
from tokencompose_core.checkpoints.check_file import check_file
from tokencompose_core.checkpoints.hub_access import naming_field
from tokencompose_core.checkpoints.locate import clip_identity, identity, locate, require

# What open_clip looks for in a folder.
_WEIGHTS = frozenset({".safetensors", ".bin", ".pth"})

if TYPE_CHECKING:
    from tokencompose_core.captions.clip import Clip
    from tokencompose_core.evaluation.image_features import Extractor


def check_extractor(settings: QualityConfig, field: str) -> None:
    """Look for the weights on this machine, before anything is computed.

    Args:
        settings: With the extractor.
        field: Where the settings stand in the config.

    Raises:
        FileNotFoundError: If a file of weights, or a CLIP's folder, is not there, naming the field.
        ValueError: If open_clip has no such CLIP, or a folder or file may not be opened.
    """
    extractor = settings.extractor
    if not isinstance(extractor, InceptionExtractor):
        check_clip(extractor, f"{field}.extractor")
        return
    try:
        check_file(require(extractor.weights))
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"{field}.extractor.weights: {error}") from error


def check_clip(settings: ClipModel | RankConfig, field: str) -> None:
    """Look whether a CLIP can be loaded, before anything is computed.

    Args:
        settings: Its names.
        field: Where they stand in the config.

    Raises:
        FileNotFoundError: If its folder is not there, or the hub does not give it.
        ValueError: If open_clip has no such model or weights, or the folder may not be opened.
    """
    try:
        with naming_field(f"{field}.model", settings.model):
            path = locate(settings.model)
            if path is None:
                from tokencompose_core.captions.clip import check_clip_name

                check_clip_name(settings.model, settings.pretrained)
            else:
                from tokencompose_core.checkpoints.check_file import check_file
                from tokencompose_core.checkpoints.check_folder import check_folder

                check_folder(path)
                require(str(path / "open_clip_config.json"))
                weights = [file for file in path.iterdir() if file.suffix in _WEIGHTS]
                if not weights:
                    raise FileNotFoundError(
                        f"{path} has no open_clip_model.safetensors, and no other weights; see that"
                        " its download came to its end"
                    )
                for file in weights:
                    check_file(file)
    except ValueError as error:
        raise ValueError(f"{field}.model: {error}") from error


def weights_identity(extractor: InceptionExtractor | ClipModel) -> str:
    """What stands for the weights in keys and results."""
    if isinstance(extractor, InceptionExtractor):
        return identity(extractor.weights)
    return clip_identity(extractor.model, extractor.pretrained)


def load_extractor(settings: QualityConfig, device: Device) -> "Extractor":
    """Load the extractor; the last one is kept."""
    content = weights_identity(settings.extractor)
    return _extractor(settings.extractor, content, resolve_device(device))


@keep_last
def _extractor(extractor: InceptionExtractor | ClipModel, content: str, device: str) -> "Extractor":
    """The extractor; its content sees to it that one which has changed is loaded again."""
    from tokencompose_core.evaluation.image_features import clip_extractor, load_inception

    if isinstance(extractor, InceptionExtractor):
        return load_inception(require(extractor.weights), device=device)
    return clip_extractor(load_clip_model(extractor.model, extractor.pretrained, device))


def load_clip_model(model: str, pretrained: str, device: str) -> "Clip":
    """Load a CLIP by its names in a config; the last one is kept."""
    return _clip(model, pretrained, clip_identity(model, pretrained), device)


@keep_last
def _clip(model: str, pretrained: str, content: str, device: str) -> "Clip":
    from tokencompose_core.captions.clip import load_clip

    return load_clip(locate(model) or model, pretrained, device=device)


def describe_resizing(settings: QualityConfig) -> str:
    """What happens to an image before the network looks at it, to stand beside a figure."""
    first = f"short side to {settings.resolution} px, centre crop"
    if isinstance(settings.extractor, InceptionExtractor):
        return f"{first}, then 299 px as TensorFlow 1 resizes"
    return f"{first}, then as the CLIP prepares images"
