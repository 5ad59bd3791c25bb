"""Rows that are somebody else's now are told of to whoever keeps them."""

from monitor.detect.entity_table import EntityTable


def see(table: EntityTable, *names: str) -> None:
    table.slots_of(names, home_of=lambda _: "home")


def test_rows_that_made_room_are_told_of_once() -> None:
    table = EntityTable(size=2)
    see(table, "a", "b")
    table.export()
    see(table, "c")
    assert table.export()["home"].gone.tolist() == [1]
    assert table.export() == {}


def test_where_nobody_has_kept_rows_yet_none_is_remembered_as_gone() -> None:
    table = EntityTable(size=2)
    for number in range(10):
        see(table, str(number))
    levels = table.export()["home"]
    assert (sorted(levels.names), levels.gone.tolist()) == (["8", "9"], [])
