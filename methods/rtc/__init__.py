"""Method `rtc`: representation, transform and compensator."""

from methods.rtc.crop import BoxedLongSideCrop
from methods.rtc.inference import GatedScores, GatedSegmentation
from methods.rtc.model import RTC

__all__ = ["RTC", "BoxedLongSideCrop", "GatedScores", "GatedSegmentation"]
