"""Method `semples`: semantic prompt learning with CLIP on the network of WeakTr.

Configs import `methods.semples.model`, and what else they need, by name: OpenCLIP and transformers take
seconds to import, and the converters of all methods import this package.
"""
