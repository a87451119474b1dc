"""The figure of layers: the share of each layer's weights that a mask removes, where layers differ."""

from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from analysis.parts.cells import Cell
from analysis.parts.layers import removed
from analysis.parts.style import curves, legend, panels, save


def draw(found: list[Cell], folder: Path, label: str, most: int) -> list[Path]:
    """Shares removed over the layers, means over seeds, a panel a network and width, ``most`` at most; no file where
    layers are alike.
    """
    uneven = [cell for cell in found if removed(cell)]
    places = sorted({(cell.dataset, cell.model, cell.width_mult) for cell in uneven})
    if not places:
        return []
    shown = [places[i] for i in np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(int)]
    with panels(len(shown), label) as (figure, axes):
        for panel, place in zip(axes, shown, strict=True):
            for curve in curves(uneven):
                for cell in curve.cells:
                    if (cell.dataset, cell.model, cell.width_mult) == place:
                        shares = [float(np.mean(values)) for values in removed(cell).values()]
                        panel.plot(range(1, len(shares) + 1), shares, label=curve.name, markersize=3, **curve.style)
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.set(xlabel="layer", title=f"{place[1]} x{place[2]:g}" if len(places) > 1 else "")
        axes[0].set_ylabel("share of weights removed")
        legend(figure)
        return save(figure, folder, "layers")
