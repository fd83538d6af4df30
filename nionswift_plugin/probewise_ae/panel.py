# SPDX-License-Identifier: GPL-3.0-only
"""The panel: what a person sets, presses and reads. It hands work to a `Worker` and shows what that posts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from nionswift_plugin.probewise_ae.worker import Settings, Worker

OBJECTIVES = ("cover", "discover", "reconstruct")
COMPONENTS = ("rare", "ask")
LINES = {
    "steps": "steps",
    "sites": "sites along a side",
    "side_nm": "side of a site, nm",
    "pixel_nm": "pixel of a site, nm",
    "dwell_us": "dwell, us",
    "survey_px": "pixels of the survey",
    "blanker": "control that blanks",
}
TITLES = {"survey": "probewise survey", "mask": "probewise mask", "values": "probewise values"}


class PanelDelegate:
    """Swift asks it for the widget of each window; one window is served at a time, the last."""

    panel_id = "probewise-automated-experiment"
    panel_name = "probewise"
    panel_positions = ("left", "right")
    panel_position = "right"

    def __init__(self) -> None:
        self.worker = Worker(self._post)
        self.edits: dict[str, Any] = {}
        self.buttons: dict[str, Any] = {}
        self.combos: dict[str, Any] = {}
        self.status: Any = None
        self.items: dict[str, Any] = {}
        self._window: Any = None

    def create_panel_widget(self, ui: Any, document_window: Any) -> Any:
        self._window = document_window
        column = ui.create_column_widget()
        for name, choices in (("objective", OBJECTIVES), ("component", COMPONENTS)):
            self.combos[name] = ui.create_combo_box_widget(list(choices))
            self._row(ui, column, name, self.combos[name])
        for name, text in LINES.items():
            self.edits[name] = ui.create_line_edit_widget(str(getattr(Settings(), name)))
            self._row(ui, column, text, self.edits[name])
        row = ui.create_row_widget()
        for name, pressed in self._pressed().items():
            button = ui.create_push_button_widget(name)
            button.on_clicked = pressed
            self.buttons[name] = button
            row.add(button)
        column.add(row)
        self.combos["follow"] = ui.create_combo_box_widget([])
        self._row(ui, column, "component to follow", self.combos["follow"])
        self.status = ui.create_label_widget("idle")
        column.add(self.status)
        column.add_stretch()
        return column

    def close(self) -> None:
        self._window = None
        self.worker.close()

    def settings(self) -> Settings:
        """As the panel has them; ValueError names the field that is no number."""
        told: dict[str, Any] = {name: self.combos[name].current_item for name in ("objective", "component")}
        for field in fields(Settings):
            if field.name in self.edits:
                text = (self.edits[field.name].text or "").strip()
                kind = {"int": int, "float": float}.get(str(field.type), str)
                try:
                    told[field.name] = kind(text)
                except ValueError:
                    raise ValueError(f"{LINES[field.name]} is {text!r}, expected a number") from None
        return Settings(**told)

    def _pressed(self) -> dict[str, Callable[[], None]]:
        return {
            "Survey": lambda: self._with_settings(self.worker.survey),
            "Start": lambda: self._with_settings(self.worker.start),
            "Pause": self.worker.pause,
            "Go on": self.worker.go_on,
            "Stop": self.worker.stop,
            "Follow": self._follow,
        }

    def _with_settings(self, begin: Callable[[Settings], None]) -> None:
        try:
            begin(self.settings())
        except ValueError as error:
            self.status.text = str(error)

    def _follow(self) -> None:
        index = self.combos["follow"].current_index
        if index is not None and index >= 0:
            self.worker.follow(index)

    def _row(self, ui: Any, column: Any, text: str, widget: Any) -> None:
        row = ui.create_row_widget()
        row.add(ui.create_label_widget(text))
        row.add(widget)
        column.add(row)

    # From the worker's thread to the window's

    def _post(self, kind: str, value: Any) -> None:
        window = self._window
        if window is not None:
            window.queue_task(lambda: self._show(kind, value))

    def _show(self, kind: str, value: Any) -> None:
        if self._window is None:
            return
        if kind == "status":
            self.status.text = value
        elif kind == "component":
            index, picture = value
            self.combos["follow"].items = [f"component {number}" for number in range(index + 1)]
            self._picture(f"component {index}", f"probewise component {index}", picture)
        elif kind in TITLES:
            self._picture(kind, TITLES[kind], value)

    def _picture(self, name: str, title: str, data: Any) -> None:
        """One data item a picture, made when first shown."""
        if name in self.items:
            self.items[name].set_data(data)
        else:
            self.items[name] = self._window.library.create_data_item_from_data(data, title)
