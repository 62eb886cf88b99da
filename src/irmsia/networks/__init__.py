"""Torch modules only: backbones, attention pooling, the multi-head diagnostic network."""
