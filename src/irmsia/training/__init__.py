"""Fit, checkpoint, resume; freeze calibration and thresholds; export to ONNX. Uses torch, as networks does."""
