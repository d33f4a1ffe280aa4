"""Newsreel: a procedurally drawn world of captioned images and posts, the corpus where there is no other data.

    >>> from pathlib import Path
    >>> from promu.newsreel import NewsreelSettings, write_newsreel
    >>> report = write_newsreel(Path("runs/newsreel"), NewsreelSettings(seed=1))  # doctest: +SKIP

It is written in the published formats, so that the readers of real data read it too.
"""

from promu.newsreel.country import WORLDS
from promu.newsreel.drawing import DrawnThing, draw_scene
from promu.newsreel.news import WORLD
from promu.newsreel.scenes import Scene
from promu.newsreel.settings import NewsreelSettings
from promu.newsreel.write import NewsreelReport, write_newsreel

__all__ = [
    "WORLD",
    "WORLDS",
    "DrawnThing",
    "NewsreelReport",
    "NewsreelSettings",
    "Scene",
    "draw_scene",
    "write_newsreel",
]
