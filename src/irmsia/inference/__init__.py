"""From a bundle and an image to the answer.

`protocol` the seam to the doors, `engine` the queue and its workers, `pipeline` one image, `model` a bundle made ready,
`runtimes` what runs the network, `explain` the map, `verify` the proof on this machine.
"""
