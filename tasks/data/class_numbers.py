"""Names of class numbers in lists, as the library `datasets` writes them into Parquet files."""

import json
from collections.abc import Mapping

from tasks.study.spelling import normalize_nfc


def read_tag_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Read the names of class numbers by the column of lists; empty without any.

    Args:
        metadata: Metadata of the file's schema.

    Examples:
        >>> features = {"tags": {"feature": {"names": ["O", "B-PER"], "_type": "ClassLabel"}}}
        >>> stored = json.dumps({"info": {"features": features}}).encode()
        >>> read_tag_names({b"huggingface": stored})
        {'tags': ['O', 'B-PER']}
    """
    try:
        features = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        lists = {name: feature.get("feature") for name, feature in features.items()}
    except (KeyError, ValueError, AttributeError, TypeError):
        return {}
    return {
        normalize_nfc(name): [str(each) for each in feature["names"]]
        for name, feature in lists.items()
        if isinstance(feature, dict) and isinstance(feature.get("names"), list)
    }
