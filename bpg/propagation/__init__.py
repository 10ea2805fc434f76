"""Strokes propagated to all pixels: ScribbleSup (Lin et al., CVPR 2016), and GrabCut."""
