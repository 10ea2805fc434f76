"""A pixel classifier without a network: features at several scales and a random forest."""
