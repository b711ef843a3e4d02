"""The shipped list's price keys, by bucket."""

from __future__ import annotations

from decimal import Decimal

from costguard.pricing.standins import REASONING

MILLION, THOUSAND = Decimal(1_000_000), Decimal(1_000)
_HOUR = Decimal(3_600)

BUCKET_PRICES: dict[str, tuple[tuple[str, ...], Decimal]] = {
    "input": (("input_mtok",), MILLION),
    "cache_read": (("cache_read_mtok",), MILLION),
    "cache_write_5m": (("cache_write_5m_mtok", "cache_write_mtok"), MILLION),
    "cache_write_1h": (("cache_write_1h_mtok",), MILLION),
    "input_audio": (("input_audio_mtok",), MILLION),
    "cache_read_audio": (("cache_audio_read_mtok",), MILLION),
    "input_image": (("input_image_mtok",), MILLION),
    "cache_read_image": (("cache_image_read_mtok",), MILLION),
    "input_video": (("input_video_mtok",), MILLION),
    "output": (("output_mtok",), MILLION),
    REASONING: (("output_reasoning_mtok",), MILLION),
    "output_audio": (("output_audio_mtok",), MILLION),
    "output_image": (("output_image_mtok",), MILLION),
    "output_video": (("output_video_mtok",), MILLION),
    "seconds": (("input_audio_hours", "audio_hours"), _HOUR),
    "characters": (("input_mchars",), MILLION),
    "pages": (("input_document_kpages",), THOUSAND),
    "search_units": (("rerank_searches_kcount",), THOUSAND),
    "requests": (("requests_kcount",), THOUSAND),
    "web_searches": (("web_searches_kcount",), THOUSAND),
    "file_searches": (("storage_searches_kcount",), THOUSAND),
    "code_executions": (("code_executions_kcount",), THOUSAND),
}
"""Bucket to the list's price keys, the first that has a price, and how many units they are for."""
