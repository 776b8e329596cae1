"""The tests. What they share lies in `tests.support`, whose assertions explain themselves when they fail."""

import pytest

pytest.register_assert_rewrite("tests.support")
