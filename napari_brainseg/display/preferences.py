"""What a person chose among napari's preferences, page *napari-brainseg*: keys, and what the mouse does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

PLUGIN = "napari-brainseg"


def chosen_keys(defaults: Mapping[str, str]) -> dict[str, str]:
    """Name of a command → its key; ``defaults`` where nothing else was chosen, and where napari takes no such key.

    Of two commands with one key the first has it, and the other its default.
    """
    from app_model.types import KeyBinding

    settings = _settings("keys")
    keys: dict[str, str] = {}
    for name, default in defaults.items():
        wanted = str(getattr(settings, name, default) or default)
        try:
            KeyBinding.from_str(wanted.replace("-", "+") if wanted != "-" else wanted)
        except (ValueError, KeyError):
            wanted = default
        keys[name] = wanted if wanted not in keys.values() else default
    return keys


def follow_keys(changed: Callable[[], object]) -> Callable[[], None]:
    """Call ``changed`` whenever a key was chosen, until the function returned is called."""
    settings = _settings("keys")
    if settings is None:
        return lambda: None

    def call(event: object = None) -> None:
        changed()

    settings.events.connect(call)
    return lambda: settings.events.disconnect(call)


def level_up_is_brighter() -> bool:
    """Whether dragging upwards makes the image brighter: vendors differ."""
    return bool(getattr(_settings("mouse"), "drag_up_is_brighter", True))


_controls = True


def controls_shown() -> bool:
    """Whether napari's own layer controls are to be seen."""
    return bool(getattr(_settings("view"), "napari_controls", _controls))


def show_controls(on: bool) -> None:
    """Remember whether they are."""
    global _controls
    settings, _controls = _settings("view"), on
    if settings is not None:
        settings.napari_controls = on


def _settings(group: str) -> Any:
    """A group of the plugin's settings; None where napari knows none (the plugin is not installed as one)."""
    from napari.settings import get_plugin_settings

    try:
        return getattr(get_plugin_settings(PLUGIN), group, None)
    except (KeyError, ValueError):
        return None
