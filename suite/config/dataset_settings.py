"""Settings of the suite's data sets; ``registry`` lists them. Loads no torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from suite.config.settings import NOT_IDENTITY, Count, NamedSettings, Natural, Settings, Share

Augment = Literal["none", "protocol", "crop"]
HeldOut = Annotated[float, Field(gt=0, lt=1)]


class ArraySettings(NamedSettings):
    """What data sets in memory have."""

    train_images: Count | None = None
    """How many images of the training split are used, classes in proportion; unset: all."""

    if TYPE_CHECKING:
        augment: Augment


class DigitsSettings(ArraySettings):
    """The 1,797 handwritten digits (8x8) that scikit-learn carries."""

    IMPLEMENTATION = "suite.data.sources:SHIPPED"

    name: Literal["digits"]
    """The digits of scikit-learn; nothing is downloaded."""

    augment: Literal["none"] = "none"
    """Augmentation of training images; there is none for digits."""


class GreyImageSettings(ArraySettings):
    """MNIST and Fashion-MNIST (28x28, one channel), from a data folder."""

    IMPLEMENTATION = "suite.data.sources:SHIPPED"

    name: Literal["mnist", "fashion_mnist"]
    """Which of the two."""

    augment: Augment = "none"
    """Augmentation of training images; the values are those of ``cifar10``."""


class CifarSettings(ArraySettings):
    """CIFAR-10 and CIFAR-100 (32x32), from a data folder."""

    IMPLEMENTATION = "suite.data.sources:SHIPPED"

    name: Literal["cifar10", "cifar100"]
    """Which of the two."""

    augment: Augment = "protocol"
    """Augmentation of training images. ``protocol``: random resized crops and flips, as in the paper; ``crop``: crops
    of the padded image and flips."""


class OwnImageSettings(ArraySettings):
    """What data sets of the user's own files have. A trial's id covers their content, not where they lie."""

    PLACE: ClassVar[str]  # the key that says where they lie

    content: Annotated[str | None, Field(pattern="^[0-9a-f]{16}$")] = None
    """Identity of the files by their bytes, and by their names below ``root``: 16 hex digits. Unset, the suite fills it
    in when it reads a sweep file. One that is written must be that of the files."""

    val_share: HeldOut = 0.1
    """Share of each class that is held out of the training images for validation, where there are no images for it."""

    test_share: HeldOut = 0.2
    """Share of each class that is held out for the test, where there are no images for it."""

    augment: Augment = "none"
    """Augmentation of training images; the values are those of ``cifar10``. Photos mostly gain from ``crop``; digits,
    letters and X-ray images must not be mirrored, which both do."""

    @property
    def place(self) -> str:
        """Where the files lie, as written."""
        return str(getattr(self, self.PLACE))

    def path(self, folder: Path) -> Path:
        """Where the files lie, with relative paths below the data folder ``folder``."""
        return folder / Path(self.place).expanduser()


class ArrayFileSettings(OwnImageSettings):
    """Images in an ``.npz`` file with MedMNIST's keys: ``train_images``, ``train_labels``, and so on."""

    IMPLEMENTATION = "suite.data.array_file:READER"
    PLACE = "file"

    name: Literal["arrays"]
    """Arrays of 8-bit images, all of one size, in an ``.npz`` file."""

    file: Annotated[str, Field(json_schema_extra=NOT_IDENTITY)] = "images.npz"
    """The ``.npz`` file: a path below the data folder, or an absolute one."""


class FolderSettings(OwnImageSettings):
    """Image files in class folders, few enough for memory. For many, use ``imagenet``."""

    IMPLEMENTATION = "suite.data.image_folder:READER"
    PLACE = "root"

    name: Literal["folder"]
    """Image files in class folders: ``ROOT/CLASS/*``, or ``ROOT/train/CLASS/*`` and so of ``val`` and ``test``."""

    root: Annotated[str, Field(json_schema_extra=NOT_IDENTITY)] = "images"
    """Folder of the images: a path below the data folder, or an absolute one."""

    image_size: Annotated[int, Field(ge=8, le=224)] = 64
    """Side of the images that the network gets, in pixels: the middle square of each image is resized to it."""


