# SPDX-License-Identifier: GPL-3.0-only
"""Automated experiments in Nion Swift: Swift makes the extension when it loads its plug-ins."""

from __future__ import annotations

from typing import Any

from nionswift_plugin.probewise_ae.panel import PanelDelegate


class ProbewiseExtension:
    extension_id = "probewise.automated-experiment"

    def __init__(self, api_broker: Any) -> None:
        api = api_broker.get_api(version="1", ui_version="1")
        self.panel = PanelDelegate()
        self._reference = api.create_panel(self.panel)

    def close(self) -> None:
        self.panel.close()
        self._reference.close()
