"""Images: what containers are made of. `Images` is the front; every other module here is a room behind it."""

from engine.images.catalogue import Images
from engine.images.commit import Commit
from engine.images.records import ImageRecord

__all__ = ["Commit", "ImageRecord", "Images"]
