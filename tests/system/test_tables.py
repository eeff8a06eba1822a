import pytest

from fst.system.tables import markdown_table


def test_columns_are_as_wide_as_their_widest_cell():
    assert markdown_table(["a", "long"], [(1, 0.125), ("x", ""), (123.5, None)]) == (
        "| a     | long  |\n"
        "| ----- | ----- |\n"
        "| 1     | 0.125 |\n"
        "| x     |       |\n"
        "| 123.5 | None  |"
    )


def test_a_table_without_rows_is_its_head():
    assert markdown_table(["style"], []) == "| style |\n| ----- |"


def test_cells_stay_cells():
    last = markdown_table(["said"], [["a | b\nc"]]).splitlines()[-1]
    assert last == r"| a \| b c |"


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="zip"):
        markdown_table(["a", "b"], [("x",)])
