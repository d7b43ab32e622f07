"""The panel's look, on top of napari's theme: only what a widget means differs from napari's own, nothing decorative."""

from __future__ import annotations

from collections.abc import Mapping

ACCENT = "#3d7dd8"
GOOD = "#2f9e6b"
WARNING = "#d9a21b"
ERROR = "#d64550"

_SHEET = """
QWidget#brainseg_panel {{ background: {background}; }}
QScrollArea#panel_scroll, QWidget#panel_body {{ background: {background}; border: none; }}
QFrame[section="true"] {{ background: {foreground}; border-radius: 6px; }}
QLabel[role="title"] {{ font-weight: 600; font-size: 10pt; color: {text}; }}
QLabel, QCheckBox, QSlider, QWidget[role="plain"] {{ background: transparent; }}
QLabel[role="dim"] {{ color: {dim}; }}
QLabel[role="head"] {{ color: {dim}; font-size: 8pt; }}
QLabel[role="strong"] {{ font-weight: 600; }}
QLabel[role="warning"] {{ color: {warning}; }}
QLabel[role="number"] {{ font-family: "DejaVu Sans Mono", "Consolas", "Menlo", monospace; }}
QTextEdit {{ background: transparent; border: none; padding: 0; margin: 0; color: {text}; }}
QTextEdit[role="dim"] {{ color: {dim}; }}
QTextEdit[role="warning"] {{ color: {warning}; }}
QPushButton {{ min-height: 25px; padding: 1px 6px; border-radius: 4px; background: {primary}; color: {text}; }}
QPushButton:hover {{ background: {secondary}; }}
QPushButton[role="link"] {{ background: transparent; color: {dim}; min-height: 20px; padding: 0 4px; }}
QPushButton[role="link"]:hover, QPushButton[role="link"]:checked {{ background: {primary}; color: {text}; }}
QPushButton::menu-indicator {{ width: 0; }}
QPushButton:focus, QToolButton:focus {{ border: 1px solid {accent}; }}
QPushButton:disabled {{ color: {off}; background: {primary}; }}
QPushButton:checked {{ background: {accent}; color: white; }}
QPushButton[role="primary"] {{ min-height: 36px; font-size: 11pt; font-weight: 600; background: {accent}; color: white; }}
QPushButton[role="primary"]:hover {{ background: {accent_light}; }}
QPushButton[role="primary"]:disabled {{ background: {primary}; color: {off}; }}
QPushButton[role="primary"][caution="true"]:enabled {{ background: {amber}; color: #1d1503; }}
QComboBox {{ min-height: 23px; padding: 1px 6px; border-radius: 4px; background: {primary}; color: {text}; }}
QComboBox:focus {{ border: 1px solid {accent}; }}
QDoubleSpinBox {{ min-width: 44px; max-width: 50px; min-height: 23px; padding: 1px 4px; border-radius: 4px;
    background: {primary}; color: {text}; }}
QProgressBar {{ min-height: 38px; border: none; border-radius: 4px; background: {primary}; color: {text}; text-align: center; }}
QProgressBar::chunk {{ background: {accent}; border-radius: 4px; }}
QFrame[role="row"] {{ background: transparent; border-radius: 4px; }}
QFrame[role="row"]:hover, QFrame[role="row"]:focus {{ background: {primary}; }}
QListWidget {{ background: {background}; border: none; border-radius: 4px; color: {text}; }}
QListWidget::item {{ padding: 4px 4px; }}
QListWidget::item:selected {{ background: {primary}; color: {text}; }}
QListWidget::indicator {{ width: 12px; height: 12px; border: 1px solid {dim}; border-radius: 2px; }}
QListWidget::indicator:checked {{ background: {accent}; border-color: {accent}; }}
QTreeWidget {{ background: {background}; border: none; border-radius: 4px; color: {text}; font-size: 8pt; }}
QTreeWidget::item {{ padding: 2px 0; }}
QTreeWidget::item:selected {{ background: {primary}; color: {text}; }}
QTreeWidget QHeaderView::section {{ background: {background}; color: {dim}; border: none; padding: 2px 3px; font-size: 8pt; }}
QToolButton {{ background: transparent; border: 1px solid transparent; border-radius: 4px; color: {text}; }}
QToolButton:hover {{ background: {secondary}; }}
QFrame#message_area {{ border-radius: 6px; background: {foreground}; border-left: 4px solid {dim}; }}
QFrame#message_area[kind="good"] {{ border-left-color: {good}; }}
QFrame#message_area[kind="warning"] {{ border-left-color: {amber}; }}
QFrame#message_area[kind="error"] {{ border-left-color: {error}; background: {error_back}; }}
QLabel#footer {{ color: {dim}; font-size: 8pt; }}
"""


def sheet(theme: Mapping[str, str]) -> str:
    """The style sheet for a napari theme: colour name → "rgb(r, g, b)", as ``Theme.to_rgb_dict`` gives it."""
    dark = theme.get("type", "dark") == "dark"
    return _SHEET.format(
        background=theme["background"],
        foreground=theme["foreground"],
        primary=theme["primary"],
        secondary=theme["secondary"],
        text=theme["text"],
        dim="#a3a8b0" if dark else "#5b6068",
        off="#7b818a" if dark else "#9a9fa6",
        accent=ACCENT,
        accent_light="#5590e4",
        good=GOOD,
        amber=WARNING,
        warning="#e8b93c" if dark else "#8a5d00",
        error=ERROR,
        error_back="#43262b" if dark else "#f8dfe1",
    )
