import pytest

from nas.spaces.search_space import SearchSpace
from tests.helpers import TINY


@pytest.fixture(params=["fixed", "searched"])
def either(request: pytest.FixtureRequest) -> SearchSpace:
    """The tiny space with a stem of one width, and one whose stem is searched as well."""
    stem = [{"width": 8}] if request.param == "fixed" else [{"width": [4, 8], "stride": 2}, {"width": [6, 8, 12]}]
    return SearchSpace.from_dict({**TINY, "stem": stem})
