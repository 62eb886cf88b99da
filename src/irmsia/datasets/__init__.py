"""Sets of samples: what there is, who belongs together, how it is split, what is sealed."""