class DecoderSettings(Settings):
    """How DALI decodes on a GPU. Unset, the sizes are those of ImageNet's largest picture, as in NVIDIA's example."""

    hw_load: Annotated[float, Field(ge=0, le=1)] = 0.65
    """Share of the images that the GPU's JPEG unit decodes."""

    width_hint: Annotated[Natural, Field(json_schema_extra=NOT_IDENTITY)] = 5980
    """Width of the largest picture in pixels, for which memory is reserved at the start."""

    height_hint: Annotated[Natural, Field(json_schema_extra=NOT_IDENTITY)] = 6430
    """Height of the largest picture in pixels."""

    device_padding: Annotated[Natural, Field(json_schema_extra=NOT_IDENTITY)] = 211_025_920
    """Bytes of GPU memory to reserve for decoding."""

    host_padding: Annotated[Natural, Field(json_schema_extra=NOT_IDENTITY)] = 140_544_512
    """Bytes of page-locked host memory to reserve for decoding."""


class ImageNetSettings(NamedSettings):
    """Photos in class folders, ``ROOT/train/CLASS/*`` and ``ROOT/val/CLASS/*`` (the test set), as ImageNet has them.

    For images that fit in memory, ``folder`` is simpler.
    """

    IMPLEMENTATION = "suite.data.imagenet.loaders:make"

    name: Literal["imagenet"]
    """Photos in class folders, or in tar shards made of them."""

    loader: Literal["dali", "torchvision", "synthetic"] = "dali"
    """What reads images: NVIDIA DALI or torchvision; ``synthetic`` repeats a batch of noise, to measure the trainer."""

    storage: Literal["files", "tar"] = "files"
    """Read image files, or the tar shards that ``suite.data.imagenet.pack`` writes; DALI alone reads shards."""

    root: Annotated[str, Field(json_schema_extra=NOT_IDENTITY)] = "imagenet"
    """Folder of the images or shards: a path below the data folder, or an absolute one."""

    manifest: Annotated[str | None, Field(json_schema_extra=NOT_IDENTITY)] = None
    """Manifest of ``suite.data.imagenet.scan``; a path as ``root``; unset: ``manifest.csv`` in ``root``."""

    stage: Annotated[str | None, Field(json_schema_extra=NOT_IDENTITY)] = None
    """Absolute path on a disk of the node, to which shards are copied first; environment variables are allowed."""

    image_size: Annotated[int, Field(ge=32)] = 224
    """Side of the images that the network gets, in pixels."""

    resize: Annotated[int, Field(ge=32)] = 256
    """Shorter side, in pixels, to which validation and test images are resized before the crop of ``image_size``."""

    val_share: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Share of ``train`` that is held out for validation."""

    output: Literal["fp32", "fp16"] = "fp32"
    """Type of the images that the loader produces."""

    shuffle_buffer: Count = 4096
    """How many images are mixed when they come from tar shards."""

    num_images: Count | None = None
    """How many images there are, for ``loader: synthetic`` alone."""

    decoder: DecoderSettings = DecoderSettings()
    """How DALI decodes on a GPU."""

    max_excluded_share: Annotated[Share, Field(json_schema_extra=NOT_IDENTITY)] = 0.001
    """Share of the images that may be unusable; above it a trial refuses to start."""

    loader_threads: Annotated[Natural | None, Field(json_schema_extra=NOT_IDENTITY)] = None
    """Threads of DALI, or worker processes of torchvision; unset: the CPUs that each process may use."""

    prefetch: Annotated[Count, Field(json_schema_extra=NOT_IDENTITY)] = 2
    """How many batches are read ahead."""

    mmap: Annotated[bool, Field(json_schema_extra=NOT_IDENTITY)] = False
    """Map shards into memory. For local disks: a file that is cut short meanwhile kills the process."""

    @field_validator("storage", "output", "num_images", "stage", "resize", "loader_threads")
    @classmethod
    def _belongs(cls, value: Any, info: ValidationInfo) -> Any:
        given = info.data
        if info.field_name == "storage" and value == "tar" and given.get("loader") != "dali":
            raise ValueError("tar shards are read by loader: dali only")
        if info.field_name == "output" and value == "fp16" and given.get("loader") == "torchvision":
            raise ValueError("must be fp32 with loader: torchvision")
        if info.field_name == "num_images" and value is not None and given.get("loader") != "synthetic":
            raise ValueError("belongs to loader: synthetic; the images themselves say how many there are")
        if info.field_name == "stage" and value is not None and given.get("storage") != "tar":
            raise ValueError("only storage: tar is copied to a node's own disk")
        if info.field_name == "loader_threads" and value == 0 and given.get("loader") == "dali":
            raise ValueError("must be at least 1: DALI decodes in threads")
        if info.field_name == "resize" and value < given.get("image_size", 0):
            raise ValueError(f"must be at least image_size ({given['image_size']}), which is cropped from it")
        return value
