"""Page."""


def build_pages(result):
    return []
