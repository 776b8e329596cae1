"""Models as files: Keras and QKeras models, whatever wrote them, and SavedModels' graphs.

Nothing in such a file is ever deserialised by Keras. Its configuration is read as JSON and its weights as arrays, in a
process of its own that may not start programs, open connections or unpickle; what comes back is plain data, and the
network is built anew from it (`tritguard.convert.archive`) out of an allow-list of layers. A SavedModel that is a graph
alone is held against an allow-list of ops, and converted in such a process too (`tritguard.convert.saved_graph`).

A room of its own because QKeras needs Keras 2, which is chosen before TensorFlow is first imported: nothing here may
import `train` or `convert`.
"""
