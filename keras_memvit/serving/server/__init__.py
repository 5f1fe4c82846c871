"""A server of task files: HTTP around a `TaskBank`, in micro-batches.

Imports `serving.bank`, `data` for pictures, and the rooms below; FastAPI, uvicorn and
prometheus-client (the extra `serve`) where they are used.
"""

from keras_memvit.serving.server.run import Settings
from keras_memvit.serving.server.run import serve

__all__ = ["Settings", "serve"]
