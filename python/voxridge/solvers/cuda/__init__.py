"""The solver on one CUDA device: the routes of :mod:`voxridge.solvers` whose factors and products live in its
memory.

``voxridge.solvers.fits`` drives them as it drives those of the processor; what differs is here: the tiles
(:mod:`~voxridge.solvers.cuda.tiles`), the leave-out routes, the spectral routes, and the plan. Nothing else
imports ``voxridge._cuda``, which :mod:`voxridge._dispatch` hands over.
"""
