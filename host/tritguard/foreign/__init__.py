"""Reads model files of unknown origin: Keras and QKeras models, and the graphs of SavedModels.

Keras never deserialises anything in such a file. A separate process, which may not start programs, open connections or
unpickle, reads the configuration as JSON and the weights as arrays. It returns plain data, from which
`tritguard.convert.archive` builds the network anew out of an allow-list of layers. A SavedModel that holds only a graph
is checked against an allow-list of ops and converted in such a process too (`tritguard.convert.saved_graph`).

This is a package of its own because QKeras needs Keras 2, which has to be chosen before TensorFlow is first imported.
Nothing here may therefore import `train` or `convert`.
"""
