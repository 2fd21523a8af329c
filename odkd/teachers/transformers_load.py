"""Loading of a Hugging Face transformers folder: network, image processor, class names."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from odkd.common.optional import check_installed
from odkd.common.reading import read_json
from odkd.data.labels.own_classes import refuse_one_output
from odkd.students.fitting import check_size
from odkd.teachers.hub import weight_files

ATTENTION = ("attn_implementation", "_attn_implementation")
BY_QUERIES = ("maskformer", "mask2former", "oneformer", "eomt", "eomt_dinov3")  # each query gives a mask and a class


def class_names(config: Any, model: str) -> list[str]:
    """Return the class names in config.json in the order of their ids; they must be numbered without gaps."""
    names: dict[int, str] = config.id2label
    refuse_one_output(len(names), model)
    if sorted(names) != list(range(len(names))) or not 2 <= len(names) <= 255:
        raise ValueError(f"{model}: config.json numbers its classes {sorted(names)[:5]}...; expected 0 to at most 254")
    return [str(names[i]) for i in range(len(names))]


def read(kind: Any, folder: Path, **more: Any) -> Any:
    """Call `from_pretrained` on a local folder, without downloads and without code from the folder.

    Raises:
        ValueError: it cannot be read, or its config.json leads elsewhere.
    """
    check_config(folder)
    try:
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **more)
    except Exception as error:
        raise ValueError(f"{kind.__name__} cannot read {folder}: {str(error).strip()[:300]}") from error


def check_config(folder: Path) -> None:
    """Check that a network's config.json names no place besides its folder.

    Raises:
        ValueError: a backbone is an address or a folder, or the attention a program of the hub.
    """
    path = folder / "config.json"
    if not path.is_file():
        return
    for key, value in named_texts(read_json(path)):
        is_place = key == "backbone" and not re.fullmatch(r"[\w.-]*", value)
        is_program = key in ATTENTION and value not in ("eager", "sdpa")
        if is_place or is_program:
            raise ValueError(f"{path}: {key} {value!r} leads out of the folder; remove it, or change it")


def named_texts(content: Any) -> Iterator[tuple[str, str]]:
    """Yield each key of a JSON file that has a text, at any depth, with the text."""
    for key, value in content.items() if isinstance(content, dict) else ():
        if isinstance(value, str):
            yield key, value
        yield from named_texts(value)
    for value in content if isinstance(content, list) else ():
        yield from named_texts(value)


def load_network(folder: Path, config: Any) -> torch.nn.Module:
    """Load the network in float32.

    Raises:
        ValueError: scipy, which networks with queries need, is not installed; or weights are missing.
    """
    import transformers

    universal, semantic = transformers.AutoModelForUniversalSegmentation, transformers.AutoModelForSemanticSegmentation
    if str(config.model_type) in BY_QUERIES:
        check_installed(f"a {config.model_type} of transformers", ["scipy"])
    return load_weights(folder, universal if str(config.model_type) in BY_QUERIES else semantic, config)


def load_weights(folder: Path, kind: Any, config: Any) -> torch.nn.Module:
    """Load a network of a kind in float32.

    Raises:
        ValueError: weights are missing, or cannot be read.
    """
    files = weight_files(folder)
    is_safe = files[0].name.startswith("model.safetensors")
    made = kind.from_config if hasattr(kind, "from_config") else kind
    check_size(lambda: made(config), files, folder / "config.json")
    more = {"use_safetensors": is_safe, "weights_only": True, "dtype": torch.float32, "output_loading_info": True}
    network, info = read(kind, folder, config=config, **more)
    # The library fills missing weights with random numbers. Only the loss's class weights are not needed to label.
    if missing := sorted(key for key in info["missing_keys"] if not key.startswith("criterion.")):
        raise ValueError(f"{folder} lacks {len(missing)} weights of its {config.model_type} ({missing[0]} ...)")
    assert isinstance(network, torch.nn.Module)
    number_positions(network)
    return network


def number_positions(network: torch.nn.Module) -> None:
    """Number the places of a text 0, 1, ... again: the library keeps these numbers in no file, and fills them late.

    In a process that had loaded many other networks they were seen unset, which is any number that memory had.
    """
    for name, buffer in network.named_buffers():
        if name.rpartition(".")[2] == "position_ids" and buffer.ndim == 2 and buffer.dtype == torch.int64:
            buffer.copy_(torch.arange(buffer.shape[1]).expand_as(buffer))


def load_processor(folder: Path, config: Any) -> Any:
    """Load the image processor, with the tokenizer of a OneFormer; check that its labels cover the frames exactly."""
    import transformers

    # OneFormer's class_info_file would be downloaded from another repository; only training and panoptic maps need it.
    more = {"class_info_file": None} if config.model_type == "oneformer" else {}
    processor = read(transformers.AutoImageProcessor, folder, **more)
    kind = type(processor).__name__
    if not hasattr(processor, "post_process_semantic_segmentation"):
        raise ValueError(f"{folder}: its image processor {kind} makes no semantic maps")
    pads = getattr(processor, "do_pad", False) and config.model_type == "dpt"
    if getattr(processor, "do_center_crop", False) or pads:
        raise ValueError(
            f"{folder}: its image processor {kind} crops or pads the frames, so that its labels would not align "
            "with them; set do_center_crop and do_pad to false in preprocessor_config.json"
        )
    if config.model_type != "oneformer":
        return processor
    tokenizer = read(transformers.AutoTokenizer, folder)
    return transformers.OneFormerProcessor(processor, tokenizer, task_seq_length=config.task_seq_len)


@contextmanager
def quietly() -> Iterator[None]:
    """Hide the library's progress bars and warnings during loading; restore its settings afterwards."""
    from transformers.utils import logging as theirs

    verbosity = theirs.get_verbosity()
    theirs.set_verbosity(logging.ERROR)
    hook = theirs.set_tqdm_hook(lambda bar, args, kwargs: bar(*args, **(kwargs | {"disable": True})))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        theirs.set_tqdm_hook(hook)
        theirs.set_verbosity(verbosity)
