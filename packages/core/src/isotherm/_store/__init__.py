"""Runs on disk: a Zarr store of a run's kept states, its diagnostics, and where it stands.

A store is a folder, a Zarr group of format 3::

    zarr.json                  what the run is and how far it is; the metadata of all arrays;
                               a digest of both and of all files below
    x                          (chain, draw, *event)    the kept states
    chain, draw, step          their coordinates; step counts the run's steps, burn-in included
    diagnostics/mean           (draw, *event)
    diagnostics/variance       (draw, *event)
    diagnostics/energy         (chain, draw)
    diagnostics/energy_error   (chain, draw)            of samplers that accept or reject
    checkpoint/x_0, _1         (chain, *event)          the chains' last states, in turn
    checkpoint/<name>_0, _1    (chain, ...)             likewise, whatever else a state has
    checkpoint/<name>          (step,)                  schedules of the plan that are no constants

Chunks and the state are written where no metadata speaks of them yet; then the one file
``zarr.json`` is replaced, and with it all of them count at once. So a process may end at any
moment: the store is what it was before, or what it is after. Each file is on the disk before
``zarr.json`` speaks of it.

Each chunk carries a checksum. The digest in ``zarr.json`` is of the names and checksums of the
chunks that are full, of the names and values of those that have room for more (to which a run that
is killed may have added), and of the last state: it tells a store from the copy of one that was
written to meanwhile, and finds what was swapped or changed. Files and attributes that are not ours
are let alone.

Needs the extra ``isotherm[store]``.
"""

from isotherm._store.folder import Store, create, local_path
from isotherm._store.layout import buffer_bytes
from isotherm._store.writer import Writer

__all__ = ["Store", "Writer", "buffer_bytes", "create", "local_path"]
