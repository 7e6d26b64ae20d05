"""Malformed bodies of requests, by what is wrong with them."""

BAD_BODIES = {
    "no JSON": '{"texts": [',
    "empty": "",
    "nested deeply": "[" * 20_000,
    "an array": "[1]",
    "other keys": '{"texts": ["a"], "mode": 1}',
    "a key twice": '{"texts": ["a"], "texts": ["b"]}',
    "a number as text": '{"texts": [1]}',
    "an empty text": '{"texts": [" "]}',
    "NUL": '{"texts": ["a\\u0000b"]}',
    "half of a surrogate pair": '{"texts": ["a\\ud800"]}',
    "too long": '{"texts": ["' + "a" * 30_000 + '"]}',
    "too large": '{"texts": ["' + "a" * 2_000_000 + '"]}',
    "too many": '{"texts": [' + ", ".join(['"a"'] * 40) + "]}",
    "an unknown label": '{"texts": ["a"], "labels": ["neither"]}',
    "an unknown measure": '{"texts": ["a"], "measure": "mood"}',
    "k out of range": '{"texts": ["a"], "k": 100000}',
    "NaN": '{"texts": ["a"], "k": NaN}',
    "a column that is missing": '{"rows": [{}]}',
}
