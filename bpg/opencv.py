"""OpenCV on one thread: images are small, processes run side by side, and its pool of threads
would not survive the fork of a loading process.
"""

import cv2

cv2.setNumThreads(0)

__all__ = ["cv2"]
