"""The paper's figures 1 to 6, from the cells of a grid, as SVG and PNG files.

1: pictures, decoders by encoders; 2: pictures of the GAN as decoder; 3: latent MSE, RMSE, LPIPS
and a Fréchet distance; 4: probe accuracy of own latents; 5: percent match and percent delta of
probes; 6: probe accuracy along a training. `docs/FIGURES.md` describes how to make and read them.
"""

from stitching.report.figures.files import draw_figures, missing_figures, write_figures

__all__ = ["draw_figures", "missing_figures", "write_figures"]
