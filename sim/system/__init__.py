"""The system model: a transformer encoder on tiles of crossbars, with time, energy, area and utilisation."""
