"""What goes wrong when a checkpoint is fetched and read, in words that say what to do."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager

from voxridge.features.placement import naming_memory

# What torch and transformers write in a RuntimeError about a file that cannot be read or used.
_DAMAGED = ("mismatch", "pytorchstreamreader", "zip archive", "corrupt")


@contextmanager
def named_problems(name: str, revision: str | None, *, on_hub: bool) -> Iterator[None]:
    """Turn what the libraries raise while they load `name` into errors that name it and the remedy.

    Raises
    ------
    FileNotFoundError
        If there is no such model or revision, or the hub cannot be reached and no copy is on this machine.
    PermissionError
        If the model is gated and access was not given.
    ValueError
        If a file of weights is damaged, or does not fit the configuration.
    MemoryError
        If memory ends.
    """
    from safetensors import SafetensorError

    damaged = (SafetensorError, EOFError, pickle.UnpicklingError)
    try:
        with naming_memory(f"loading {name}"):
            yield
    except damaged as error:
        raise _damaged(name, error) from error
    except RuntimeError as error:
        if not any(sign in str(error).lower() for sign in _DAMAGED):
            raise
        raise _damaged(name, error) from error
    except OSError as error:
        if isinstance(error.__cause__ or error.__context__, damaged):
            raise _damaged(name, error) from error
        raise _not_found(name, revision, error, on_hub=on_hub) from error


def _damaged(name: str, error: Exception) -> ValueError:
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return ValueError(
        f"name_or_path={name!r}: a file of weights is damaged, cut short, or does not fit config.json: fetch "
        f"the checkpoint again ({first})"
    )


def _not_found(name: str, revision: str | None, error: OSError, *, on_hub: bool) -> OSError:
    from huggingface_hub import errors

    if not on_hub:
        return FileNotFoundError(f"name_or_path={name!r}: the folder cannot be loaded: {error}")
    causes = list(_causes(error))

    def came_from(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    # A gated model raises a kind of "not found" too.
    if came_from(errors.GatedRepoError):
        return PermissionError(
            f"name_or_path={name!r} is gated, and this account has no access: accept the licence at "
            f"https://huggingface.co/{name} and log in with `hf auth login`"
        )
    if came_from(errors.RevisionNotFoundError):
        return FileNotFoundError(f"name_or_path={name!r}: the hub knows no revision={revision!r} of it")
    if came_from(errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        return FileNotFoundError(
            f"name_or_path={name!r}: not a local folder, the Hugging Face hub cannot be reached (or "
            f"HF_HUB_OFFLINE is set), and no copy is on this machine: fetch it where there is a network with "
            f"`hf download {name}`, or give the path of a folder"
        )
    return FileNotFoundError(
        f"name_or_path={name!r}: not a local folder, and the Hugging Face hub has no such model, or it "
        "cannot be reached (check the spelling, owner/model; for a folder, give its path; for a private "
        f"model, log in with `hf auth login`): {error}"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
