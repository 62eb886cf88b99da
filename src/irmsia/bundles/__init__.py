"""The sealed model as files: manifest, pack, sign, verify, store.

`manifest` what a bundle states, `canonical` its id, `signing` who vouches for it, `pack` writes it, `read` and `load`
take it in and check it, `graph` what its network may hold, `golden` the records that prove it, `card` its generated
texts, `store` the registry of this machine.
"""
