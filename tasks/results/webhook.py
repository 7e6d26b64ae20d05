"""Check of the address that alerts are posted to, without posting."""

import os
from urllib.parse import urlsplit

from tasks.study.night_sections import Notify


def find_webhook_problem(notify: Notify) -> str:
    """Reason why the study's webhook is unusable; empty if it is usable, or if there is none.

    The address is a secret: the reason for an invalid one does not quote it.
    """
    name = notify.webhook_env
    if not name:
        return ""
    address = os.environ.get(name)
    if not address:
        return f"the environment variable {name} ([notify] webhook_env) is not set here"
    try:
        url = urlsplit(address)
        is_usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        return f"the environment variable {name} ([notify] webhook_env) holds no http(s) address"
    return ""
