"""Multi-scale averaging, probability files, dense CRF."""
