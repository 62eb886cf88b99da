"""What an answer means: vocabulary, calibration, decision order, rule tables. Numpy only."""
