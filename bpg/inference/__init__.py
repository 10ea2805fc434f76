"""Multi-scale voting, probability files, dense CRF."""
