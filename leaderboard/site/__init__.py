"""The leaderboard as a static site: pages, charts and pictures in one folder that needs no server."""

from leaderboard.site.build import write_site

__all__ = ["write_site"]
