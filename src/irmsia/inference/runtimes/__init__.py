"""What runs a network: `protocol` says how one looks, `registry` gives one by name, one module each library."""
