"""`python -m tests.house measure|write`: figures as JSON, or the page of modules."""

import json
import sys

from tests.house.figures import measure
from tests.house.modules import PAGE, render_page

if sys.argv[1:] == ["measure"]:
    print(json.dumps(measure(), indent=2))
elif sys.argv[1:] == ["write"]:
    PAGE.write_text(render_page())
else:
    sys.exit(__doc__)
