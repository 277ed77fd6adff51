"""Layer 5: training with PyTorch Lightning; no other package imports it."""
