"""The portable reference runtime: NumPy and the standard library, mirrored file by file in Swift and Kotlin.

Compared paths hold only arithmetic that IEEE 754 fixes, in a stated order, so that the mirrors agree to the last bit.
"""

from sam2lite_mobile.runtime.adaptive_tracker import AdaptiveTracker
from sam2lite_mobile.runtime.engine import Engine, EngineDescription
from sam2lite_mobile.runtime.fine_tracker import FineTracker
from sam2lite_mobile.runtime.frame_result import FrameResult, ObjectResult
from sam2lite_mobile.runtime.frames import image_tensor, luma, resize_frame
from sam2lite_mobile.runtime.masks import frame_mask, label_map, logits_at_frame
from sam2lite_mobile.runtime.memory_bank import BankContents, FrameTokens, MemoryBank
from sam2lite_mobile.runtime.motion import cell_motion, luma_grid
from sam2lite_mobile.runtime.object_memory import ObjectMemory
from sam2lite_mobile.runtime.prompts import Box, Point, Prompt, encode_prompt, mask_prompt_logits
from sam2lite_mobile.runtime.scheduler import Decision, Measurement, Reason, Scheduler
from sam2lite_mobile.runtime.tracker import MAX_OBJECTS, Tracker

__all__ = [
    "MAX_OBJECTS",
    "AdaptiveTracker",
    "BankContents",
    "Box",
    "Decision",
    "Engine",
    "EngineDescription",
    "FineTracker",
    "FrameResult",
    "FrameTokens",
    "Measurement",
    "MemoryBank",
    "ObjectMemory",
    "ObjectResult",
    "Point",
    "Prompt",
    "Reason",
    "Scheduler",
    "Tracker",
    "cell_motion",
    "encode_prompt",
    "frame_mask",
    "image_tensor",
    "label_map",
    "logits_at_frame",
    "luma",
    "luma_grid",
    "mask_prompt_logits",
    "resize_frame",
]
