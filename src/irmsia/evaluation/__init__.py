"""From answers and truth to metrics with intervals; knows neither networks nor bundles."""
