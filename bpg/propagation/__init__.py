"""ScribbleSup (Lin et al., CVPR 2016): superpixels, graph cuts, labels propagated from strokes."""
